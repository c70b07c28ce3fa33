package delivery

import (
	"errors"
	"io"

	"example.com/bus"
)

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
	if c.picks.open(c.pos) {
		return c.readPick()
	}
	c.seamPassed()
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

// readLog reads one batch, behind what the source knows not to match. At the
// log's end it joins the feed.
func (c *cursor) readLog() (ready bool) {
	c.skip()
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
		c.take(since(events, c.pos))
		return true
	case errors.Is(err, io.EOF) && c.feed.gone(c.pos) > 0:
		c.gap = &Gap{Namespace: c.feed.namespace, From: c.pos, Next: c.feed.gone(c.pos), Reason: ReasonRetention}
		c.readerAt = 0
		return true
	case c.feed.atEnd(err, c.pos):
		c.readerAt = 0 // after damage it may stand anywhere
		if c.look(); c.gap != nil {
			return true
		}
		joined, err := c.feed.join(c, true)
		c.fail(err)
		if c.mode != reading {
			c.closeReader()
		}
		return !joined || len(c.rest) > 0 || err != nil
	}
	if damage, ok := errors.AsType[*DamageError](err); ok {
		c.damaged(damage)
	} else if removed, ok := bus.AsRemoved(err); ok {
		c.removed(removed)
	} else {
		c.fail(err)
	}
	return true
}

// readPick reads the batch that the next pick is in. The cursor does not join the
// feed before the seam: the feed has no use for what lies between.
func (c *cursor) readPick() (ready bool) {
	c.stream.mu.Lock()
	at := c.picks.next(c.pos)
	if c.until > 0 {
		at = min(at, c.until)
	}
	c.pos = at
	c.stream.mu.Unlock()
	if !c.picks.open(at) {
		return true
	}
	return c.readLog()
}

// seamPassed lets go of what was held for the picks. While Next is at work nobody
// else does.
func (c *cursor) seamPassed() {
	if c.picks.release == nil && len(c.picks.only) <= keptPicks {
		return
	}
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.picks.over()
}

// skip moves the position over events that do not match, as if they had been
// read: who resumes from it goes on behind them. There may be damage among them
// that is not said, when the source knows that it is not of what is wanted.
func (c *cursor) skip() {
	c.pass()
	if c.pos < c.unasked || c.picks.open(c.pos) {
		return
	}
	at, until := c.feed.hub.src.Skip(c.feed.namespace, c.pos, c.patterns)
	c.unasked = until
	if c.until > 0 {
		at = min(at, c.until)
	}
	if at <= c.pos {
		return
	}
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.pos = at
}

// pass moves the position over what a named consumer has settled: one event that
// was never acknowledged may lie millions in front of the others.
func (c *cursor) pass() {
	if c.owed == nil {
		return
	}
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.pos = max(c.pos, c.owed.after(c.pos))
	c.owed.passed(c.pos)
}

func (c *cursor) take(events []bus.Event) {
	if len(events) == 0 {
		return
	}
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
	c.gap = &Gap{Namespace: c.feed.namespace, From: c.pos, Next: next, Reason: ReasonDamage, AtMost: d.AtMost, Repaired: d.Repaired, Err: d}
	c.readerAt = 0
	c.looked = c.looked || d.Next == 0
}

// look asks once, at the log's end, whether that is the end of what was stored.
// A log whose end is damaged takes nothing more, so who comes here would wait in
// silence, or be told that this is all. It has to be before the cursor joins the
// feed and before a bound counts as reached.
func (c *cursor) look() {
	if c.looked || c.gap != nil || len(c.rest) > 0 {
		return
	}
	if _, next := c.feed.hub.src.Bounds(c.feed.namespace); c.pos < next {
		return
	}
	c.looked = true
	r := c.feed.hub.src.Reader(c.feed.namespace, c.pos)
	defer r.Close()
	_, err := r.Next()
	if damage, ok := errors.AsType[*DamageError](err); ok && damage.Next == 0 {
		c.gap = &Gap{Namespace: c.feed.namespace, From: c.pos, Next: c.pos, Reason: ReasonDamage, Err: damage}
	}
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
