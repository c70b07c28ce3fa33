package client

import (
	"bytes"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStreamThatEndsIsResumedWithNoLoss(t *testing.T) {
	for name, end := range map[string]func(*stream){
		"clean end":            func(*stream) {},
		"broken off":           (*stream).breakOff,
		"let go with a retry":  func(s *stream) { s.send("retry: 3000\n\n") },
		"cut within an event":  func(s *stream) { s.send("id: e_9\nevent: msg\ndata: {\"id\":"); s.breakOff() },
		"cut after its fields": func(s *stream) { s.send("id: e_9\nevent: msg\ndata: {}\n") },
		"goes silent":          (*stream).hold,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStreams(t, func(n int, s *stream) {
					s.events(2*n-1, 2*n)
					if n < 3 {
						end(s)
						return
					}
					s.hold()
				})
				if got, want := collect(s, WithStartFrom(StartOldest), WithLimit(6)), indexes(1, 6); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				for i, want := range []string{"", "e_2", "e_4"} {
					if got := s.seen()[i].header.Get("Last-Event-ID"); got != want {
						t.Errorf("request %d: got resume point %q, want %q", i+1, got, want)
					}
				}
			})
		})
	}
}

func TestTheResumePointIsTheFramesNotTheEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			if n == 1 {
				s.send("id: r_0\nevent: msg\ndata: {\"id\":\"e_5\",\"subject\":\"app.x\",\"index\":5}\n\nid: r_3\n\n")
				s.breakOff()
			}
			s.events(6)
			s.end("limit")
		})
		if got, want := collect(s, WithAckStrategy(AckManual), WithLimit(2)), indexes(5, 6); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := s.seen()[1].header.Get("Last-Event-ID"), "r_3"; got != want {
			t.Errorf("resume point: got %q, want %q", got, want)
		}
	})
}

func TestWhatPassesIsNotYielded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		statuses := []int{429, 500, 502, 503, 504, 507, 408, 425, 0}
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n <= len(statuses) {
				if statuses[n-1] == 0 {
					panic(http.ErrAbortHandler)
				}
				problem(w, statuses[n-1], "unavailable", "later")
				return
			}
			s := &stream{w, r}
			s.head()
			s.events(1)
			s.hold()
		})
		if got, want := collect(s, WithLimit(1)), indexes(1, 1); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := len(s.seen()), len(statuses)+1; got != want {
			t.Errorf("requests: got %d, want %d", got, want)
		}
	})
}

// A server that is full turns a stream away with a clean end, because a browser
// would not come back after a refusal.
func TestAStreamThatIsTurnedAwayComesBackWhenItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			if n <= 3 {
				s.send("retry: 7000\n\nevent: problem\ndata: {\"code\":\"too_many_streams\",\"status\":429,\"retry_after\":7}\n\n")
				return
			}
			s.events(1)
			s.hold()
		})
		began := time.Now()
		if got, want := collect(s, WithLimit(1)), indexes(1, 1); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, least, most := time.Since(began), 3*7*time.Second, 3*11*time.Second; got < least || got > most {
			t.Errorf("three tries took %v, want %v to %v", got, least, most)
		}
	})
}

func TestAServerThatIsNotThereYetIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newStreams(t, func(_ int, s *stream) { s.events(1); s.hold() },
			WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		s.ln.down = time.Now().Add(time.Minute)
		if got, want := collect(s, WithLimit(1)), indexes(1, 1); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if tries := strings.Count(log.String(), "reconnecting"); tries < 3 || tries > 12 {
			t.Errorf("tries in a minute: got %d, want a few\n%s", tries, log.String())
		}
	})
}

func TestARefusalAtTheReconnectEndsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 2 {
				problem(w, 403, "forbidden", "no more")
				return
			}
			s := &stream{w, r}
			s.head()
			s.events(1)
		})
		if got := collect(s); len(got) != 2 || got[0] != "1" || got[1] != "refused: no more" {
			t.Errorf("got %q, want the event and the refusal", got)
		}
	})
}

func TestRetryAndRetryAfterAreKeptTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			times = append(times, time.Now())
			if n == 2 {
				w.Header().Set("Retry-After", "100")
				problem(w, 503, "unavailable", "later")
				return
			}
			s := &stream{w, r}
			s.head()
			s.events(n)
			if n == 1 {
				s.send("retry: 20000\n\n")
				return
			}
			s.hold()
		})
		if got, want := collect(s, WithLimit(2)), []string{"1", "3"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for i, want := range []time.Duration{20 * time.Second, 100 * time.Second} {
			if got := times[i+1].Sub(times[i]); got < want || got > 2*want {
				t.Errorf("wait %d: got %v, want %v or a little more", i+1, got, want)
			}
		}
	})
}

func TestASilentConnectionIsLetGoAfterTwoAndAHalfHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Duration
		s := newStreams(t, func(n int, s *stream) {
			if n > 1 {
				s.events(2)
				s.hold()
				return
			}
			began := time.Now()
			s.send("event: hello\ndata: {\"consumer_id\":\"c\",\"heartbeat\":\"4s\"}\n\n")
			s.events(1)
			s.hold()
			ended = time.Since(began)
		})
		if got, want := collect(s, WithLimit(2)), indexes(1, 2); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if want := 10 * time.Second; ended != want {
			t.Errorf("let go after %v, want %v", ended, want)
		}
	})
}

func TestAServerThatSendsNoHeadersIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				<-r.Context().Done()
				return
			}
			s := &stream{w, r}
			s.head()
			s.events(1)
			s.hold()
		})
		if got, want := collect(s, WithLimit(1)), indexes(1, 1); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestPingsAndSlowLoopsKeepAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(_ int, s *stream) {
			for i := 1; i <= 3; i++ {
				s.idle(10 * defaultHeartbeat)
				s.events(i)
			}
			s.hold()
		})
		var got []string
		for e, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithLimit(3)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Payload))
			sleep(t.Context(), time.Hour) // the loop is busy, not the server silent
		}
		if len(got) != 3 || len(s.seen()) != 1 {
			t.Errorf("got %q over %d connections, want 3 events over 1", got, len(s.seen()))
		}
	})
}

// A stream of new events whose connection breaks before the first one must not begin with
// what is new by then.
func TestNothingIsSkippedWhenTheFirstConnectionBrokeEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			s := &stream{w, r}
			s.head()
			if n == 1 {
				s.send("id: e_8\nevent: hello\ndata: {\"consumer_id\":\"c_1\"}\n\n")
				s.breakOff()
			}
			s.events(9, 10)
			s.hold()
		})
		if got, want := collect(s, WithLimit(2)), indexes(9, 10); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := s.seen()[1].header.Get("Last-Event-ID"); got != "e_8" {
			t.Errorf("second request: got Last-Event-ID %q, want that of the first hello", got)
		}
	})
}

func TestALostConnectionAndItsReturnAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			s.events(n)
			if n < 3 {
				s.breakOff()
			}
			s.hold()
		})
		var told []bool
		collect(s, WithLimit(3), WithConnection(func(err error) { told = append(told, err == nil) }))
		if want := []bool{true, false, true, false, true}; !slices.Equal(told, want) {
			t.Errorf("got %v, want %v", told, want)
		}
	})
}
