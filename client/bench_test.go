package client_test

import (
	"context"
	"sync"
	"testing"

	bus "example.com/bus/client"
)

// The ways to acknowledge a stream, each from the first event to the settling of the last. They
// differ by requests, not by what is promised: all is settled when the loop is over.
func BenchmarkAcknowledge(b *testing.B) {
	for _, c := range []struct {
		name string
		opts []bus.ClientOption
		work func(b *testing.B, ctx context.Context, c *bus.Client, window int)
	}{
		{"one by one", nil, oneByOne},
		{"async", nil, notWaiting},
		{"32 workers", nil, workers},
		{"32 workers grouped", []bus.ClientOption{bus.WithAckGrouping(0)}, workers},
		{"batches of half a window", nil, inBatches},
		{"up to, each half a window", nil, upTo},
	} {
		for name, window := range map[string]int{"/window 64": 64, "/window 1000": 1000} {
			b.Run(c.name+name, func(b *testing.B) {
				url, ctx := realBus(b)
				publish(b, ctx, url, b.N)
				client := bus.NewClient(url, c.opts...)
				b.ResetTimer()
				c.work(b, ctx, client, window)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acked/s")
				if err := client.Flush(ctx); err != nil || ctx.Err() != nil {
					b.Fatal(err, ctx.Err())
				}
			})
		}
	}
}

// each calls act for every event of a stream that ends when all are settled.
func each(b *testing.B, ctx context.Context, c *bus.Client, window int, act func(n int, event *bus.Event) error) {
	n := 0
	for event, err := range c.Get(ctx, unsettled(b.N, bus.WithInflight(window))...) {
		if err != nil {
			b.Fatal(err)
		}
		n++
		if err := act(n, event); err != nil {
			b.Fatal(err)
		}
	}
}

func oneByOne(b *testing.B, ctx context.Context, c *bus.Client, window int) {
	each(b, ctx, c, window, func(_ int, event *bus.Event) error { return event.Ack(ctx) })
}

func notWaiting(b *testing.B, ctx context.Context, c *bus.Client, window int) {
	each(b, ctx, c, window, func(_ int, event *bus.Event) error { event.AckAsync(); return nil })
}

func workers(b *testing.B, ctx context.Context, c *bus.Client, window int) {
	work := make(chan *bus.Event)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for event := range work {
				if err := event.Ack(ctx); err != nil {
					b.Error(err)
				}
			}
		})
	}
	each(b, ctx, c, window, func(_ int, event *bus.Event) error { work <- event; return nil })
	close(work)
	all.Wait()
}

func inBatches(b *testing.B, ctx context.Context, c *bus.Client, window int) {
	var ids []string
	each(b, ctx, c, window, func(n int, event *bus.Event) error {
		if ids = append(ids, event.Id); len(ids) < window/2 && n < b.N {
			return nil
		}
		defer func() { ids = ids[:0] }()
		return c.AckBatch(ctx, event.ConsumerId, ids)
	})
}

func upTo(b *testing.B, ctx context.Context, c *bus.Client, window int) {
	each(b, ctx, c, window, func(n int, event *bus.Event) error {
		if n%(window/2) != 0 && n < b.N {
			return nil
		}
		return event.Ack(ctx, bus.WithUpTo())
	})
}
