package bench

import (
	"context"
	"fmt"
	"time"
)

// fanOut publishes to some subscribers that want every event, by batches or one
// by one, and waits until all have all.
func fanOut(subscribers, batch int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve()
		if err != nil {
			return Figures{}, err
		}
		all, err := r.subscribeAll(ctx, s, subscribers)
		if err != nil {
			return Figures{}, err
		}
		p, err := r.publisher(ctx, s, 0, batch)
		if err != nil {
			return Figures{}, err
		}
		before, begun := s.usage(), time.Now()
		if err := p.keepUp(ctx, all, begun.Add(r.config.Time)); err != nil {
			return Figures{}, err
		}
		for _, b := range all {
			if err := b.reach(ctx, len(p.indexes)); err != nil {
				return Figures{}, err
			}
		}
		elapsed, after := time.Since(begun), s.usage()
		if err := alike(all); err != nil {
			return Figures{}, err
		}
		f, err := sum([]*publisher{p}, true)
		if err != nil {
			return f, err
		}
		f.cost(len(p.indexes)*subscribers, elapsed, before, after)
		return f, nil
	}
}

// subscribeAll opens the streams, the first of which looks at every event.
func (r *run) subscribeAll(ctx context.Context, s *server, n int) ([]*subscriber, error) {
	all := make([]*subscriber, n)
	for i := range all {
		b, err := r.subscribe(ctx, s, "subject="+s.ns+".*", i == 0, nil)
		if err != nil {
			return nil, fmt.Errorf("subscriber %d: %w", i+1, err)
		}
		all[i] = b
	}
	return all, nil
}

// ahead is how many events a publisher may be before the slowest it looks at:
// what is measured is delivery, not how much a server can hold back.
const ahead = 2000

// keepUp publishes until the time is over, no faster than subscribers read.
func (p *publisher) keepUp(ctx context.Context, all []*subscriber, end time.Time) error {
	for time.Now().Before(end) {
		if err := p.send(); err != nil {
			return err
		}
		for _, b := range []*subscriber{all[0], all[len(all)-1]} {
			if due := len(p.indexes) - ahead; int(b.count.Load()) < due {
				if err := b.atLeast(ctx, due); err != nil {
					return err
				}
			}
		}
	}
	return ctx.Err()
}

// alike checks that all subscribers got the same bytes as the one that looked.
func alike(all []*subscriber) error {
	for i, b := range all {
		if got, want := b.sum.Load(), all[0].sum.Load(); got != want {
			return fmt.Errorf("subscriber %d got other bytes than the first, with as many events: reordered, or changed", i+1)
		}
	}
	return nil
}
