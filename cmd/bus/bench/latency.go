package bench

import (
	"context"
	"fmt"
	"slices"
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
		warm := int(rate * r.warmUp().Seconds())
		n := warm + max(int(rate*r.config.Time.Seconds()), 1)
		l := newLag(subscribers, n, warm)
		all := make([]*subscriber, subscribers)
		for i := range all {
			if all[i], err = s.subscriber(r, s, reading{near: true, seen: l.seen(i)}); err != nil {
				return Figures{}, fmt.Errorf("subscriber %d of %d: %w", i+1, subscribers, err)
			}
		}
		p, err := s.publisher(r, s, 0, 1)
		if err != nil {
			return Figures{}, err
		}
		before, first := s.usage(), time.Now()
		if err := p.atRate(ctx, rate, n, l.due); err != nil {
			return Figures{}, err
		}
		if err := reachAll(ctx, all, n); err != nil {
			return Figures{}, err
		}
		elapsed, after := time.Since(first), s.usage()
		f := Figures{}
		f.spread(slices.Concat(l.samples...))
		f.cost(n*subscribers, elapsed, before, after)
		return f, complete(ctx, p, all)
	}
}

// lag is how long events were on their way, by subscriber.
type lag struct {
	begun   time.Time
	sent    []atomic.Int64 // of each event when it was due, since begun
	warm    int            // so many do not count
	samples [][]time.Duration
}

func newLag(subscribers, events, warm int) *lag {
	return &lag{begun: time.Now(), sent: make([]atomic.Int64, events+1), warm: warm, samples: make([][]time.Duration, subscribers)}
}

// due is called before event n, from 1 on, is sent.
func (l *lag) due(n int, at time.Time) { l.sent[n].Store(int64(at.Sub(l.begun))) }

// seen is what subscriber i calls.
func (l *lag) seen(i int) seen {
	return func(n int, _ uint64, _ []byte) error {
		if n > l.warm && n < len(l.sent) {
			l.samples[i] = append(l.samples[i], time.Since(l.begun)-time.Duration(l.sent[n].Load()))
		}
		return nil
	}
}

// atRate sends n events, each at its time or as soon as the one before is
// answered. What our own timer is late by is not the server's fault; what we are
// late by because it kept us waiting is.
func (p *publisher) atRate(ctx context.Context, rate float64, n int, due func(n int, at time.Time)) error {
	begun := time.Now()
	for i := range n {
		at := begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
			at = time.Now()
		}
		due(i+1, at)
		if err := p.send(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// idle opens many streams that nothing comes on, and then sends one event to all
// of them. Memory is what one of them costs; the latency is that of the event,
// from before it is sent: p50 for the subscriber in the middle, elapsed for the last.
func idle(ctx context.Context, r *run) (Figures, error) {
	s, err := r.serve()
	if err != nil {
		return Figures{}, err
	}
	p, err := s.publisher(r, s, 0, 1)
	if err != nil {
		return Figures{}, err
	}
	n, empty := r.config.Idle, s.usage()
	l := newLag(n, 1, 0)
	all := make([]*subscriber, n)
	for i := range all {
		if all[i], err = s.subscriber(r, s, reading{near: true, buffer: 2 << 10, seen: l.seen(i)}); err != nil {
			return Figures{}, fmt.Errorf("subscriber %d of %d: %w", i+1, n, err)
		}
	}
	before, err := r.settled(ctx, s)
	if err != nil {
		return Figures{}, err
	}
	begun := time.Now()
	l.due(1, begun)
	if err := p.send(); err != nil {
		return Figures{}, err
	}
	if err := reachAll(ctx, all, 1); err != nil {
		return Figures{}, err
	}
	elapsed, after := time.Since(begun), s.usage()
	f := Figures{}
	f.spread(slices.Concat(l.samples...))
	f.cost(n, elapsed, before, after)
	f.Memory = each(empty, before, n)
	return f, complete(ctx, p, all)
}

// each is what one of n costs in memory, 0 only where the system does not tell.
func each(without, with usage, n int) int64 {
	if with.memory == 0 {
		return 0
	}
	return max((with.memory-without.memory)/int64(n), 1)
}

// settled waits until whatever accepting streams has left behind is gone.
func (r *run) settled(ctx context.Context, s *server) (usage, error) {
	select {
	case <-time.After(min(r.config.Time, time.Second)):
		return s.usage(), nil
	case <-ctx.Done():
		return usage{}, ctx.Err()
	}
}
