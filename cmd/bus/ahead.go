package main

import (
	"context"
	"sync/atomic"

	"example.com/bus"
)

// Limits of what is read ahead of what is being written: what has come together
// during one write is the next commit, and a target that is away must not make
// the copy hold all that its source has.
const (
	aheadReads = 256
	aheadBytes = 2 * transferBytes
)

// ahead is between the goroutine that reads and the one that writes.
type ahead struct {
	arrived chan batch    // closed when nothing more is read
	held    atomic.Int64  // bytes of what was put and is not done with
	freed   chan struct{} // room for one: held has become less
}

func newAhead() *ahead {
	return &ahead{arrived: make(chan batch, aheadReads), freed: make(chan struct{}, 1)}
}

// put waits for room, or until ctx ends. One batch has room always, however large.
func (a *ahead) put(ctx context.Context, b batch) error {
	for a.held.Load() >= aheadBytes {
		select {
		case <-a.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	a.held.Add(sizeOf(b.events))
	select {
	case a.arrived <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// done gives the room of a batch back.
func (a *ahead) done(b batch) {
	a.held.Add(-sizeOf(b.events))
	select {
	case a.freed <- struct{}{}:
	default:
	}
}

func sizeOf(events []bus.Event) (size int64) {
	for i := range events {
		size += int64(len(events[i].Payload)) + 512
	}
	return size
}
