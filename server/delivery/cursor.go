package delivery

import "example.com/bus"

// Limits on what a live cursor keeps for a stream that does not come to fetch
// it. Beyond them it lets go of the feed and reads the log later.
const (
	queueEvents = 256
	queueBytes  = 256 << 10
)

// mode is how a cursor gets its events.
type mode uint8

const (
	reading  mode = iota // from the ring or the log, by itself
	queueing             // from the feed, through its own queue
	viewing              // from the feed, through a view shared with others
)

// cursor is a stream's place in one namespace.
type cursor struct {
	stream   *Stream
	feed     *feed
	patterns []bus.Pattern
	from     uint64 // first index ever considered
	until    uint64 // 0, or one past the last
	sink     *sink  // guarded by feed.mu
	picks    picks  // guarded by stream.mu; only Next's goroutine changes it

	reader   Reader    // only Next's goroutine
	readerAt uint64    // where the reader goes on
	subject  string    // the last one matched against patterns
	matches  bool      // what came of it
	gap      *Gap      // found and not yet said
	looked   bool      // for damage at the log's end, which is said once
	unasked  uint64    // from here on the source has not been asked what to skip
	owed     *Progress // of a named consumer that goes on: what is still to be delivered; nil: all

	// Guarded by stream.mu. Only Next's goroutine writes mode and rest, and, but
	// for push, pos, so it may read them without; push is for a mode in which it
	// does not.
	mode    mode
	pos     uint64        // everything below is considered and handed on
	rest    [][]bus.Event // read and not yet considered; it may begin below pos
	queue   []*bus.Event  // matches, in order
	queued  int           // bytes in queue
	live    uint64        // the queue holds the matches from here on
	lag     uint64        // not 0: the queue was full; read on from here
	view    *view         // nil once the cursor has left it
	mark    mark
	stale   bool  // what it holds may have been removed from the log: it reads that again
	err     error // why there will be nothing more
	unacked       // manual acknowledgement: what is in flight, in index order
}

// push takes a match from the feed. It reports true when that made the queue
// too full: the cursor is on its own from this event on.
func (c *cursor) push(e *bus.Event) (full bool) {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.lag != 0 || e.Index < c.live || c.mode != queueing {
		return false
	}
	if len(c.queue) >= queueEvents || c.queued >= queueBytes {
		c.lag = e.Index
		return true
	}
	if len(c.queue) == 0 && len(c.rest) == 0 {
		c.pos = max(c.pos, e.Index) // nothing between matched: position must not fall back
	}
	c.queue = append(c.queue, own(e))
	c.queued += weigh(e)
	return false
}

// dismiss tells the cursor that the feed has let it go at index next.
func (c *cursor) dismiss(next uint64, err error) {
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	if c.lag == 0 {
		c.lag, c.err = max(next, c.live), err
	}
}

// position is one past the last index below which everything is considered.
// delivered was loaded from the feed before stream.mu was taken: what it counts
// is in the queue or view by now. The caller holds stream.mu.
func (c *cursor) position(delivered uint64) uint64 {
	at := c.pos
	switch {
	case len(c.rest) > 0:
	case c.mode == queueing && len(c.queue) == 0 && c.lag == 0:
		at = max(at, delivered)
	case c.mode == viewing:
		if c.view != nil && c.view.idle(c.mark) {
			c.mark.index = max(c.mark.index, delivered) // noted, so that it does not fall back
		}
		at = max(at, c.mark.index)
	}
	if c.until > 0 {
		at = min(at, c.until)
	}
	return at
}

// done reports whether a bounded cursor is at its end, with nothing left to say.
func (c *cursor) done(delivered uint64) bool {
	return c.gap == nil && c.until > 0 && c.position(delivered) >= c.until
}

// carried reports whether the event was one for this cursor to hand on, and it
// has. The caller holds stream.mu.
func (c *cursor) carried(e *bus.Event, delivered uint64) bool {
	if e.Index < c.from || e.Index >= c.position(delivered) {
		return false
	}
	return c.picks.has(e.Index) && (isRemnant(e) || c.wants(e.Subject)) && !e.Waits()
}

func (c *cursor) wants(subject string) bool {
	for i := range c.patterns {
		if c.patterns[i].Match(subject) {
			return true
		}
	}
	return false
}

// drain hands on what was read and what is queued, in index order, until the
// stream has enough. The caller holds stream.mu.
func (c *cursor) drain() {
	if c.stale {
		return
	}
	c.sayGap()
	if c.gap != nil {
		return
	}
	for len(c.rest) > 0 {
		left := c.consider(c.rest[0])
		if len(left) > 0 {
			c.rest[0] = left
			return
		}
		c.rest[0] = nil
		c.rest = c.rest[1:]
	}
	c.rest = nil
	if c.mode == viewing {
		c.pos = max(c.pos, c.mark.index)
	}
	n := 0
	for n < len(c.queue) && c.give(c.queue[n], true, true) {
		n++
	}
	c.shift(n)
}

// consider looks at a batch and returns what is left of it when the stream has
// enough.
func (c *cursor) consider(events []bus.Event) (left []bus.Event) {
	for i := range events {
		e := &events[i]
		if e.Subject != c.subject {
			c.subject, c.matches = e.Subject, c.wants(e.Subject)
		}
		if !c.give(e, c.matches, false) {
			return events[i:]
		}
	}
	return nil
}

// give considers one event, and reports false when the stream has no room for
// it. Events outside the bounds are passed over. owned says that e shares memory
// with no other.
func (c *cursor) give(e *bus.Event, matches, owned bool) bool {
	switch {
	case e.Index < c.pos:
		return true
	case c.until > 0 && e.Index >= c.until:
		c.pos = max(c.pos, c.until)
		return true
	case matches && c.picks.has(e.Index) && !c.stream.hub.withheld(e) && !c.stream.emit(c, e, owned):
		return false
	}
	c.pos = e.Index + 1
	return true
}

// shift takes n events off the queue. A drained queue keeps a small buffer.
func (c *cursor) shift(n int) {
	if n == 0 {
		return
	}
	for _, e := range c.queue[:n] {
		c.queued -= weigh(e)
	}
	m := copy(c.queue, c.queue[n:])
	clear(c.queue[m:])
	c.queue = c.queue[:m]
	if m == 0 && cap(c.queue) > 8 {
		c.queue = nil
	}
}
