package delivery

import (
	"context"
	"sync"
	"time"

	"example.com/bus"
)

// Stream is one subscriber. Next is for one goroutine; everything else may be
// called from any.
type Stream struct {
	hub     *Hub
	id      string
	format  *Format
	shared  bool // Next returns frames
	cursors []*cursor
	limit   int // 0: none
	inboxes []string
	wake    chan struct{} // holds a token when something may have come

	waitSlot int // place among the waiters of a view, from 1; guarded by view.mu

	timer *time.Timer // these four are Next's
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
}

// notify makes Next look again. It never blocks.
func (s *Stream) notify() {
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
		chunk, idle, sure := s.glance()
		var err error
		if !sure {
			chunk, idle, err = s.collect()
		}
		if err != nil || !chunk.empty() {
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

func (c *Chunk) empty() bool {
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

// deadline returns a channel that fires when something in flight is due, nil
// when nothing is.
func (s *Stream) deadline() <-chan time.Time {
	if s.flights == nil {
		return nil
	}
	s.mu.Lock()
	due, ok := s.flights.due()
	s.mu.Unlock()
	if !ok {
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
	}
}
