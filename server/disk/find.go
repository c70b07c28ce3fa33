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
// at. Of an id that was stored twice the first is found. bus.ErrUnknownEvent
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
	at, ok := n.ids.next(id, 0)
	for ; ok; at, ok = n.ids.next(id, at) {
		is, err := n.holds(at, id)
		if err != nil {
			return 0, err
		}
		if is {
			return at, nil
		}
	}
	return 0, n.unknown(id)
}

// holds reports whether the event at the index has this id. The index of ids
// is derived, and two ids may have one hash, so it is never taken at its word.
func (n *namespace) holds(at uint64, id string) (bool, error) {
	first, next := n.log.Bounds()
	if at < first {
		return false, nil
	}
	if at >= next {
		// Stored by this process and not yet readable: its append said so.
		return at < n.taken.next.Load(), nil
	}
	r := n.log.Reader(at)
	defer r.Close()
	b, err := r.Next()
	if unreadable(err) || errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, n.readError(err, at)
	}
	rec, err := parseRecord(b.Records[0])
	if err != nil {
		return false, nil
	}
	return rec.id() == id, nil
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
