package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	root "example.com/bus"
	bus "example.com/bus/client"
)

// publish stores n events of a subject, in batches.
func publish(t testing.TB, ctx context.Context, url string, n int) {
	t.Helper()
	c := bus.NewClient(url)
	for n > 0 {
		events := make([]root.Event, min(n, 1000))
		for i := range events {
			events[i] = root.Event{Subject: "orders.x", Payload: []byte("1")}
		}
		if err := c.Put(ctx, bus.WithBatch(events...)).Error(); err != nil {
			t.Fatal(err)
		}
		n -= len(events)
	}
}

// unsettled is a stream whose events do not come again within a test, so that it only ends at
// its limit if all of them are settled.
func unsettled(limit int, more ...bus.GetOption) []bus.GetOption {
	return append(more, bus.WithSubject("orders.>"), bus.WithStartFrom(bus.StartOldest),
		bus.WithAckStrategy(bus.AckManual), bus.WithDelivery(time.Hour, 1), bus.WithLimit(limit))
}

func TestALoopThatDoesNotWaitForItsAcksSettlesEveryEventOnce(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 3000)
	for _, window := range []int{1, 2, 64, 2000} {
		c, n := bus.NewClient(url), 0
		for event, err := range c.Get(ctx, unsettled(300*min(window, 10), bus.WithInflight(window))...) {
			if err != nil {
				t.Fatal(err)
			}
			event.AckAsync()
			n++
		}
		if err := c.Flush(ctx); err != nil || ctx.Err() != nil || n != 300*min(window, 10) {
			t.Errorf("a window of %d: got %d events, %v, %v", window, n, err, ctx.Err())
		}
	}
}

func TestWorkersThatAcknowledgeTogetherSettleEveryEvent(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 1000)
	c := bus.NewClient(url, bus.WithAckGrouping(0))
	work, failed := make(chan *bus.Event), make(chan error, 1000)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for event := range work {
				failed <- event.Ack(ctx)
			}
		})
	}
	for event, err := range c.Get(ctx, unsettled(1000)...) {
		if err != nil {
			t.Fatal(err)
		}
		work <- event
	}
	close(work)
	workers.Wait()
	close(failed)
	n := 0
	for err := range failed {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 1000 || ctx.Err() != nil {
		t.Errorf("got %d answers, %v, want 1000", n, ctx.Err())
	}
}

func TestTheServersAnswerToOneEventOfAGroupIsThatEventsOnly(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 3)
	c := bus.NewClient(url)
	for event, err := range c.Get(ctx, unsettled(1)...) {
		if err != nil {
			t.Fatal(err)
		}
		good, again := event.AckAsync(), event.AckAsync()
		bad, odd := c.AckAsync(event.ConsumerId, "e_nothing"), c.AckAsync(event.ConsumerId, "#")
		nobody := c.AckAsync("c_nobody", event.Id)
		for name, c := range map[string]struct {
			result *bus.AckResult
			want   error
		}{"good": {good, nil}, "again": {again, nil}, "not delivered": {bad, root.ErrNotDelivered}, "no id": {odd, root.ErrInvalidID}, "no consumer": {nobody, root.ErrUnknownConsumer}} {
			if err := c.result.Get(ctx); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", name, err, c.want)
			}
		}
	}
	if err := c.Flush(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("Flush: got %v, %v, want the first of the errors", err, ctx.Err())
	}
}

func TestABatchOfAcksIsTakenWholeOrNotAtAll(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, bus.MaxAckBatch)
	c := bus.NewClient(url)
	var ids []string
	for event, err := range c.Get(ctx, unsettled(bus.MaxAckBatch, bus.WithInflight(bus.MaxAckBatch))...) {
		if err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, event.Id); len(ids) < bus.MaxAckBatch {
			continue
		}
		refused, ok := root.AsError(c.AckBatch(ctx, event.ConsumerId, []string{ids[0], "e_nothing"}))
		if !ok || !errors.Is(refused, root.ErrNotDelivered) || refused.EventID != "e_nothing" {
			t.Errorf("got %v, want the one that is refused", refused)
		}
		if err := c.AckBatch(ctx, event.ConsumerId, ids); err != nil {
			t.Error(err) // and the loop, which waits for them, would not end
		}
	}
	if ctx.Err() != nil {
		t.Error("not all are settled")
	}
}

func TestUpToSettlesEverythingBeforeAnEventAndNothingAfterIt(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 5)
	c := bus.NewClient(url)
	var got []string
	for event, err := range c.Get(ctx, bus.WithSubject("orders.>"), bus.WithStartFrom(bus.StartOldest), bus.WithAckStrategy(bus.AckManual),
		bus.WithDelivery(50*time.Millisecond, 0), bus.WithLimit(5)) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Attempt > 1 && event.Index <= 3 {
			continue // it was on its way when the rest was settled
		}
		got = append(got, fmt.Sprint(event.Index))
		switch {
		case event.Index == 3 && event.Attempt == 1:
			err = event.Ack(ctx, bus.WithUpTo())
		case event.Attempt > 1: // 4 and 5 come again
			err = event.AckAsync(bus.WithUpTo()).Get(ctx)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if len(got) < 6 || ctx.Err() != nil {
		t.Errorf("got %q, %v, want 1 to 5, and 4 or 5 again", got, ctx.Err())
	}
}

func TestWhatACancelledLoopHasGatheredIsSettled(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 20)
	c := bus.NewClient(url, bus.WithAckGrouping(time.Second))
	loop, cancel := context.WithCancel(ctx)
	defer cancel()
	n := 0
	for event, err := range c.Get(loop, unsettled(20)...) {
		if err != nil {
			t.Fatal(err)
		}
		event.AckAsync()
		if n++; n == 10 {
			cancel()
		}
	}
	if err := c.Flush(ctx); err != nil || n != 10 {
		t.Errorf("got %v after %d events, want all 10 settled", err, n)
	}
}
