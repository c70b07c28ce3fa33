package immuta

import (
	"context"
	"sync"
)

const (
	maxAppend   = 64 << 20 // bytes of one Append
	queueBytes  = 32 << 20 // bytes that may wait; a single bigger append waits alone
	queueLength = 1 << 14  // appends that may wait
	commitBytes = 8 << 20  // bytes after which a commit takes no further append
)

// request is one Append on its way. It is used again after it was answered.
type request struct {
	records [][]byte
	size    int
	check   Check // nil: nothing is asked
	receipt Receipt
	err     error
	done    chan struct{} // one signal, when receipt and err are set
}

// queue holds the appends that wait for the committer.
type queue struct {
	wake chan struct{} // tells the committer; holds one signal

	mu      sync.Mutex // guards what follows
	pending []*request
	bytes   int
	closed  bool
	room    chan struct{} // closed when some were taken; nil: nobody waits for room
	rolls   []chan error  // who wants the segment closed; each has room for the answer
}

// roll asks the committer to close the segment behind what was put so far.
func (q *queue) roll() (<-chan error, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, ErrClosed
	}
	answer := make(chan error, 1)
	q.rolls = append(q.rolls, answer)
	q.signal()
	return answer, nil
}

// asked takes those who want the segment closed, when nothing is left that was
// put before they asked.
func (q *queue) asked() []chan error {
	q.mu.Lock()
	defer q.mu.Unlock()
	rolls := q.rolls
	q.rolls = nil
	return rolls
}

// signal wakes the committer; the caller holds mu.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// put waits for room, or for ctx. What it has put will be answered.
func (q *queue) put(ctx context.Context, r *request) error {
	for {
		room, err := q.try(ctx, r)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try puts r, or returns a channel that says when to try again.
func (q *queue) try(ctx context.Context, r *request) (<-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n := len(q.pending); n > 0 && (n >= queueLength || q.bytes+r.size > queueBytes) {
		if q.room == nil {
			q.room = make(chan struct{})
		}
		return q.room, nil
	}
	q.pending = append(q.pending, r)
	q.bytes += r.size
	q.signal()
	return nil, nil
}

// take appends to batch what goes into the next commit. more is false when the
// queue was closed and is empty.
func (q *queue) take(batch []*request) (_ []*request, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.pending) && (n == 0 || size+q.pending[n].size <= commitBytes) {
		size += q.pending[n].size
		n++
	}
	batch = append(batch, q.pending[:n]...)
	rest := copy(q.pending, q.pending[n:])
	clear(q.pending[rest:])
	q.pending, q.bytes = q.pending[:rest], q.bytes-size
	q.release()
	return batch, n > 0 || !q.closed
}

// release lets those try again who wait for room; the caller holds mu.
func (q *queue) release() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// close refuses what is put from now on.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.release()
	q.signal()
}
