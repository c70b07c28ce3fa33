package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// publishing publishes from some connections at once, each sending the next
// request when the last one is answered. Then all is read back.
func publishing(connections, batch int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve()
		if err != nil {
			return Figures{}, err
		}
		publishers, err := r.publishers(s, connections, batch)
		if err != nil {
			return Figures{}, err
		}
		return r.publish(ctx, s, publishers)
	}
}

func (r *run) publishers(s *server, connections, batch int) ([]*publisher, error) {
	publishers := make([]*publisher, connections)
	var err error
	for i := range publishers {
		if publishers[i], err = s.publisher(r, s, i, batch); err != nil {
			return nil, err
		}
	}
	return publishers, nil
}

// publish measures publishers that send as fast as they can.
func (r *run) publish(ctx context.Context, s *server, publishers []*publisher) (Figures, error) {
	f, err := r.drive(ctx, s, publishers)
	if err != nil {
		return f, err
	}
	return f, r.readBack(ctx, s, publishers)
}

// drive has all publish at once, first for nothing, then for the figures.
func (r *run) drive(ctx context.Context, s *server, publishers []*publisher) (Figures, error) {
	if err := together(ctx, publishers, r.warmUp()); err != nil {
		return Figures{}, err
	}
	warm := 0
	for _, p := range publishers {
		warm += len(p.indexes)
		p.took = p.took[:0]
	}
	before, begun := s.usage(), time.Now()
	if err := together(ctx, publishers, r.config.Time); err != nil {
		return Figures{}, err
	}
	elapsed, after := time.Since(begun), s.usage()
	f, n := Figures{}, -warm
	var took []time.Duration
	for _, p := range publishers {
		n += len(p.indexes)
		took = append(took, p.took...)
	}
	f.spread(took)
	f.cost(n, elapsed, before, after)
	return f, nil
}

// together lets all send for a while, and returns the first failure.
func together(ctx context.Context, publishers []*publisher, long time.Duration) error {
	end := time.Now().Add(long)
	failed := make(chan error, len(publishers))
	var wait sync.WaitGroup
	for _, p := range publishers {
		wait.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				if err := p.send(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wait.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

// readBack checks that what was answered is there: each event once, in the order
// of its index, and nothing else.
func (r *run) readBack(ctx context.Context, s *server, publishers []*publisher) error {
	var t tally
	for _, p := range publishers {
		if err := t.add(p.indexes); err != nil {
			return err
		}
	}
	if err := t.check(s.fresh() && r.system.name != "redis"); err != nil || len(t.indexes) == 0 {
		return err
	}
	from := "oldest"
	if !s.fresh() {
		from = fmt.Sprintf("%%23%d", t.indexes[0])
	}
	had := len(t.indexes)
	return r.reread(ctx, s, publishers[0], from, func(n int, index uint64, _ []byte) error {
		if n <= had && index != t.indexes[n-1] {
			return fmt.Errorf("read event %d, want %d, which was answered: lost, doubled or out of order", index, t.indexes[n-1])
		}
		return nil
	}, had)
}

// reread reads n events, and those that p then sends: nothing may come between.
func (r *run) reread(ctx context.Context, s *server, p *publisher, from string, check seen, n int) error {
	b, err := s.subscriber(r, s, reading{from: from, near: true, buffer: 256 << 10, seen: check})
	if err != nil {
		return err
	}
	if err := b.reach(ctx, n); err != nil {
		return err
	}
	return closing(ctx, p, []*subscriber{b}, n)
}

// readAll is reread from the oldest of a long log. It opens the connection that
// closing sends on last: one that rested while all was read would be closed.
func (r *run) readAll(ctx context.Context, s *server, n int) error {
	b, err := s.subscriber(r, s, reading{from: "oldest", near: true, buffer: 256 << 10})
	if err != nil {
		return err
	}
	if err := b.reach(ctx, n); err != nil {
		return err
	}
	p, err := s.publisher(r, s, 0, 1)
	if err != nil {
		return err
	}
	return closing(ctx, p, []*subscriber{b}, n)
}

// closing sends once more and wants everybody to have just that: what was doubled
// at the end would stand before it. The first of them looks at every event.
func closing(ctx context.Context, p *publisher, all []*subscriber, n int) error {
	if err := p.send(); err != nil {
		return err
	}
	if err := reachAll(ctx, all, n+p.batch); err != nil {
		return err
	}
	if got, want := all[0].last, p.indexes[len(p.indexes)-1]; got != want {
		return fmt.Errorf("answered index %d for the last event, and read it as %d", want, got)
	}
	return nil
}

// cost fills in what n events took.
func (f *Figures) cost(n int, elapsed time.Duration, before, after usage) {
	f.Events, f.Elapsed, f.Memory = n, elapsed, after.memory
	f.Rate = float64(n) / elapsed.Seconds()
	f.CPU = float64((after.cpu - before.cpu).Microseconds()) / float64(max(n, 1))
}

// publisher sends one request again and again. It is for one goroutine.
type publisher struct {
	exchange func(indexes []uint64) ([]uint64, error) // sends, and appends what is answered
	batch    int
	indexes  []uint64 // answered
	took     []time.Duration
}

func (p *publisher) send() error {
	begun, had := time.Now(), len(p.indexes)
	var err error
	if p.indexes, err = p.exchange(p.indexes); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	p.took = append(p.took, time.Since(begun))
	if got := len(p.indexes) - had; got != p.batch {
		return fmt.Errorf("%d events were sent and %d receipts came", p.batch, got)
	}
	return nil
}
