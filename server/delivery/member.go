package delivery

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Member is one connection of a named consumer. It is used like a Stream: Next,
// or Poll, by one goroutine at a time, everything else from any.
type Member struct {
	consumer *Consumer
	id       string
	limit    int    // 0: none
	until    uint64 // 0, or one past the last index to wait for
	lease    bool
	call     func()
	wake     chan struct{} // holds a token when something may have come; nil with call
	timer    *time.Timer
	taken    int         // deliveries
	full     atomic.Bool // it has as much as it may have; written with Stream.mu held
	closed   atomic.Bool

	held  int // unacknowledged events that it has; guarded by Stream.mu, as is share
	share int // how many it may have

	waits bool      // it stands in the queue, whose lock guards this
	due   time.Time // and this: when it will look again by itself; zero: not at all
}

// MemberSpec says how a connection takes from a named consumer.
type MemberSpec struct {
	ID    string // by which Hub.Settle finds it; "" when it settles by the consumer's name only
	Limit int    // deliveries, those of redeliveries included; 0: no limit
	Until bool   // end where the log ends now
	// Lease says that what it was given stays out when it leaves by Close, until its
	// time is over. Otherwise others get it at once.
	Lease bool
	// Wake is for who calls Poll, as that of Spec.
	Wake func()
}

// Poll is that of a Stream.
func (m *Member) Poll() (chunk Chunk, due time.Time, err error) {
	for {
		chunk, idle, due, err := m.consumer.take(m)
		if err != nil || !chunk.Empty() || idle {
			return chunk, due, err
		}
	}
}

// Next is that of a Stream. io.EOF is the end of a bounded member: it has had its
// limit, or all there was, and, unless it leases, what it has was settled.
func (m *Member) Next(ctx context.Context) (Chunk, error) {
	for {
		chunk, due, err := m.Poll()
		if err != nil || !chunk.Empty() {
			return chunk, err
		}
		select {
		case <-ctx.Done():
			return Chunk{}, ctx.Err()
		case <-m.wake:
		case <-m.deadline(due):
		}
	}
}

func (m *Member) deadline(due time.Time) <-chan time.Time {
	if due.IsZero() {
		return nil
	}
	wait := max(time.Until(due), 0)
	if m.timer == nil {
		m.timer = time.NewTimer(wait)
	} else {
		m.timer.Reset(wait)
	}
	return m.timer.C
}

// Positions returns the place of the consumer, which the server keeps: there is
// no need to name it for going on.
func (m *Member) Positions() []Position {
	return []Position{{Namespace: m.consumer.spec.Namespace, Next: m.consumer.floor()}}
}

// Close leaves the consumer. Unless it leases, what it has not acknowledged goes
// to the others at once. A second call does nothing.
func (m *Member) Close() {
	if !m.closed.Swap(true) {
		m.consumer.part(m, wasTold)
	}
}

// Break is Close for who could not tell to its end what was given: also what is
// leased goes to the others at once, or nobody would have it until its time is
// over. Of what is unseen nothing was told at all: that was no attempt.
func (m *Member) Break(unseen bool) {
	how := wasCut
	if unseen {
		how = wasUnseen
	}
	if !m.closed.Swap(true) {
		m.consumer.part(m, how)
	}
}

// told is what became of what a member was given, when it leaves.
type told uint8

const (
	wasTold   told = iota
	wasCut         // perhaps not to the end
	wasUnseen      // not at all
)

// isFull reports whether the member may not take more. The caller holds
// Stream.mu.
func (m *Member) isFull() bool {
	if m == nil {
		return false
	}
	full := m.held >= m.share || m.limit > 0 && m.taken >= m.limit
	m.full.Store(full)
	return full
}

// give says who has a flight, nil for nobody. The caller holds Stream.mu.
func (fl *flight) give(m *Member) {
	if fl.owner != nil {
		fl.owner.held--
		fl.owner.isFull() // it may still have its share: a wake-up would be lost on it
	}
	if fl.owner = m; m == nil {
		return
	}
	m.held++
	m.taken++
	if fl.last != m {
		fl.last, fl.times = m, 0
	}
	fl.times++
}

// over returns io.EOF when a bounded member has had all. The caller holds
// Stream.mu; position is that of the stream. stuck says that no more may be out:
// who leases would wait for others.
func (m *Member) over(position uint64, stuck bool) error {
	done := m.limit > 0 && m.taken >= m.limit || m.until > 0 && (position >= m.until || stuck && m.lease)
	if done && (m.lease || m.held == 0) {
		return io.EOF
	}
	return nil
}

func (m *Member) notify() {
	if m.call != nil {
		m.call()
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// queue wakes one of those who wait for an event: a thousand workers must not
// all run for each.
type queue struct {
	mu      sync.Mutex // nothing else is locked under it
	waiting []*Member
	again   bool // something came while nobody waited
}

func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range q.waiting {
		if !m.full.Load() {
			q.remove(i)
			m.notify()
			return
		}
	}
	q.again = true
}

// all wakes everybody.
func (q *queue) all() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.waiting {
		m.waits = false
		m.notify()
	}
	clear(q.waiting)
	q.waiting, q.again = q.waiting[:0], true
}

// arm sees to it that somebody who can take is there when something is due. Who
// has it may be stuck with its connection, and those who have waited for longer
// do not know of it.
func (q *queue) arm(due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	free := -1
	for i, m := range q.waiting {
		switch {
		case m.full.Load():
		case !m.due.IsZero() && !m.due.After(due):
			return
		case free < 0:
			free = i
		}
	}
	if free >= 0 && !due.IsZero() {
		m := q.waiting[free]
		q.remove(free)
		m.notify() // it looks, and waits until then
	}
}

// rest lets a member wait, unless it has to look again. due is when it will by
// itself.
func (q *queue) rest(m *Member, due time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	m.due = due
	if q.again && !m.full.Load() {
		q.again = false
		return false
	}
	if !m.waits {
		m.waits = true
		q.waiting = append(q.waiting, m)
	}
	return true
}

// leave takes a member out that does not wait any more.
func (q *queue) leave(m *Member) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.waits {
		q.remove(slices.Index(q.waiting, m))
	}
}

// remove keeps the order, so that work goes around.
func (q *queue) remove(i int) {
	q.waiting[i].waits = false
	n := copy(q.waiting[i:], q.waiting[i+1:])
	q.waiting[i+n] = nil
	q.waiting = q.waiting[:i+n]
}
