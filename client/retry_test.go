package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// busyTwice refuses with status twice and then accepts.
func busyTwice(status int, header ...string) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 2 {
			accept(n, w, r)
			return
		}
		if len(header) > 0 {
			w.Header().Set("Retry-After", header[0])
		}
		problem(w, status, "unavailable", "later")
	}
}

func TestAPutWithoutAKeyIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request){
			"503": busyTwice(503, "1"), "429": busyTwice(429, "1"),
			"broken connection": func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		} {
			s := newWire(t, answer)
			opts := []PutOption{Batch(WithSubject("app.x"), WithKey("k")), Batch(WithSubject("app.x"))}
			for _, o := range [][]PutOption{{WithSubject("app.x")}, opts} {
				before := len(s.seen())
				err := s.client.Put(t.Context(), o...).Error()
				if got := len(s.seen()) - before; err == nil || got != 1 {
					t.Errorf("%s: got %d requests and %v, want 1 and an error", name, got, err)
				}
			}
		}
	})
}

func TestAPutWithAKeyIsSentUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request){
			"503": busyTwice(503), "429": busyTwice(429),
			"broken connection": func(n int, w http.ResponseWriter, r *http.Request) {
				if n < 3 {
					panic(http.ErrAbortHandler)
				}
				accept(n, w, r)
			},
			"broken answer": func(n int, w http.ResponseWriter, r *http.Request) {
				if n < 3 {
					w.Header().Set("Content-Length", "500")
					w.WriteHeader(202)
					panic(http.ErrAbortHandler)
				}
				accept(n, w, r)
			},
		} {
			s := newWire(t, answer)
			resp := s.client.Put(t.Context(), WithSubject("app.x"), WithKey("k"))
			if got := len(s.seen()); resp.Error() != nil || resp.Index != 7 || got != 3 {
				t.Errorf("%s: got %+v after %d requests, want a receipt after 3", name, resp, got)
			}
			if a, b := s.seen()[0].body, s.seen()[2].body; a != b {
				t.Errorf("%s: sent %s and then %s", name, a, b)
			}
		}
	})
}

func TestAPutWithAKeyDoesNotRepeatWhatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int{400, 404, 413, 422, 500, 504, 507} {
			s := newWire(t, busyTwice(status))
			err := s.client.Put(t.Context(), WithSubject("app.x"), WithKey("k")).Error()
			if got := len(s.seen()); err == nil || got != 1 {
				t.Errorf("%d: got %d requests and %v, want 1 and an error", status, got, err)
			}
		}
		s := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
		if err := s.client.Put(t.Context(), WithSubject("app.x"), WithKey("k")).Error(); err == nil || len(s.seen()) != 1 {
			t.Errorf("other server: got %d requests and %v", len(s.seen()), err)
		}
	})
}

func TestRetryAfterIsKeptTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, want := range []time.Duration{14 * time.Second, 60 * time.Second} {
			began := time.Now()
			value := "7"
			if want > 14*time.Second {
				value = began.Add(want).UTC().Format(http.TimeFormat)
			}
			s := newWire(t, busyTwice(503, value))
			if err := s.client.Put(t.Context(), WithSubject("app.x"), WithKey("k")).Error(); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got < want || got > 2*want {
				t.Errorf("Retry-After %s: waited %v, want %v or a little more", value, got, want)
			}
		}
	})
}

func TestTryingAgainEndsWithTheTimeGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, 503, "unavailable", "later") })
		began := time.Now()
		err := s.client.Put(t.Context(), WithSubject("app.x"), WithKey("k"), WithTimeout(time.Minute)).Error()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, bus.ErrUnavailable) || time.Since(began) != time.Minute {
			t.Errorf("timeout: got %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		err = s.client.Put(ctx, WithSubject("app.x"), WithKey("k")).Error()
		if !errors.Is(err, context.Canceled) || !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("cancel: got %v", err)
		}
	})
}

func TestAPutWithAKeyEndsLongBeforeTheServerForgetsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request){
			"busy":   func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, 503, "unavailable", "later") },
			"silent": func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		} {
			s := newWire(t, answer)
			began := time.Now()
			err := s.client.Put(t.Context(), WithSubject("app.x"), WithKey("k")).Error()
			if got, want := time.Since(began), 5*time.Minute; got != want || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v after %v, want the end of its time after %v", name, err, got, want)
			}
			if name == "busy" && !errors.Is(err, bus.ErrUnavailable) {
				t.Errorf("%s: got %v, want the last answer in it", name, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			began = time.Now()
			for _, c := range []struct {
				ctx context.Context
				opt PutOption
			}{{ctx, WithTraceId("t")}, {t.Context(), WithTimeout(time.Hour)}} {
				_ = s.client.Put(c.ctx, WithSubject("app.x"), WithKey("k"), c.opt)
			}
			if got, want := time.Since(began), 2*time.Hour; got != want {
				t.Errorf("%s: two that were given an hour each ended after %v", name, got)
			}
			cancel()
		}
	})
}

func TestAServerThatDoesNotAnswerIsNotWaitedForLongerThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		for name, call := range map[string]func(context.Context, PutAckOption) error{
			"put": func(ctx context.Context, o PutAckOption) error {
				return s.client.Put(ctx, WithSubject("app.x"), o).Error()
			},
			"put with key": func(ctx context.Context, o PutAckOption) error {
				return s.client.Put(ctx, WithSubject("app.x"), WithKey("k"), o).Error()
			},
			"put and wait": func(ctx context.Context, o PutAckOption) error {
				return s.client.Put(ctx, WithSubject("app.x"), WithConfirm(1), o).Error()
			},
			"acknowledging": func(ctx context.Context, o PutAckOption) error { return s.client.Ack(ctx, "c_1", "e_1", o) },
		} {
			began := time.Now()
			err := call(t.Context(), WithTimeout(time.Minute))
			if got := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || got > time.Minute+answerTime {
				t.Errorf("%s with a timeout: got %v after %v", name, err, got)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if err := call(ctx, WithTimeout(time.Hour)); !errors.Is(err, context.Canceled) {
				t.Errorf("%s cancelled: got %v", name, err)
			}
		}
	})
}

func TestTheServerIsToldHowLongToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, accept)
		ctx := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		for _, c := range []struct {
			ctx  context.Context
			opts []PutOption
			want string
		}{
			{t.Context(), []PutOption{WithConfirm(1)}, "confirm=1"},
			{t.Context(), []PutOption{WithConfirm(0), WithTimeout(time.Second)}, ""},
			{ctx(time.Hour), []PutOption{WithTimeout(time.Second)}, ""},
			{ctx(10 * time.Second), []PutOption{WithRequestReply()}, "reply=true&timeout=10s"},
			{ctx(100 * time.Hour), []PutOption{WithRequestReply()}, "reply=true&timeout=1h0m0s"},
			{ctx(time.Hour), []PutOption{WithConfirm(1), WithTimeout(2 * time.Minute)}, "confirm=1&timeout=2m0s"},
			{t.Context(), []PutOption{WithConfirm(1), WithTimeout(time.Nanosecond)}, "confirm=1&timeout=1ms"},
		} {
			if err := s.client.Put(c.ctx, append(c.opts, WithSubject("app.x"))...).Error(); err != nil {
				t.Fatal(err)
			}
			seen := s.seen()
			if got := seen[len(seen)-1].query; got != c.want {
				t.Errorf("query: got %q, want %q", got, c.want)
			}
		}
	})
}

func TestWaitsGrowToABoundAndNeverFallBelowWhatTheServerAsks(t *testing.T) {
	var b backoff
	for i := range 40 {
		low := min(firstDelay<<min(i, 20), maxDelay)
		if got := b.next(0); got < low || got > low+low/2 {
			t.Errorf("wait %d: got %v, want %v to %v", i, got, low, low+low/2)
		}
	}
	b.reset()
	if got := b.next(0); got > 2*firstDelay {
		t.Errorf("after success: got %v, want about %v", got, firstDelay)
	}
	b.retry = 40 * time.Second
	if got := b.next(time.Second); got < b.retry {
		t.Errorf("retry: got %v, want at least %v", got, b.retry)
	}
	if got := b.next(1000 * time.Hour); got < maxAsked || got > 2*maxAsked {
		t.Errorf("absurd Retry-After: got %v, want about %v", got, maxAsked)
	}
}
