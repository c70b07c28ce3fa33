package client

import (
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// asked returns what a parameter was in each request.
func (s *wire) asked(parameter string) (values []string) {
	for _, r := range s.seen() {
		q, _ := url.ParseQuery(r.query)
		values = append(values, q.Get(parameter))
	}
	return values
}

func TestALimitHoldsAcrossReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			s.events(2*n-1, 2*n) // and one more than the limit in the end
			if n < 3 {
				s.breakOff()
			}
			s.hold()
		})
		if got, want := collect(s, WithLimit(5)), indexes(1, 5); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := s.asked("limit"), []string{"5", "3", "1"}; !slices.Equal(got, want) {
			t.Errorf("limits asked for: got %q, want %q", got, want)
		}
	})
}

func TestALimitOfEventsToAcknowledgeLeavesThemTimeToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, end := range map[string]func(*stream){
			"at its bound": func(s *stream) { s.end("limit"); s.hold() },
			"clean end":    func(*stream) {}, // with nothing left to ask for
			"broken off":   (*stream).breakOff,
		} {
			s := newStreams(t, func(_ int, s *stream) {
				s.events(1, 2)
				s.idle(2 * defaultHeartbeat)
				s.send("event: msg\ndata: {\"id\":\"e_1\",\"subject\":\"app.x\",\"index\":1,\"attempt\":2}\n\n")
				s.idle(2 * defaultHeartbeat)
				end(s)
			})
			if got, want := collect(s, WithAckStrategy(AckManual), WithLimit(2)), []string{"1", "2", "1"}; !slices.Equal(got, want) || len(s.seen()) != 1 {
				t.Errorf("%s: got %q over %d connections, want %q over 1", name, got, len(s.seen()), want)
			}
		}
	})
}

func TestWaitEndsALoopWhenTheServerHasWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(_ int, s *stream) {
			s.events(1)
			sleep(s.r.Context(), 3*time.Second)
			s.events(2)
			sleep(s.r.Context(), 4*time.Second)
			s.end("wait")
			s.hold() // the frame is the end, not the body's
		})
		if got, want := collect(s, WithWait(4*time.Second)), indexes(1, 2); !slices.Equal(got, want) || len(s.seen()) != 1 {
			t.Errorf("got %q over %d connections, want %q over 1", got, len(s.seen()), want)
		}
	})
}

func TestNoBoundIsReachedByTheEndOfAConnection(t *testing.T) {
	for bound, option := range map[string]GetOption{"until": WithUntilNewest(), "wait": WithWait(time.Second), "limit": WithLimit(9)} {
		for name, end := range map[string]func(*stream){
			"clean end at once":   func(*stream) {},
			"clean end in a wait": func(s *stream) { sleep(s.r.Context(), 10*time.Second) },
			"let go":              func(s *stream) { s.send("retry: 1000\n\n") },
			"broken off":          (*stream).breakOff,
			"problem":             func(s *stream) { s.send("event: problem\ndata: {\"code\":\"internal\",\"title\":\"oh\"}\n\n") },
		} {
			t.Run(bound+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newWire(t, onlyStream(func(n int, s *stream) {
						s.hello("c", 4)
						switch n {
						case 2:
							s.events(1, 2)
						case 4:
							s.events(3, 4)
							s.end(bound)
							s.hold()
						}
						end(s)
					}))
					got := slices.DeleteFunc(collect(s, option), func(text string) bool { return text == "oh" })
					if want := indexes(1, 4); !slices.Equal(got, want) || len(s.seen()) != 4 {
						t.Errorf("got %q over %d connections, want %q over 4", got, len(s.seen()), want)
					}
				})
			})
		}
	}
}

func TestUntilNewestEndsWhereTheLogEndedWhenItBegan(t *testing.T) {
	for name, c := range map[string]struct {
		script      func(n int, s *stream)
		want        []string
		connections int
	}{
		"all of it": {func(_ int, s *stream) {
			s.hello("c", 3)
			s.events(1, 2, 3)
			s.end("until")
		}, indexes(1, 3), 1},
		"nothing there":        {func(_ int, s *stream) { s.hello("c", 0); s.end("until") }, nil, 1},
		"nothing that matches": {func(_ int, s *stream) { s.hello("c", 900); s.end("until") }, nil, 1},
		"the last ones do not match": {func(_ int, s *stream) {
			s.hello("c", 900)
			s.events(1, 2)
			s.end("until")
		}, indexes(1, 2), 1},
		"let go on the way": {func(n int, s *stream) {
			s.hello("c", 3+n)
			s.events(2*n-1, 2*n) // by then there is an event 5, which is not of this reading
			if n == 1 {
				s.send("retry: 1000\n\n")
				return
			}
			s.events(5)
			s.end("until")
		}, indexes(1, 4), 2},
		"broken off": {func(n int, s *stream) {
			s.hello("c", 3)
			s.events(n)
			if n < 3 {
				s.breakOff()
			}
			s.end("until")
		}, indexes(1, 3), 3},
		"no hello": {func(n int, s *stream) {
			if n == 1 {
				return
			}
			s.hello("c", 1)
			s.events(1)
			s.end("until")
		}, indexes(1, 1), 2},
		"newer events go on coming": {func(n int, s *stream) {
			s.hello("c", 3+n)
			if n == 1 {
				return
			}
			for i := 1; s.r.Context().Err() == nil; i++ { // the server is never done
				s.placed(i, i)
			}
		}, indexes(1, 4), 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newWire(t, onlyStream(c.script))
				if got := collect(s, WithStartFrom(StartOldest), WithUntilNewest()); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if got := len(s.seen()); got != c.connections {
					t.Errorf("connections: got %d, want %d", got, c.connections)
				}
			})
		})
	}
}

// placed sends an event with a resume point as a server makes it.
func (s *stream) placed(place, index int) {
	s.send("id: %s\nevent: msg\ndata: {\"id\":\"e_%d\",\"subject\":\"app.x\",\"index\":%d}\n\n", bus.FormatID(bus.Position{Incarnation: 1, Index: uint64(place)}), index, index)
}

// What came before the end may come once more as long as it is not acknowledged, also behind
// newer events.
func TestUntilNewestWaitsForWhatIsToBeAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, onlyStream(func(n int, s *stream) {
			s.hello("c", 1+n)
			if n == 1 {
				s.breakOff()
			}
			s.placed(0, 1)
			s.placed(0, 2)
			s.placed(1, 3) // newer, and 2 is still to be acknowledged
			s.placed(1, 2)
			s.placed(2, 3)
			s.hold()
		}))
		if got, want := collect(s, WithUntilNewest(), WithAckStrategy(AckManual)), []string{"1", "2", "2"}; !slices.Equal(got, want) || len(s.seen()) != 2 {
			t.Errorf("got %q over %d connections, want %q over 2", got, len(s.seen()), want)
		}
	})
}

// To a later connection newest is what is newest by then, and its events count: two of the
// limit may be behind the loop's end.
func TestALimitThatNewerEventsHaveUsedUpIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, onlyStream(func(n int, s *stream) {
			s.send("event: hello\ndata: {\"tail\":{\"app\":1,\"orders\":1}}\n\n")
			switch n {
			case 1:
				s.breakOff()
			case 2:
				s.events(2, 3)
				s.end("limit")
			default:
				s.send("event: msg\ndata: {\"id\":\"e_1\",\"subject\":\"orders.x\",\"index\":1}\n\n")
				s.end("until")
			}
		}))
		if got, want := collect(s, WithSubject("orders.x"), WithUntilNewest(), WithLimit(2)), indexes(1, 1); !slices.Equal(got, want) || len(s.seen()) != 3 {
			t.Errorf("got %q over %d connections, want %q over 3", got, len(s.seen()), want)
		}
	})
}
