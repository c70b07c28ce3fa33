package client

import (
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"
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
		for name, end := range map[string]func(*stream){"clean end": func(*stream) {}, "broken off": (*stream).breakOff} {
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

func TestWaitEndsALoopAfterThatLongWithoutAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(_ int, s *stream) {
			s.events(1)
			sleep(s.r.Context(), 3*time.Second)
			s.events(2)
			sleep(s.r.Context(), 4*time.Second)
		})
		if got, want := collect(s, WithWait(4*time.Second)), indexes(1, 2); !slices.Equal(got, want) || len(s.seen()) != 1 {
			t.Errorf("got %q over %d connections, want %q over 1", got, len(s.seen()), want)
		}
	})
}

func TestWaitIsNotOverWhenTheServerOnlyLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			if n <= 3 {
				s.events(n) // and the end, long before the loop asks for more
				return
			}
			s.idle(time.Minute)
		})
		var got []uint64
		for e, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithWait(time.Minute)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Index)
			sleep(t.Context(), time.Hour) // the loop's own time does not count
		}
		if want := []uint64{1, 2, 3}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
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
		}, indexes(1, 3), 1},
		"nothing there":        {func(_ int, s *stream) { s.hello("c", 0) }, nil, 1},
		"nothing that matches": {func(_ int, s *stream) { s.hello("c", 900) }, nil, 1},
		"the last ones do not match": {func(n int, s *stream) {
			s.hello("c", 900)
			if n == 1 {
				s.events(1, 2)
			}
		}, indexes(1, 2), 2},
		"let go on the way": {func(n int, s *stream) {
			s.hello("c", 3+n)
			s.events(2*n-1, 2*n) // by then there is an event 5, which is not of this reading
			if n == 1 {
				s.send("retry: 1000\n\n")
			}
		}, indexes(1, 4), 2},
		"let go before anything came": {func(n int, s *stream) {
			s.hello("c", 1)
			if n == 1 {
				s.send("retry: 1000\n\n")
				return
			}
			s.events(1)
		}, indexes(1, 1), 2},
		"broken off": {func(n int, s *stream) {
			s.hello("c", 3)
			s.events(n)
			if n < 3 {
				s.breakOff()
			}
		}, indexes(1, 3), 3},
		"no hello": {func(n int, s *stream) {
			if n == 1 {
				return
			}
			s.hello("c", 1)
			s.events(1)
		}, indexes(1, 1), 2},
		"newer events go on coming": {func(n int, s *stream) {
			s.hello("c", 3+n)
			s.events(4+n, 5+n)
		}, nil, 1},
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

func TestAnUncertainEndIsAskedAboutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := newWire(t, onlyStream(func(n int, s *stream) {
			s.hello("c", 900)
			if n == 1 {
				s.events(1)
			}
		}))
		if got, want := collect(s, WithUntilNewest()), indexes(1, 1); !slices.Equal(got, want) || time.Since(began) > 0 {
			t.Errorf("got %q after %v, want %q at once", got, time.Since(began), want)
		}
	})
}
