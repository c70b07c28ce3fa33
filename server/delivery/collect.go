package delivery

import (
	"io"
	"time"

	"example.com/bus"
)

// chunkEvents is how many deliveries Next returns at most.
const chunkEvents = 256

// glance is collect for a live stream of ready frames, and sure when that is all
// there is to it: the path that a million deliveries a second take.
func (s *Stream) glance() (chunk Chunk, idle, sure bool) {
	if !s.shared {
		return Chunk{}, false, false
	}
	c := s.cursors[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.end != nil || c.mode != viewing || c.view == nil || len(c.rest) > 0 || c.stale {
		return Chunk{}, false, false
	}
	frames, n, state := c.view.read(&c.mark, s)
	c.pos = max(c.pos, c.mark.index)
	return Chunk{Frames: frames, Count: n}, state == viewWaiting, state != viewBehind
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
	if !ending && s.flights != nil {
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
	if len(chunk.Dead) > 0 {
		s.keepDead(chunk.Dead)
	}
	if s.closed {
		s.closeReaders()
		if len(chunk.Dead) > 0 { // out of flight for good: nobody else will say so
			return Chunk{Dead: chunk.Dead}, false, nil
		}
		return Chunk{}, false, ErrClosed
	}
	if chunk.Empty() && idle {
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
		c.refresh()
		if c.mode == reading && !ending {
			c.look()
		}
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
	noRoom := s.flights.full() || s.limited() || s.taker.isFull()
	s.starved = s.starved || noRoom
	s.mu.Unlock()
	if done && c.mode != reading {
		c.retreat(c.until)
	}
	return done || failed || noRoom
}

// collectView takes the ready frames of a live stream, or sees that it must go
// back to the log.
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

// emit puts an event into the chunk, or reports that there is no room, or that
// something else is due first: who takes one event at a time, by a stream that is
// made for it, would get what is new again and again, and what has to come again
// only when the log has no more. The caller holds s.mu.
func (s *Stream) emit(c *cursor, e *bus.Event, owned bool) bool {
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
	if s.flights.full() || s.taker.isFull() {
		s.starved = true
		return false
	}
	before, owed := c.owed.owes(e.Index)
	if !owed {
		return true
	}
	if s.flights == nil {
		s.deliver(e, 1, c.feed.namespace)
		return true
	}
	now := time.Now()
	if before == nil && s.end == nil && s.flights.overdue(now) { // the next collect begins with that
		return false
	}
	if !owned {
		e = own(e)
	}
	if before != nil {
		s.flights.bringBack(c, e, before)
		return true
	}
	s.flights.launch(c, e, now).give(s.taker)
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
