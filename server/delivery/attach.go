package delivery

import "example.com/bus"

// chunkBytes is how much a stream takes at once: the frames of one Next while
// it replays, and the part of the ring that it takes home when it joins.
const chunkBytes = 256 << 10

// join brings a cursor that reads for itself closer to the live end. When the
// ring holds its position it takes a part of the ring; when that reaches the
// feed's end, or the cursor was there already, the cursor is attached in the
// same step under f.mu, in which no batch can be handed out: so there is no
// hole and no repeat at the seam. It reports false when only the log has what
// the cursor needs. ended says that the cursor has just seen the log's end.
func (f *feed) join(c *cursor, ended bool) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.stop() // of a feed started for a stream that is being closed
	if f.cancel == nil {
		_, next := f.hub.src.Bounds(f.namespace)
		if c.pos < next && !ended {
			return false, nil
		}
		if !f.start(min(c.pos, next)) {
			return false, ErrClosed
		}
	}
	if c.pos >= f.next {
		f.attach(c)
		return true, nil
	}
	if c.pos < f.ring.first {
		return false, nil
	}
	rest, next := f.ring.take(nil, c.pos, chunkBytes)
	c.stream.mu.Lock()
	c.rest = rest
	c.stream.mu.Unlock()
	if next >= f.next {
		f.attach(c)
	}
	return true, nil
}

// attach makes the cursor live from f.next on, unless its stream was closed
// meanwhile: nobody would detach it. The caller holds f.mu.
func (f *feed) attach(c *cursor) {
	s := c.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if !s.shared || c.until > 0 || c.pos > f.next { // a view cannot leave out what others want
		f.add(c)
		c.mode, c.live = queueing, max(c.pos, f.next)
		return
	}
	v := f.viewOf(s.format, c.patterns)
	v.streams++
	c.mode, c.view = viewing, v
	c.mark = mark{offset: v.end, count: v.count, index: f.next}
	if len(c.rest) == 0 {
		c.pos = c.mark.index
	}
}

// viewOf returns the view for the patterns, a new one for the first stream.
func (f *feed) viewOf(format *Format, patterns []bus.Pattern) *view {
	key := keyOf(format, patterns)
	v := f.views[key]
	if v != nil {
		return v
	}
	fr := f.frames[format]
	if fr == nil {
		fr = &frame{format: format}
		f.frames[format] = fr
	}
	fr.views++
	v = &view{key: key, patterns: patterns, frame: fr, next: f.next}
	v.sink = &sink{view: v}
	f.views[key] = v
	for _, p := range patterns {
		f.trie.add(p, v.sink)
	}
	return v
}

// discard takes a view out of the feed.
func (f *feed) discard(v *view) {
	delete(f.views, v.key)
	for _, p := range v.patterns {
		f.trie.remove(p, v.sink)
	}
	if v.frame.views--; v.frame.views == 0 {
		delete(f.frames, v.frame.format)
	}
	v.streams = 0
	for s := v.tail(); s != nil; s = v.tail() {
		f.dropSlab(v.slabs[0])
	}
}

func (f *feed) add(c *cursor) {
	c.sink = &sink{cursor: c}
	for _, p := range c.patterns {
		f.trie.add(p, c.sink)
	}
	f.cursors[c] = struct{}{}
	if c.until > 0 {
		f.bounded[c] = struct{}{}
	}
}

func (f *feed) remove(c *cursor) {
	if _, ok := f.cursors[c]; !ok {
		return
	}
	for _, p := range c.patterns {
		f.trie.remove(p, c.sink)
	}
	delete(f.cursors, c)
	delete(f.bounded, c)
}

// detach takes a cursor out of the feed, whichever way it listens. One that
// does not listen, or no longer, is left alone.
func (f *feed) detach(c *cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(c)
	c.stream.mu.Lock()
	v := c.view
	c.view = nil
	c.stream.mu.Unlock()
	if v != nil {
		v.forget(c.stream)
		f.release(v)
	}
	f.stop()
}

// release counts a stream out of its view; the last one takes the view along.
// A view that the feed has discarded already is nobody's.
func (f *feed) release(v *view) {
	if f.views[v.key] != v {
		return
	}
	if v.streams--; v.streams == 0 {
		f.discard(v)
	}
}
