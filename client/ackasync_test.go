package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

func TestSeveralEventsAreAcknowledgedInOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAckSink(t)
		if err := s.client.AckBatch(t.Context(), "c_1", []string{"e_1", "e_2", "e_1"}, WithVerdict(Term), WithTimeout(time.Second)); err != nil {
			t.Fatal(err)
		}
		if got, want := s.seen()[0].query, "consumer_id=c_1&event_id=e_1&event_id=e_2&event_id=e_1&verdict=term"; got != want || len(s.seen()) != 1 {
			t.Errorf("got %q in %d requests, want %q in one", got, len(s.seen()), want)
		}
		err := s.client.AckBatch(t.Context(), "c_1", []string{"e_1", "bad_1", "e_2"})
		if e, ok := bus.AsError(err); !ok || e.EventID != "bad_1" || len(s.seen()) != 2 {
			t.Errorf("got %v in %d requests, want the one that is refused in one", err, len(s.seen())-1)
		}
	})
}

func TestAnAckBatchThatMakesNoSenseIsNotSent(t *testing.T) {
	c := NewClient("http://127.0.0.1:1")
	one := []string{"e_1"}
	for name, err := range map[string]error{
		"no consumer": c.AckBatch(t.Context(), "", one),
		"no events":   c.AckBatch(t.Context(), "c_1", nil),
		"empty event": c.AckBatch(t.Context(), "c_1", []string{"e_1", ""}),
		"too many":    c.AckBatch(t.Context(), "c_1", numbered(MaxAckBatch+1)),
		"up to":       c.AckBatch(t.Context(), "c_1", one, WithUpTo()),
		"reply":       c.AckBatch(t.Context(), "c_1", one, WithData(1)),
		"no delay":    c.AckBatch(t.Context(), "c_1", one, WithDelay(-1)),
		"async":       c.AckAsync("c_1", "").Get(t.Context()),
		"own event":   (&Event{}).AckAsync().Get(t.Context()),
	} {
		if !errors.Is(err, bus.ErrInvalidParameter) {
			t.Errorf("%s: got %v, want invalid_parameter", name, err)
		}
	}
	if err := c.Flush(t.Context()); !errors.Is(err, bus.ErrInvalidParameter) {
		t.Errorf("Flush: got %v, want the error of the AckAsync", err)
	}
}

func TestFlushTellsTheFirstErrorOfAckAsyncOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := newAckSink(t, WithAckGrouping(time.Second)), time.Now()
		waits := make(chan error, 1)
		go func() { waits <- s.client.Ack(t.Context(), "c_gone", "e_0") }()
		synctest.Wait()
		s.client.AckAsync("c_1", "e_1")
		s.client.AckAsync("c_1", "bad_2")
		if err := s.client.Flush(t.Context()); !errors.Is(err, bus.ErrNotDelivered) {
			t.Errorf("first: got %v, want that of bad_2 and not of the Ack that was told", err)
		}
		if err := s.client.Flush(t.Context()); err != nil {
			t.Errorf("second: got %v, want none", err)
		}
		if err := <-waits; !errors.Is(err, bus.ErrUnknownConsumer) || time.Since(began) != 0 {
			t.Errorf("the Ack got %v after %v, want its answer at once", err, time.Since(began))
		}
	})
}

func TestFlushWaitsForWhatIsOnItsWayAndLosesNothingWhenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			sleep(r.Context(), 3*time.Second)
			answerAck(w, r)
		})
		a := s.client.AckAsync("c_1", "bad_1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := errors.Join(s.client.Flush(ctx), a.Get(ctx)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: got %v", err)
		}
		if err := s.client.Flush(t.Context()); !errors.Is(err, bus.ErrNotDelivered) {
			t.Errorf("again: got %v, want the error", err)
		}
		if err := a.Get(ctx); !errors.Is(err, bus.ErrNotDelivered) {
			t.Errorf("an answer that is there: got %v, also with a context that is over", err)
		}
	})
}

func TestARequestThatNobodyAnswersIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		for want, opts := range map[time.Duration][]AckOption{ackTime: nil, 3 * time.Second: {WithTimeout(3 * time.Second)}} {
			began := time.Now()
			err := s.client.AckAsync("c_1", "e_1", opts...).Get(t.Context())
			if got := time.Since(began).Truncate(time.Second); !errors.Is(err, context.DeadlineExceeded) || got != want {
				t.Errorf("got %v after %v, want a timeout after %v", err, got, want)
			}
		}
	})
}

func TestAckAsyncBlocksWhileTooManyWaitForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		s := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			<-answer
			answerAck(w, r)
		})
		for range maxPendingAcks {
			s.client.AckAsync("c_1", "e_1")
		}
		over := make(chan *AckResult, 1)
		go func() { over <- s.client.AckAsync("c_1", "e_2") }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.client.acks.always = true
		if err := s.client.Ack(ctx, "c_1", "e_3"); !errors.Is(err, context.DeadlineExceeded) || len(over) != 0 {
			t.Errorf("got %v and %d results, want both to wait", err, len(over))
		}
		close(answer)
		if err := (<-over).Get(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// manualStream delivers events 1 to n on each connection and answers acknowledgements of the
// connection that is open.
func manualStream(t *testing.T, n int, opts ...ClientOption) *wire {
	open := make(chan struct{}, 1) // has one while a stream is open
	return newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			if len(open) == 0 {
				problem(w, 404, "unknown_consumer", "gone")
				return
			}
			answerAck(w, r)
			return
		}
		open <- struct{}{}
		defer func() { <-open }()
		s := &stream{w, r}
		s.head()
		s.hello("c_1", n)
		for i := range n {
			s.events(i + 1)
		}
		s.hold()
	}, opts...)
}

func TestTheEndOfALoopSettlesWhatWasGathered(t *testing.T) {
	for name, leave := range map[string]func(cancel func()) (stop bool){
		"left":      func(func()) bool { return true },
		"cancelled": func(cancel func()) bool { cancel(); return false },
		"panic":     func(func()) bool { panic("out of the loop") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, began := manualStream(t, 5, WithAckGrouping(time.Second)), time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var results []*AckResult
				func() {
					defer func() { _ = recover() }()
					for e, err := range s.client.Get(ctx, WithSubject("app.>"), WithAckStrategy(AckManual)) {
						if err != nil {
							t.Fatal(err)
						}
						if results = append(results, e.AckAsync()); len(results) == 5 && leave(cancel) {
							break
						}
					}
				}()
				for i, r := range results {
					select {
					case <-r.Ready():
					default:
						t.Errorf("event %d has no answer at the end of the loop", i+1)
					}
					if err := r.Get(t.Context()); err != nil {
						t.Errorf("event %d: got %v", i+1, err)
					}
				}
				if got, want := s.sizes(), []int{5}; !slices.Equal(got, want) || time.Since(began) != 0 {
					t.Errorf("got %v after %v, want %v at once", got, time.Since(began), want)
				}
			})
		})
	}
}

func TestALoopThatIsCancelledWhileItWaitsSettlesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := manualStream(t, 3, WithAckGrouping(time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		for e, err := range s.client.Get(ctx, WithSubject("app.>"), WithAckStrategy(AckManual)) {
			if err != nil {
				t.Fatal(err)
			}
			e.AckAsync()
		}
		if err := s.client.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got, want := s.sizes(), []int{3}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestAServerThatDoesNotAnswerHoldsTheEndOfALoopUpForTwoSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, after := range map[string]func(cancel func()) (stop bool){
			"left":                     func(func()) bool { return true },
			"cancelled":                func(cancel func()) bool { cancel(); return false },
			"cancelled while it waits": func(cancel func()) bool { go func() { synctest.Wait(); cancel() }(); return false },
		} {
			s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					onlyStream(func(_ int, s *stream) { s.hello("c_1", 1); s.events(1) })(n, w, r)
				}
				<-r.Context().Done()
			})
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			for e, err := range s.client.Get(ctx, WithSubject("app.>"), WithAckStrategy(AckManual)) {
				if err != nil {
					t.Fatal(err)
				}
				e.AckAsync()
				if after(cancel) {
					break
				}
			}
			cancel()
			if got, want := time.Since(began), leaveTime; got != want {
				t.Errorf("%s: ended after %v, want %v", name, got, want)
			}
			if err := s.client.Flush(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: Flush got %v, want that nobody answered", name, err)
			}
		}
	})
}

func TestAStreamDoesNotStandStillForItsOwnAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for window, want := range map[int]int{1: 1, 2: 1, 8: 4, 100: 50} {
			s, began := manualStream(t, want, WithAckGrouping(time.Second)), time.Now()
			var last *AckResult
			for e, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithAckStrategy(AckManual), WithInflight(window)) {
				if err != nil {
					t.Fatal(err)
				}
				if last = e.AckAsync(); e.Index == uint64(want) {
					<-last.Ready()
					break
				}
			}
			if got := s.sizes(); time.Since(began) != 0 || !slices.Equal(got, []int{want}) {
				t.Errorf("a window of %d: got %v after %v, want %d at once", window, got, time.Since(began), want)
			}
		}
	})
}

func TestABrokenConnectionSendsWhatWasGatheredAndReconnectsMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				sleep(r.Context(), 20*time.Second)
				problem(w, 404, "unknown_consumer", "gone")
				return
			}
			onlyStream(func(_ int, s *stream) {
				s.hello("c_1", 1)
				s.events(n)
				if n == 1 {
					s.breakOff()
				}
				s.hold()
			})(n, w, r)
		}, WithAckGrouping(time.Second))
		began, n := time.Now(), 0
		var first *AckResult
		for e, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithAckStrategy(AckManual)) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 2 {
				break
			}
			first = e.AckAsync()
		}
		if got := time.Since(began); got >= 20*time.Second || n != 2 {
			t.Errorf("got %d events after %v, want 2 before the answer", n, got)
		}
		if err := first.Get(t.Context()); !errors.Is(err, bus.ErrUnknownConsumer) || !strings.Contains(err.Error(), "gone") {
			t.Errorf("got %v, want the answer to its own request", err)
		}
		if got, want := time.Since(began), 20*time.Second; got != want {
			t.Errorf("got the answer after %v, want %v: sent when the connection broke", got, want)
		}
	})
}

func TestTheEventAtHandCanBeAcknowledgedAfterTheCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, read := range map[string]int{"others read ahead": 5, "nothing read ahead": 3} {
			s, began := manualStream(t, read), time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var last *AckResult
			for e, err := range s.client.Get(ctx, WithSubject("app.>"), WithAckStrategy(AckManual)) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Index == 3 {
					cancel()
					synctest.Wait() // whatever the cancel does by itself is done
				}
				last = e.AckAsync()
			}
			if err := last.Get(t.Context()); err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			if got, want := s.sizes(), []int{3}; !slices.Equal(got, want) || time.Since(began) != 0 {
				t.Errorf("%s: got %v after %v, want %v at once", name, got, time.Since(began), want)
			}
		}
	})
}
