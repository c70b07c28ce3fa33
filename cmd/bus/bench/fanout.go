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
		all, err := r.audience(s, subscribers, reading{})
		if err != nil {
			return Figures{}, err
		}
		p, err := s.publisher(r, s, 0, batch)
		if err != nil {
			return Figures{}, err
		}
		if err := p.deliver(ctx, all, r.warmUp()); err != nil {
			return Figures{}, err
		}
		warm := len(p.indexes)
		p.took = nil
		before, begun := s.usage(), time.Now()
		if err := p.deliver(ctx, all, r.config.Time); err != nil {
			return Figures{}, err
		}
		elapsed, after := time.Since(begun), s.usage()
		var f Figures
		f.spread(p.took)
		f.cost((len(p.indexes)-warm)*subscribers, elapsed, before, after)
		return f, complete(ctx, p, all)
	}
}

// complete checks that all have what was answered, in one order.
func complete(ctx context.Context, p *publisher, all []*subscriber) error {
	var t tally
	if err := t.add(p.indexes); err != nil {
		return err
	}
	if err := t.check(false); err != nil {
		return err
	}
	if err := closing(ctx, p, all, len(p.indexes)); err != nil {
		return err
	}
	if err := all[0].knows(p.indexes); err != nil {
		return err
	}
	return alike(all)
}

// audience opens streams; at least the first of them looks at every event.
func (r *run) audience(s *server, n int, want reading) ([]*subscriber, error) {
	all := make([]*subscriber, n)
	for i := range all {
		one := want
		one.near = want.near || i == 0
		var err error
		if all[i], err = s.subscriber(r, s, one); err != nil {
			return nil, fmt.Errorf("subscriber %d of %d: %w", i+1, n, err)
		}
	}
	return all, nil
}

// ahead is how many events a publisher may be before the slowest it looks at:
// what is measured is delivery, not how much a server can hold back.
const ahead = 2000

// deliver publishes for a while, no faster than subscribers read, and waits until
// they have all.
func (p *publisher) deliver(ctx context.Context, all []*subscriber, long time.Duration) error {
	for end := time.Now().Add(long); time.Now().Before(end) && ctx.Err() == nil; {
		if err := p.send(); err != nil {
			return err
		}
		for _, b := range []*subscriber{all[0], all[len(all)-1]} {
			if err := b.atLeast(ctx, len(p.indexes)-ahead); err != nil {
				return err
			}
		}
	}
	return reachAll(ctx, all, len(p.indexes))
}

func reachAll(ctx context.Context, all []*subscriber, n int) error {
	for _, b := range all {
		if err := b.reach(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// alike checks that those that only counted got the same bytes as one that looked.
func alike(all []*subscriber) error {
	for i, b := range all {
		if got, want := b.sum.Load(), all[0].sum.Load(); got != want {
			return fmt.Errorf("subscriber %d got other bytes than the first, with as many events: reordered, or changed", i+1)
		}
	}
	return nil
}
