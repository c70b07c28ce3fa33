package immuta

import (
	"context"
	"sync"
	"sync/atomic"
)

// waits lets any number of goroutines wait for the end of the log to move. A
// generation is one channel, closed when the end has moved and replaced by the
// next. A goroutine of its own closes it: with thousands of waiters that takes
// milliseconds, which the committer must not spend.
type waits struct {
	count  atomic.Int64                  // of those waiting; the committer passes by when it is 0
	moved  chan struct{}                 // tells the waker; holds one signal
	now    atomic.Pointer[chan struct{}] // the current generation
	quit   chan struct{}                 // closed by stop
	waking sync.WaitGroup
}

func (w *waits) start() {
	w.moved, w.quit = make(chan struct{}, 1), make(chan struct{})
	first := make(chan struct{})
	w.now.Store(&first)
	w.waking.Go(w.run)
}

func (w *waits) run() {
	for {
		select {
		case <-w.moved:
		case <-w.quit:
			return
		}
		fresh := make(chan struct{})
		old := w.now.Swap(&fresh)
		close(*old)
	}
}

// tell never blocks. A waiter counts itself before it looks at the end, and the
// end is moved before tell looks at the count: one of the two sees the other.
func (w *waits) tell() {
	if w.count.Load() == 0 {
		return
	}
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

func (w *waits) stop() {
	close(w.quit)
	w.waking.Wait()
}

// Wait returns nil once the record with index from is visible. Otherwise it
// returns ctx's error when ctx ends, or ErrClosed when the log is closed. A log
// open for reading only, or one that has failed, does not move: there Wait ends
// with ctx.
func (l *Log) Wait(ctx context.Context, from uint64) error {
	if l.state.Load().next > from {
		return nil
	}
	w := &l.waits
	w.count.Add(1)
	defer w.count.Add(-1)
	for {
		generation := *w.now.Load()
		if l.state.Load().next > from {
			return nil
		}
		select {
		case <-generation:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.quit:
			return ErrClosed
		}
	}
}
