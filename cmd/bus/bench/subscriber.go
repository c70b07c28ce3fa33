package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// subscriber counts what comes on a connection, and checks its order.
type subscriber struct {
	count    atomic.Int64  // events so far
	sum      atomic.Uint32 // of all bytes, 0 where they differ between subscribers
	done     chan error
	patience time.Duration

	// Of the goroutine that reads:
	dense       bool // indexes go up by one
	first, last uint64
	seen        seen
}

// subscriber reads on until the connection or the run ends.
func (r *run) subscriber(s *server, want reading) *subscriber {
	return &subscriber{done: make(chan error, 1), patience: r.config.patience, dense: s.fresh(), seen: want.seen}
}

// start reads in a goroutine of its own.
func (b *subscriber) start(r *run, read func() error) {
	r.group.Go(func() { b.done <- read() })
}

// event checks that an event is the one that is due, and counts it.
func (b *subscriber) event(index uint64, frame []byte) error {
	switch {
	case index == 0:
		return fmt.Errorf("got event 0 after %d, wanted 1 or more", b.last)
	case b.last == 0:
		b.first = index
	case b.dense && index != b.last+1:
		return fmt.Errorf("got event %d after %d: lost, doubled or out of order", index, b.last)
	case index <= b.last:
		return fmt.Errorf("got event %d after %d: doubled or out of order", index, b.last)
	}
	b.last = index
	if b.seen != nil {
		if err := b.seen(int(b.count.Load())+1, index, frame); err != nil {
			return err
		}
	}
	b.count.Add(1)
	return nil
}

// knows checks that the events are those that were answered, as far as their
// first and last tell. It is called when nothing comes any more.
func (b *subscriber) knows(indexes []uint64) error {
	if first, last := indexes[0], indexes[len(indexes)-1]; b.first != first || b.last != last {
		return fmt.Errorf("got events %d to %d, want %d to %d, which were answered", b.first, b.last, first, last)
	}
	return nil
}

// reach waits until the subscriber has so many events, and no more.
func (b *subscriber) reach(ctx context.Context, want int) error {
	if err := b.atLeast(ctx, want); err != nil {
		return err
	}
	if got := b.count.Load(); got > int64(want) {
		return fmt.Errorf("a subscriber got %d events, want %d", got, want)
	}
	select {
	case err := <-b.done:
		b.done <- err
		return fmt.Errorf("a stream ended after event %d: %w", want, orEnd(err))
	default:
		return nil
	}
}

// atLeast gives up when nothing comes for long.
func (b *subscriber) atLeast(ctx context.Context, want int) error {
	if b.count.Load() >= int64(want) {
		return nil
	}
	last, since := int64(-1), time.Now()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		got := b.count.Load()
		if got >= int64(want) {
			return nil
		}
		if got != last {
			last, since = got, time.Now()
		} else if time.Since(since) > b.patience {
			return fmt.Errorf("a subscriber has %d events of %d, and nothing comes any more", got, want)
		}
		select {
		case err := <-b.done:
			b.done <- err
			return fmt.Errorf("a stream ended at event %d of %d: %w", got, want, orEnd(err))
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func orEnd(err error) error {
	if err == nil {
		return errors.New("it was closed")
	}
	return err
}
