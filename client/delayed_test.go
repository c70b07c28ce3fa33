package client_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	root "example.com/bus"
	bus "example.com/bus/client"
)

func TestWhatWaitsIsListedByIndexOverAllPages(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 1)
	c := bus.NewClient(url)
	due := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	const count = 1005 // a page has 1,000
	events := make([]root.Event, count)
	for i := range events {
		events[i] = root.Event{Subject: "orders.later", Payload: fmt.Appendf(nil, "%d", i), Timing: &root.Timing{DeliverAt: due}}
	}
	for _, part := range [][]root.Event{events[:1000], events[1000:]} {
		if err := c.Put(ctx, bus.WithBatch(part...)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the iterator begins anew
		n := 0
		for e, err := range c.Delayed(ctx, "orders") {
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprint(n); string(e.Payload) != want || e.Index != uint64(n+2) || !e.Timing.DeliverAt.Equal(due) {
				t.Fatalf("got %s at %d, due %v, want %s at %d, due %s", e.Payload, e.Index, e.Timing, want, n+2, due)
			}
			n++
		}
		if n != count {
			t.Errorf("got %d, want %d", n, count)
		}
	}
	for e, err := range c.Delayed(ctx, "orders") {
		if err != nil || e.Index != 2 {
			t.Errorf("got %d, %v, want the first", e.Index, err)
		}
		break
	}
	n := 0
	for _, err := range c.Delayed(ctx, "nope") {
		if n++; !errors.Is(err, root.ErrUnknownNamespace) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("got %d errors, want one", n)
	}
}
