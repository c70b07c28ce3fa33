package delivery

import (
	"errors"

	"example.com/bus"
)

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

	reader   Reader // only Next's goroutine
	readerAt uint64 // where the reader goes on
	subject  string // the last one matched against patterns
	matches  bool   // what came of it
	gap      *Gap   // found and not yet said

	// Guarded by stream.mu. While Next is at work only its goroutine writes pos,
	// rest and mode, so it may read them without.
	mode    mode
	pos     uint64        // everything below is considered and handed on
	rest    [][]bus.Event // read and not yet considered; it may begin below pos
	queue   []*bus.Event  // matches, in order
	queued  int           // bytes in queue
	live    uint64        // the queue holds the matches from here on
	lag     uint64        // not 0: the queue was full; read on from here
	view    *view         // nil once the cursor has left it
	mark    mark
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
	c.queue = append(c.queue, e)
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
	case c.mode == viewing && c.view != nil && c.view.idle(c.mark):
		at = max(at, delivered)
	}
	if c.until > 0 {
		at = min(at, c.until)
	}
	return at
}

// done reports whether a bounded cursor is at its end.
func (c *cursor) done(delivered uint64) bool {
	return c.until > 0 && c.position(delivered) >= c.until
}

// carried reports whether the event was one for this cursor to hand on, and it
// has. The caller holds stream.mu.
func (c *cursor) carried(e *bus.Event, delivered uint64) bool {
	if e.Index < c.from || e.Index >= c.position(delivered) {
		return false
	}
	return c.wants(e.Subject)
}

func (c *cursor) wants(subject string) bool {
	for i := range c.patterns {
		if c.patterns[i].Match(subject) {
			return true
		}
	}
	return false
}

// fill sees to it that there is something to consider, by one step: a part of
// the ring or one batch of the log. It holds no lock while it reads. ready is
// false when there is nothing to do but wait.
func (c *cursor) fill() (ready bool) {
	if len(c.rest) > 0 || c.gap != nil {
		return true
	}
	if c.mode != reading {
		return c.fillLive()
	}
	joined, err := c.feed.join(c, false)
	if !joined && err == nil {
		return c.readLog()
	}
	c.fail(err)
	if c.mode != reading {
		c.closeReader()
	}
	return len(c.rest) > 0 || err != nil
}

// fillLive sends a cursor whose queue has overflowed back to the log, once the
// queue is drained; and one that had begun ahead of the log's end, once that has
// come, so that it joins a view.
func (c *cursor) fillLive() (ready bool) {
	delivered := c.feed.delivered.Load()
	c.stream.mu.Lock()
	pending, lag := len(c.queue) > 0, c.lag
	if lag == 0 && c.stream.shared && c.until == 0 && delivered > c.live {
		lag = c.pos
	}
	c.stream.mu.Unlock()
	if pending || lag == 0 {
		return pending
	}
	c.retreat(lag)
	return true
}

// retreat leaves the feed and goes on from index at by itself. What the feed has
// queued meanwhile is read again from there.
func (c *cursor) retreat(at uint64) {
	c.feed.detach(c)
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.mode, c.pos, c.lag = reading, max(c.pos, at), 0
	c.queue, c.queued = nil, 0
}

// readLog reads one batch. At the log's end it joins the feed.
func (c *cursor) readLog() (ready bool) {
	if c.reader == nil {
		c.reader, c.readerAt = c.feed.hub.src.Reader(c.feed.namespace, c.pos), c.pos
	}
	if c.readerAt != c.pos {
		c.reader.Seek(c.pos)
		c.readerAt = c.pos
	}
	events, err := c.reader.Next()
	switch {
	case err == nil:
		c.take(events)
		return true
	case c.feed.atEnd(err, c.pos):
		c.readerAt = 0 // after damage it may stand anywhere
		joined, err := c.feed.join(c, true)
		c.fail(err)
		if c.mode != reading {
			c.closeReader()
		}
		return !joined || len(c.rest) > 0 || err != nil
	}
	if damage, ok := errors.AsType[*DamageError](err); ok {
		c.damaged(damage)
	} else {
		c.fail(err)
	}
	return true
}

func (c *cursor) take(events []bus.Event) {
	if first := events[0].Index; first > c.pos {
		c.gap = &Gap{Namespace: c.feed.namespace, From: c.pos, Next: first, Reason: ReasonRetention}
	}
	c.readerAt = lastIndex(events) + 1
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.rest = append(c.rest, events)
}

// damaged notes the gap that damage makes. When nothing good is known after it,
// the gap reaches to the end of what is visible now.
func (c *cursor) damaged(d *DamageError) {
	next := d.Next
	if next == 0 {
		_, next = c.feed.hub.src.Bounds(c.feed.namespace)
	}
	next = max(next, c.pos+1) // or a source that says nothing new would be asked for ever
	c.gap = &Gap{Namespace: c.feed.namespace, From: c.pos, Next: next, Reason: ReasonDamage, Err: d}
	c.readerAt = 0
}

// sayGap moves a gap into the chunk, and the position behind it. It comes before
// the events that follow it and after those before: who stops reading in
// between must not resume behind a gap that was never said. The caller holds
// stream.mu.
func (c *cursor) sayGap() {
	if c.gap == nil || c.stream.bytes > 0 {
		return
	}
	c.stream.chunk.Gaps = append(c.stream.chunk.Gaps, *c.gap)
	c.pos, c.gap = max(c.pos, c.gap.Next), nil
}

func (c *cursor) fail(err error) {
	if err == nil {
		return
	}
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.err = err
}

func (c *cursor) closeReader() {
	if c.reader != nil {
		c.reader.Close()
		c.reader = nil
	}
}

// drain hands on what was read and what is queued, in index order, until the
// stream has enough. The caller holds stream.mu.
func (c *cursor) drain() {
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
	for n < len(c.queue) && c.give(c.queue[n], true) {
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
		if !c.give(e, c.matches) {
			return events[i:]
		}
	}
	return nil
}

// give considers one event, and reports false when the stream has no room for
// it. Events outside the bounds are passed over.
func (c *cursor) give(e *bus.Event, matches bool) bool {
	switch {
	case e.Index < c.pos:
		return true
	case c.until > 0 && e.Index >= c.until:
		c.pos = max(c.pos, c.until)
		return true
	case matches && !c.stream.emit(c, e):
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
