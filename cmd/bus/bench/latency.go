package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// latency publishes at a fixed rate and measures the time from when an event was
// due to be sent until a subscriber has it: a server that stalls is charged for
// all that had to wait, not for one.
func latency(subscribers int, rate float64) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve()
		if err != nil {
			return Figures{}, err
		}
		n := int(rate * r.config.Time.Seconds())
		due := make([]atomic.Int64, n+1) // by index, nanoseconds since begun
		begun := time.Now()
		samples := make([][]time.Duration, subscribers)
		all := make([]*subscriber, subscribers)
		for i := range all {
			seen := func(index uint64, _ []byte) {
				if index < uint64(len(due)) {
					samples[i] = append(samples[i], time.Since(begun)-time.Duration(due[index].Load()))
				}
			}
			if all[i], err = r.subscribe(ctx, s, "subject="+s.ns+".*", true, seen); err != nil {
				return Figures{}, fmt.Errorf("subscriber %d: %w", i+1, err)
			}
		}
		p, err := r.publisher(ctx, s, 0, 1)
		if err != nil {
			return Figures{}, err
		}
		before, first := s.usage(), time.Now()
		if err := p.atRate(ctx, rate, n, func(i int, at time.Time) { due[i+1].Store(int64(at.Sub(begun))) }); err != nil {
			return Figures{}, err
		}
		for _, b := range all {
			if err := b.reach(ctx, n); err != nil {
				return Figures{}, err
			}
		}
		elapsed, after := time.Since(first), s.usage()
		f := Figures{}
		f.spread(flatten(samples))
		f.cost(n*subscribers, elapsed, before, after)
		return f, nil
	}
}

// atRate sends n events, each at its time or as soon as the one before is
// answered.
func (p *publisher) atRate(ctx context.Context, rate float64, n int, due func(i int, at time.Time)) error {
	begun := time.Now()
	for i := range n {
		at := begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		due(i, at)
		if err := p.send(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func flatten(parts [][]time.Duration) []time.Duration {
	var all []time.Duration
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// asking sends requests with reply=true, one after another, to a consumer that
// answers each at once.
func asking(sync string) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve("--sync", sync)
		if err != nil {
			return Figures{}, err
		}
		c, err := r.consume(ctx, s, "", 1, false)
		if err != nil {
			return Figures{}, err
		}
		asker, err := open(ctx, s.addr)
		if err != nil {
			return Figures{}, err
		}
		r.atEnd(func() { asker.Close() })
		request := post("?reply=true&timeout=10s", envelope(s.ns+".ask", payload(1, r.config.Payload)))
		var took []time.Duration
		before, begun := s.usage(), time.Now()
		for end := begun.Add(r.config.Time); time.Now().Before(end) && ctx.Err() == nil; {
			at := time.Now()
			if _, err := asker.do(request); err != nil {
				return Figures{}, fmt.Errorf("ask: %w", err)
			}
			took = append(took, time.Since(at))
		}
		elapsed, after := time.Since(begun), s.usage()
		if err := c.failure(); err != nil {
			return Figures{}, err
		}
		f := Figures{}
		n := len(took)
		f.spread(took)
		f.cost(n, elapsed, before, after)
		return f, ctx.Err()
	}
}

// idle opens many streams that nothing comes on, and then sends one event to all
// of them. Memory is what one of them costs; the latency is that of the event,
// from before it is sent: p50 for the subscriber in the middle, p99.9 and the
// elapsed time for the last.
func idle(ctx context.Context, r *run) (Figures, error) {
	s, err := r.serve()
	if err != nil {
		return Figures{}, err
	}
	n := r.config.Idle
	empty := s.usage().memory
	var begun time.Time
	var mu sync.Mutex
	var took []time.Duration
	all := make([]*subscriber, n)
	for i := range all {
		seen := func(uint64, []byte) {
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(begun))
		}
		if all[i], err = r.subscribe(ctx, s, "subject="+s.ns+".*", true, seen); err != nil {
			return Figures{}, fmt.Errorf("subscriber %d of %d: %w", i+1, n, err)
		}
	}
	time.Sleep(time.Second) // whatever accepting them has left behind is gone
	before := s.usage()
	p, err := r.publisher(ctx, s, 0, 1)
	if err != nil {
		return Figures{}, err
	}
	mu.Lock()
	begun = time.Now()
	mu.Unlock()
	if err := p.send(); err != nil {
		return Figures{}, err
	}
	for _, b := range all {
		if err := b.reach(ctx, 1); err != nil {
			return Figures{}, err
		}
	}
	elapsed, after := time.Since(begun), s.usage()
	f := Figures{}
	f.spread(took)
	f.cost(n, elapsed, before, after)
	f.Memory = (before.memory - empty) / int64(n)
	return f, nil
}
