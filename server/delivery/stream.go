package delivery

import (
	"context"
	"sync"
	"time"

	"example.com/bus"
)

// Stream is one subscriber. Next, or Poll, is for one goroutine at a time;
// everything else may be called from any.
type Stream struct {
	hub     *Hub
	id      string
	format  *Format
	shared  bool // Next returns frames
	cursors []*cursor
	limit   int // 0: none
	inboxes []string
	wake    chan struct{} // holds a token when something may have come; nil with call
	call    func()        // Spec.Wake

	waitSlot int // place among the waiters of a view, from 1; guarded by view.mu

	timer *time.Timer // these four are Next's and Poll's
	buf   []byte
	turn  int
	bytes int // collected in chunk

	mu      sync.Mutex // guards the rest, and what cursor says
	chunk   Chunk      // being collected
	end     error      // set once: what Next returns when it has nothing left
	closed  bool
	busy    bool // Next is at work and owns the readers
	starved bool // there was more than the window had room for
	taken   int  // events handed on for the first time
	inbox   []*bus.Event
	flights *flights // nil: ack=none
	recent  recent   // inbox events that were handed on
	taker   *Member  // who takes from the stream of a named consumer now

	consumer *Consumer // whose stream it is; nil: that of one subscriber
}

// notify makes Next, or who calls Poll, look again. It never blocks.
func (s *Stream) notify() {
	if s.call != nil {
		s.call()
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits until there is something to send and returns it at once; it never
// waits for more. Errors: ctx's, after which Next may be called again and
// nothing is lost; io.EOF when all places are bounded and done (and, with
// acknowledgement, nothing is in flight any more); ErrClosed; ErrSlowInbox; or
// what the source failed with.
func (s *Stream) Next(ctx context.Context) (Chunk, error) {
	for {
		chunk, idle, err := s.pick()
		if err != nil || !chunk.Empty() {
			return chunk, err
		}
		if err := ctx.Err(); err != nil {
			return Chunk{}, err
		}
		if !idle {
			continue
		}
		if err := s.sleep(ctx); err != nil {
			return Chunk{}, err
		}
	}
}

// Poll is Next for who does not wait: an empty chunk says that there is nothing
// now, and that Spec.Wake will be called when that may have changed. due is when
// to come without being called, because something in flight has to go out again;
// zero: not at all. Errors are those of Next, but for ctx's.
func (s *Stream) Poll() (chunk Chunk, due time.Time, err error) {
	for {
		chunk, idle, err := s.pick()
		if err != nil || !chunk.Empty() {
			return chunk, time.Time{}, err
		}
		if idle {
			s.buf = nil
			return chunk, s.due(), nil
		}
	}
}

// pick takes what is there. idle reports that there will be nothing until a
// wake-up or a deadline.
func (s *Stream) pick() (chunk Chunk, idle bool, err error) {
	chunk, idle, sure := s.glance()
	if !sure {
		chunk, idle, err = s.collect()
	}
	return chunk, idle, err
}

// Empty reports whether there is nothing in it.
func (c *Chunk) Empty() bool {
	return c.Count == 0 && len(c.Deliveries) == 0 && len(c.Gaps) == 0 && len(c.Dead) == 0
}

// sleep waits for a wake-up, the next deadline or ctx. A sleeping stream holds
// no buffer.
func (s *Stream) sleep(ctx context.Context) error {
	s.buf = nil
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.wake:
	case <-s.deadline():
	}
	return nil
}

// due is when something in flight has to be looked at, zero when nothing has.
func (s *Stream) due() time.Time {
	if s.flights == nil {
		return time.Time{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	due, _ := s.flights.due()
	return due
}

// deadline returns a channel that fires when something in flight is due, nil
// when nothing is.
func (s *Stream) deadline() <-chan time.Time {
	due := s.due()
	if due.IsZero() {
		return nil
	}
	wait := max(time.Until(due), 0)
	if s.timer == nil {
		s.timer = time.NewTimer(wait)
	} else {
		s.timer.Reset(wait)
	}
	return s.timer.C
}

// Positions returns the resume point of each place, in the order of
// Spec.Places. A live stream that nothing matches stays near the tail.
func (s *Stream) Positions() []Position {
	positions := make([]Position, len(s.cursors))
	for i, c := range s.cursors {
		delivered := c.feed.delivered.Load()
		s.mu.Lock()
		positions[i] = Position{Namespace: c.feed.namespace, Next: c.unacked.floor(c.position(delivered))}
		s.mu.Unlock()
	}
	return positions
}

// finish makes err the end of the stream, behind what is pending.
func (s *Stream) finish(err error) {
	s.mu.Lock()
	if s.end == nil {
		s.end = err
	}
	s.mu.Unlock()
	s.notify()
}

// Close lets everything go that the stream holds, also what is in flight: who
// reconnects gets it again from the resume point. A Next that waits returns
// ErrClosed. A second call does nothing.
func (s *Stream) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed, s.inbox = true, nil
	s.flights.end()
	if !s.busy {
		s.closeReaders()
	}
	s.mu.Unlock()
	s.hub.unregister(s)
	s.hub.inboxes.remove(s.inboxes, s)
	s.notify()
	for _, c := range s.cursors {
		c.feed.detach(c)
	}
}

// closeReaders is for whoever comes last: Close, or the Next it interrupts.
func (s *Stream) closeReaders() {
	for _, c := range s.cursors {
		c.closeReader()
		c.rest, c.queue = nil, nil
		c.picks.end()
	}
}
