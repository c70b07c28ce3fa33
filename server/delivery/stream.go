package delivery

import (
	"context"
	"io"
	"sync"
	"time"

	"example.com/bus"
)

// chunkEvents is how many deliveries Next returns at most.
const chunkEvents = 256

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
		chunk, idle, err := s.collect()
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

// collect takes what is there: redeliveries that are due, inbox events, and
// then the places in turns. idle reports that only a wake-up, a deadline or
// ctx can change that there is nothing.
func (s *Stream) collect() (chunk Chunk, idle bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return Chunk{}, false, ErrClosed
	}
	s.busy = true
	ending := s.end != nil // looked at before the queues: what came before the end is handed on
	s.chunk, s.bytes, s.buf, s.starved = Chunk{}, 0, s.buf[:0], false
	if !ending {
		s.redeliver()
	}
	s.takeInbox()
	s.mu.Unlock()

	idle = true
	for i := range s.cursors {
		more := s.collectFrom(s.cursors[(s.turn+i)%len(s.cursors)], ending)
		idle = idle && !more
	}
	s.turn++

	s.mu.Lock()
	defer s.mu.Unlock()
	chunk, s.chunk, s.busy = s.chunk, Chunk{}, false
	if s.closed {
		s.closeReaders()
		return Chunk{}, false, ErrClosed
	}
	if chunk.empty() && idle {
		err = s.over(ending)
	}
	return chunk, idle, err
}

// over returns why there will be nothing more, nil when there may be. The
// caller holds s.mu.
func (s *Stream) over(ending bool) error {
	if ending {
		return s.end
	}
	if s.limited() {
		if s.flights.count() > 0 {
			return nil
		}
		return io.EOF
	}
	open := len(s.cursors) == 0
	for _, c := range s.cursors {
		if c.err != nil && len(c.queue) == 0 {
			return c.err
		}
		open = open || !c.done(0)
	}
	if open || len(s.inbox) > 0 || s.flights.count() > 0 {
		return nil
	}
	return io.EOF
}

// collectFrom takes what one place has, until the chunk is full or a step
// brought nothing: a rare match must not wait for the scan of what follows it.
// It reports whether there may be more at once.
func (s *Stream) collectFrom(c *cursor, ending bool) (more bool) {
	for {
		if s.rested(c) {
			return false
		}
		if c.mode == viewing && len(c.rest) == 0 && c.gap == nil {
			return s.collectView(c)
		}
		if ending && c.mode == reading && len(c.rest) == 0 && c.gap == nil {
			return false
		}
		if !c.fill() {
			if c.mode == viewing {
				continue
			}
			return false
		}
		before := s.bytes
		s.mu.Lock()
		c.drain()
		stop := s.full() || s.bytes == before || s.starved || c.err != nil
		s.mu.Unlock()
		if stop {
			return !s.rested(c)
		}
	}
}

// rested reports whether there is nothing to do for a cursor: it is at its end,
// has failed, or the window has no room.
func (s *Stream) rested(c *cursor) bool {
	delivered := c.feed.delivered.Load()
	s.mu.Lock()
	done := c.done(delivered)
	if done {
		c.pos, c.rest = c.until, nil
		c.shift(len(c.queue))
	}
	failed := c.err != nil && len(c.queue) == 0 && len(c.rest) == 0
	noRoom := s.flights.full() || s.limited()
	s.starved = s.starved || noRoom
	s.mu.Unlock()
	if done && c.mode != reading {
		c.retreat(c.until)
	}
	return done || failed || noRoom
}

// collectView takes the ready frames of a live stream: the path that a million
// deliveries a second take.
func (s *Stream) collectView(c *cursor) (more bool) {
	if s.bytes > 0 {
		return true // the buffer of the replay goes out first
	}
	s.mu.Lock()
	if c.view == nil { // closed meanwhile
		s.mu.Unlock()
		return false
	}
	frames, n, state := c.view.read(&c.mark, s)
	c.pos = max(c.pos, c.mark.index)
	s.chunk.Frames, s.chunk.Count = frames, n
	err := c.mark.err
	s.mu.Unlock()
	if state != viewBehind {
		return false
	}
	if s.ending() {
		return false
	}
	c.fail(err)
	c.retreat(c.pos)
	return true
}

func (s *Stream) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end != nil
}

// full reports whether the chunk is. The caller holds s.mu.
func (s *Stream) full() bool {
	return s.bytes >= chunkBytes || len(s.chunk.Deliveries) >= chunkEvents
}

// limited reports whether the stream has carried all that it was asked for.
// The caller holds s.mu.
func (s *Stream) limited() bool { return s.limit > 0 && s.taken >= s.limit }

// emit puts an event into the chunk, or reports that there is no room. The
// caller holds s.mu.
func (s *Stream) emit(c *cursor, e *bus.Event) bool {
	if s.full() || s.limited() {
		return false
	}
	if s.shared {
		s.buf = s.format.Encode(s.buf, e)
		s.bytes = len(s.buf)
		s.chunk.Frames = s.buf
		s.chunk.Count++
		return true
	}
	if s.flights != nil && !s.flights.launch(c, e, time.Now()) {
		s.starved = true
		return false
	}
	s.deliver(e, 1, c.feed.namespace)
	return true
}

func (s *Stream) deliver(e *bus.Event, attempt int, namespace string) {
	if attempt == 1 {
		s.taken++
	}
	s.bytes += weigh(e)
	s.chunk.Deliveries = append(s.chunk.Deliveries, Delivery{Event: e, Attempt: attempt, Namespace: namespace})
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
// Spec.Sources. A live stream that nothing matches stays near the tail.
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
