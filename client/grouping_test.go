package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// ackAll acknowledges each id from a goroutine of its own and returns what each of them got.
func ackAll(ctx context.Context, c *Client, consumer string, ids []string) []error {
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { errs[i] = c.Ack(ctx, consumer, id) })
	}
	wg.Wait()
	return errs
}

func TestAcksOfManyGoroutinesLeaveInOneRequestAfterTheTimeOfGrouping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[time.Duration]time.Duration{0: time.Millisecond, -1: time.Millisecond, 5 * time.Millisecond: 5 * time.Millisecond, time.Hour: time.Second} {
			s := newAckSink(t, WithAckGrouping(given))
			began, ids := time.Now(), numbered(100)
			for i, err := range ackAll(t.Context(), s.client, "c_1", ids) {
				if err != nil {
					t.Errorf("%s: got %v", ids[i], err)
				}
			}
			if got := s.groups(); len(got) != 1 || !slices.Equal(got[0], ids) {
				t.Errorf("got %q, want all ids in one request", got)
			}
			if got := time.Since(began); got != want {
				t.Errorf("%v: left after %v, want %v", given, got, want)
			}
		}
	})
}

func TestWithoutGroupingAnAckLeavesAloneAndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := newAckSink(t), time.Now()
		ackAll(t.Context(), s.client, "c_1", numbered(3))
		if got, want := s.sizes(), []int{1, 1, 1}; !slices.Equal(got, want) || time.Since(began) != 0 {
			t.Errorf("got %v after %v, want %v at once", got, time.Since(began), want)
		}
	})
}

func TestAcksOfDifferentConsumersDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAckSink(t)
		gone, there := s.client.AckAsync("c_gone", "e_1"), s.client.AckAsync("c_1", "e_2")
		if err := gone.Get(t.Context()); !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Errorf("for the one that is gone: got %v", err)
		}
		if err := there.Get(t.Context()); err != nil {
			t.Errorf("for the other: got %v", err)
		}
	})
}

func TestEachAckOfAGroupGetsTheAnswerToItsOwnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAckSink(t, WithAckGrouping(0))
		ids := append(numbered(20), "bad_1", "torn_1", "bad_2", "bad_2", "torn_2")
		for i, err := range ackAll(t.Context(), s.client, "c_1", ids) {
			want := error(nil)
			if strings.HasPrefix(ids[i], "bad") {
				want = bus.ErrNotDelivered
			} else if strings.HasPrefix(ids[i], "torn") {
				want = bus.ErrUnreadable
			}
			if !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", ids[i], err, want)
			}
			if e, ok := bus.AsError(err); ok && e.EventID != "" && e.EventID != ids[i] {
				t.Errorf("%s was told of %s", ids[i], e.EventID)
			}
		}
	})
}

func TestARefusalThatIsAboutNoEventIsSentOnceAndIsEverybodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, status := range map[string]int{"unknown_consumer": 404, "unavailable": 503, "too_many_requests": 429, "forbidden": 403, "bad_gateway": 502} {
			s := newWire(t, func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, status, code, "no") }, WithAckGrouping(0))
			for _, err := range ackAll(t.Context(), s.client, "c_1", numbered(8)) {
				if e, ok := bus.AsError(err); !ok || e.Code != code {
					t.Errorf("got %v, want %s", err, code)
				}
			}
			if got, want := s.sizes(), []int{8}; !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", code, got, want)
			}
		}
	})
}

func TestCancellingOneAckLosesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, after := range map[string]time.Duration{"while it gathers": time.Millisecond, "on its way": 15 * time.Millisecond} {
			s := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				sleep(r.Context(), 10*time.Millisecond)
				answerAck(w, r)
			}, WithAckGrouping(10*time.Millisecond))
			ctx, cancel := context.WithTimeout(t.Context(), after)
			cancelled := make(chan error, 1)
			go func() { cancelled <- s.client.Ack(ctx, "c_1", "e_1") }()
			synctest.Wait()
			if err := s.client.Ack(t.Context(), "c_1", "e_2"); err != nil {
				t.Errorf("%s: the other got %v", name, err)
			}
			if err := <-cancelled; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the cancelled one got %v", name, err)
			}
			if got := len(s.groups()[0]); got != 2 {
				t.Errorf("%s: got %d ids in the request, want both", name, got)
			}
			cancel()
		}
	})
}

func TestAnAckOfAnEndedContextIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAckSink(t, WithAckGrouping(0))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.client.Ack(ctx, "c_1", "e_1"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want canceled", err)
		}
		if err := s.client.Flush(t.Context()); err != nil || len(s.seen()) != 0 {
			t.Errorf("got %v and %d requests, want none", err, len(s.seen()))
		}
	})
}

func TestOnlyWhatSaysNoMoreThanDoneIsGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := newAckSink(t), time.Now()
		results := []*AckResult{
			s.client.AckAsync("c_1", "e_1", WithVerdict(Nak), WithDelay(time.Second)),
			s.client.AckAsync("c_1", "e_2", WithData(1)),
			s.client.AckAsync("c_1", "e_3", WithUpTo()),
			s.client.AckAsync("c_1", "e#4"),
		}
		for _, r := range results {
			if err := r.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if got := len(s.seen()); got != 4 || time.Since(began) != 0 {
			t.Errorf("got %d requests after %v, want 4 at once", got, time.Since(began))
		}
		s.client.AckAsync("c_1", "e_5", WithTimeout(time.Minute))
		s.client.AckAsync("c_1", "e_6", WithTimeout(time.Minute))
		if err := s.client.Flush(t.Context()); err != nil || len(s.seen()) != 5 {
			t.Errorf("got %v and %d requests, want one for both with a time", err, len(s.seen())-4)
		}
	})
}

func TestAGroupIsNoLongerThanAProxyTakesOfAURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := newAckSink(t), make([]string, 200)
		for i := range ids {
			ids[i] = strings.Repeat("x", bus.MaxIDLen)
			s.client.AckAsync("c_1", ids[i])
		}
		if err := s.client.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		sent := 0
		for _, r := range s.seen() {
			sent += strings.Count(r.query, "event_id=")
			if got := len("http://bus.test/?" + r.query); got > maxAckURL {
				t.Errorf("got a URL of %d bytes, want at most %d", got, maxAckURL)
			}
		}
		if sent != len(ids) || len(s.seen()) != 2 {
			t.Errorf("got %d ids in %d requests, want %d in 2", sent, len(s.seen()), len(ids))
		}
	})
}

func TestTheEarliestTimeOfAGroupHoldsForAllOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := newAckSink(t, WithAckGrouping(time.Second)), time.Now()
		for _, redelivery := range []time.Duration{time.Minute, 100 * time.Millisecond, 5 * time.Second} {
			e := &Event{Event: bus.Event{Id: "e_1"}, ConsumerId: "c_1", client: s.client, from: origin{&terms{redelivery: redelivery, inflight: 64}, began}}
			e.AckAsync()
		}
		s.client.AckAsync("c_1", "e_2") // of no stream that is known
		<-s.client.AckAsync("c_1", "e_3").Ready()
		if got, want := time.Since(began), 50*time.Millisecond; got != want || len(s.seen()) != 1 {
			t.Errorf("left after %v in %d requests, want %v in 1", got, len(s.seen()), want)
		}
		late := &Event{Event: bus.Event{Id: "e_4"}, ConsumerId: "c_1", client: s.client, from: origin{&terms{redelivery: 100 * time.Millisecond, inflight: 64}, began}}
		<-late.AckAsync().Ready()
		if got, want := time.Since(began), 50*time.Millisecond; got != want {
			t.Errorf("one whose time is half over left after %v, want %v", got, want)
		}
	})
}
