package delivery

import (
	"slices"

	"example.com/bus"
)

// Removed lets go of all that is held of events that were removed from the log: what
// waits in memory to be sent, and what was sent and waits to be sent again, which
// counts as settled. Streams that are not past them find that out in the log. It is
// called when no Reader returns them any more, and returns once named consumers will
// not ask for them after a crash either. A delivery that is being written may still
// arrive. Errors: the Journal's; a second call does the rest.
func (h *Hub) Removed(namespace string, indexes []uint64) error {
	f := h.feed(namespace)
	if f == nil {
		return nil
	}
	f.disband()
	for _, s := range h.streamsOf(f) {
		s.drop(f, indexes)
	}
	for _, c := range h.Consumers(namespace) {
		if err := c.drop(indexes); err != nil && h.Consumer(namespace, c.spec.Name) == c {
			return err
		}
	}
	return nil
}

// disband sends everybody to read the log, and forgets what was read of it.
func (f *feed) disband() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scatter(nil)
}

func (h *Hub) streamsOf(f *feed) (of []*Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		if slices.ContainsFunc(s.cursors, func(c *cursor) bool { return c.feed == f }) {
			of = append(of, s)
		}
	}
	return of
}

// drop has the cursors of a feed read again what they hold, and takes events out of
// flight. Those of a named consumer stay until that is written down.
func (s *Stream) drop(f *feed, indexes []uint64) {
	s.mu.Lock()
	for _, c := range s.cursors {
		if c.feed != f {
			continue
		}
		c.stale = true
		if s.flights == nil || s.consumer != nil {
			continue
		}
		for fl := range c.unacked.among(indexes) {
			s.flights.remove(fl)
			s.flights.gone.add(fl.event.Id)
		}
	}
	s.mu.Unlock()
	s.notify()
}

// among yields the flights of some indexes, by either place of an event that was put
// off: who deletes it a second time does not find the one from the other any more. One
// that is yielded may be removed.
func (u *unacked) among(indexes []uint64) func(yield func(*flight) bool) {
	return func(yield func(*flight) bool) {
		for fl := u.first; fl != nil; {
			next := fl.next
			if e := fl.event; (slices.Contains(indexes, e.Index) || slices.Contains(indexes, e.GivenIndex())) && !yield(fl) {
				return
			}
			fl = next
		}
	}
}

// drop settles what is owed of some events, durably.
func (c *Consumer) drop(indexes []uint64) error {
	c.mu.Lock()
	var open []Attempt
	var settled []stored
	if s := c.stream; s == nil {
		open = c.at.Open
	} else {
		s.mu.Lock()
		cursor := s.cursors[0]
		for fl := range cursor.unacked.among(indexes) {
			settled = append(settled, stored{fl.event.Index, fl.event.Id})
			c.removed.add(fl.event.Id)
		}
		if cursor.owed != nil {
			open = cursor.owed.Open
		}
		s.mu.Unlock()
	}
	for _, a := range open {
		if slices.Contains(indexes, a.Index) && !slices.ContainsFunc(settled, func(e stored) bool { return e.index == a.Index }) {
			settled = append(settled, stored{index: a.Index})
		}
	}
	c.mu.Unlock()
	if len(settled) == 0 {
		return nil
	}
	return c.notes.commit(&decision{settled: settled})
}

func (c *Consumer) wasRemoved(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removed.has(id)
}

// stored finds an event that was stored, by its id; of one that was removed since,
// what is left.
func (h *Hub) stored(namespace, id string) (*bus.Event, error) {
	e, err := h.lookup(namespace, id)
	if removed, ok := bus.AsRemoved(err); ok {
		return remnant(id, namespace, removed.From), nil
	}
	return e, err
}

// remnant stands for an event that was removed: acknowledging it is to go on working,
// whatever it was. Its subject is only its namespace, which no event's is.
func remnant(id, namespace string, index uint64) *bus.Event {
	return &bus.Event{Id: id, Subject: namespace, Index: index}
}

func isRemnant(e *bus.Event) bool { return bus.Namespace(e.Subject) == e.Subject }

// removed passes over what was removed, and says so when somebody has asked for just
// that: what a newer event has made needless, or had its time, is not missing.
func (c *cursor) removed(r *RemovedError) {
	next := max(r.Next, c.pos+1) // or a source that says nothing new would be asked for ever
	c.readerAt = 0
	if r.Reason == bus.RemovedDeleted {
		c.gap = &Gap{Namespace: c.feed.namespace, From: c.pos, Next: next, Reason: ReasonDeleted}
		return
	}
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	c.pos = next
}

// refresh drops what a cursor has read and not handed on, when some of it may have
// been removed since, and has it go on reading where that began.
func (c *cursor) refresh() {
	delivered := c.feed.delivered.Load()
	c.stream.mu.Lock()
	stale := c.stale
	if stale {
		c.stale = false
		c.pos = c.resting(delivered)
		c.rest, c.queue, c.queued = nil, nil, 0
	}
	c.stream.mu.Unlock()
	if stale && c.mode != reading {
		c.retreat(c.pos)
	}
}

// resting is where what a cursor holds begins. The caller holds stream.mu, and has
// loaded delivered before.
func (c *cursor) resting(delivered uint64) uint64 {
	switch {
	case len(c.rest) > 0, c.mode == reading:
		return c.pos
	case c.mode == viewing && c.view != nil:
		c.view.caughtUp(&c.mark)
		return max(c.pos, c.mark.index)
	case len(c.queue) > 0:
		return max(c.pos, c.queue[0].Index)
	case c.lag != 0:
		return max(c.pos, c.lag)
	}
	return max(c.pos, delivered)
}
