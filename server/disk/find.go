package disk

import (
	"context"
	"errors"
	"io"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Find returns the index of the event with this id. An id that the log gave
// says its index; any other is looked up, which waits, after opening, until the
// index of those is loaded, and reads one event for each place that it may be
// at. Of an id that was stored twice the first is found; of an event that was put off,
// the place where it was delivered, and until then that at which it waits. bus.ErrUnknownEvent
// when there is none, ctx's error when the wait was cut off. The place of an
// event that is lost is still known by an id that the log gave, and reading it
// says that it is lost; by any other id it is unknown.
func (e *Engine) Find(ctx context.Context, namespace, id string) (uint64, error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return 0, err
	}
	if bus.CheckID(id) != nil {
		return 0, n.unknown(id)
	}
	if p, ok := bus.ParseEventID(id); ok && p.Incarnation == n.incarnation {
		if first, next := n.log.Bounds(); p.Index < first || p.Index >= max(next, n.taken.next.Load()) {
			return 0, n.unknown(id)
		}
		return p.Index, nil
	}
	return n.findStranger(ctx, id)
}

func (n *namespace) findStranger(ctx context.Context, id string) (uint64, error) {
	if err := n.ids.await(ctx); err != nil {
		return 0, err
	}
	waits := uint64(0) // where it stands until it is due
	at, ok := n.ids.next(id, 0)
	for ; ok; at, ok = n.ids.next(id, at) {
		is, timing, err := n.holds(at, id)
		if err != nil {
			return 0, err
		}
		switch e := (bus.Event{Timing: timing}); {
		case !is:
		case waits == 0 && e.Waits():
			waits = at
		case waits == 0, timing != nil && timing.Published == waits:
			return at, nil
		}
	}
	if waits > 0 {
		return waits, nil
	}
	return 0, n.unknown(id)
}

// deliveryOf returns where an event was delivered that waited at an index; 0: nowhere
// yet. Other events may have its id. What was stored and cannot be read yet, with a
// sync interval, is made readable for that: its log is rolled.
func (n *namespace) deliveryOf(ctx context.Context, id string, waited uint64) (uint64, error) {
	if err := n.ids.await(ctx); err != nil {
		return 0, err
	}
	for at, ok := n.ids.next(id, waited); ok; at, ok = n.ids.next(id, at) {
		if _, next := n.log.Bounds(); at >= next {
			if err := n.log.Roll(ctx); err != nil {
				return 0, n.removeError(err)
			}
		}
		is, timing, err := n.holds(at, id)
		if err != nil {
			return 0, err
		}
		if is && timing != nil && timing.Published == waited {
			return at, nil
		}
	}
	return 0, nil
}

// Delivered returns where an event stands that waited at an index which is not kept any
// more, and was delivered before that went. bus.ErrUnknownEvent when there is none. It
// reads whatever has an id that says no index, as long as ctx lets it.
func (e *Engine) Delivered(ctx context.Context, namespace string, published uint64) (uint64, error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return 0, err
	}
	first, _ := n.log.Bounds()
	if published == 0 || published >= first {
		return 0, n.notKept(published)
	}
	at, err := n.deliveryOfRemoved(ctx, published)
	if err == nil && at == 0 {
		err = n.notKept(published)
	}
	return at, err
}

// deliveryOfRemoved is deliveryOf for an event of which nothing is left where it may
// have waited: a compaction, or a deletion that was cut off, has taken that. It reads
// whatever has an id that says no index.
func (n *namespace) deliveryOfRemoved(ctx context.Context, waited uint64) (uint64, error) {
	if err := n.ids.await(ctx); err != nil {
		return 0, err
	}
	r := n.log.Reader(waited)
	defer r.Close()
	for _, s := range n.ids.behind(waited) {
		if _, next := n.log.Bounds(); s.next > next { // stored, and not readable yet
			if err := n.log.Roll(ctx); err != nil {
				return 0, n.removeError(err)
			}
		}
		at, err := n.deliveredIn(ctx, r, s, waited)
		if at > 0 || err != nil {
			return at, err
		}
	}
	return 0, nil
}

// deliveredIn looks in a range for the event that waited at an index; 0: it is not there.
func (n *namespace) deliveredIn(ctx context.Context, r *immuta.Reader, s span, waited uint64) (uint64, error) {
	for at := s.from; at < s.next && ctx.Err() == nil; {
		r.Seek(at)
		b, err := r.Next()
		if unreadable(err) || errors.Is(err, io.EOF) {
			at++
			continue
		}
		if err != nil {
			return 0, n.readError(err, at)
		}
		for i, data := range b.Records {
			if t := recordTiming(data); t != nil && t.Published == waited {
				return b.First + uint64(i), nil
			}
		}
		at = b.First + uint64(len(b.Records))
	}
	return 0, ctx.Err()
}

// holds reports whether the event at the index has this id, and its timing. The
// index of ids is derived, and two ids may have one hash, so it is never taken at
// its word.
func (n *namespace) holds(at uint64, id string) (is bool, t *bus.Timing, err error) {
	first, next := n.log.Bounds()
	if at < first {
		return false, nil, nil
	}
	if at >= next {
		// Stored by this process and not yet readable: its append said so. One that
		// was put off is found where it waits until the other place can be read.
		return at < n.taken.next.Load(), nil, nil
	}
	r := n.log.Reader(at)
	defer r.Close()
	b, err := r.Next()
	if unreadable(err) || errors.Is(err, io.EOF) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, n.readError(err, at)
	}
	rec, err := parseRecord(b.Records[0])
	if err != nil || rec.id() != id {
		return false, nil, nil
	}
	return true, rec.timed(), nil
}

// unreadable reports whether what was to be read is damaged, or was, or was removed.
func unreadable(err error) bool {
	_, damaged := errors.AsType[*immuta.CorruptError](err)
	_, lost := errors.AsType[*immuta.GapError](err)
	_, removed := errors.AsType[*immuta.RemovedError](err)
	return damaged || lost || removed
}

func (n *namespace) unknown(id string) error {
	return bus.ErrUnknownEvent.With("namespace %s has no event with the id %.80q", n.name, id)
}
