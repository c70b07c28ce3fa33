package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Why a record was removed, as the log keeps it: these are on disk, and never
// change. FORMAT.md has them.
const (
	reasonDeleted   uint8 = 1
	reasonCompacted uint8 = 2
	reasonExpired   uint8 = 3

	mostReason = reasonExpired
)

// reasonName is a reason in the words of the bus. One of a newer release is a
// deletion: it has to be said.
func reasonName(reason uint8) string {
	switch reason {
	case reasonCompacted:
		return bus.RemovedCompacted
	case reasonExpired:
		return bus.RemovedExpired
	}
	return bus.RemovedDeleted
}

func isRemoved(err error) bool {
	_, removed := bus.AsRemoved(err)
	return removed
}

// doomed is an event that is to be deleted.
type doomed struct {
	index   uint64
	subject string // "" when it is removed already
}

// Delete removes events for good: each segment that holds one is written anew
// without it, the last one being closed for that, which takes as long as writing so
// much, and as much room. already are those that were removed before; their files are
// made durable once more. Derived logs hold no content, only hashes under a key.
// Another Delete, or a compaction at work, is waited for, as long as ctx lets it.
// Errors: see server.Engine.
func (e *Engine) Delete(ctx context.Context, namespace string, indexes []uint64) (already []uint64, err error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return nil, err
	}
	if e.lock == nil {
		return nil, n.appendError(immuta.ErrReadOnly)
	}
	select {
	case n.removing <- struct{}{}:
		defer n.removing.Unlock()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	all, err := n.doom(indexes)
	if err != nil {
		return nil, err
	}
	if err := n.closeFor(ctx, all); err != nil {
		return nil, n.removeError(err)
	}
	if err := n.deleteAll(ctx, all); err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.subject == "" {
			already = append(already, d.index)
		} else if err := n.lasts.removed(ctx, d); err != nil {
			return nil, err
		}
	}
	return already, nil
}

// doom looks at each event before any is touched.
func (n *namespace) doom(indexes []uint64) (all []doomed, err error) {
	indexes = slices.Compact(slices.Sorted(slices.Values(indexes)))
	r := n.log.Reader(0)
	defer r.Close()
	for _, index := range indexes {
		if first, next := n.log.Bounds(); index < first || index >= next {
			return nil, n.notKept(index)
		}
		d := doomed{index: index}
		r.Seek(index)
		b, err := r.Next()
		if _, removed := errors.AsType[*immuta.RemovedError](err); removed {
			all = append(all, d)
			continue
		}
		if err != nil {
			return nil, n.readError(err, index)
		}
		if b.First != index {
			return nil, n.notKept(index) // deleted by the retention meanwhile
		}
		rec, err := parseRecord(b.Records[0])
		if err != nil {
			return nil, &bus.DamageError{Namespace: n.name, From: index, Next: index + 1, Err: err}
		}
		d.subject = string(rec.texts[:rec.lengths[0]])
		all = append(all, d)
	}
	return all, nil
}

func (n *namespace) notKept(index uint64) error {
	first, next := n.log.Bounds()
	return bus.ErrUnknownEvent.With("index %d; %s holds %d to %d", index, n.name, first, next-1)
}

// closeFor closes the segment that is appended to, when one of the events is in it.
func (n *namespace) closeFor(ctx context.Context, all []doomed) error {
	segments := n.log.Segments()
	if len(all) == 0 || all[len(all)-1].index < segments[len(segments)-1].First {
		return nil
	}
	return n.log.Roll(ctx)
}

// deleteAll writes the segments anew that hold the events.
func (n *namespace) deleteAll(ctx context.Context, all []doomed) error {
	for len(all) > 0 {
		segments := n.log.Segments()
		i := slices.IndexFunc(segments, func(s immuta.Segment) bool { return all[0].index < s.Next })
		if i < 0 || all[0].index < segments[i].First {
			return n.notKept(all[0].index)
		}
		here := 0
		for here < len(all) && all[here].index < segments[i].Next {
			here++
		}
		_, err := n.rewrite(ctx, segments[i].First, func(index uint64, _ time.Time, _ []byte) uint8 {
			if _, is := slices.BinarySearchFunc(all[:here], index, func(d doomed, index uint64) int { return cmp.Compare(d.index, index) }); is {
				return reasonDeleted
			}
			return 0
		})
		if errors.Is(err, immuta.ErrNoSegment) {
			continue // deleted by the retention: the next look says so
		}
		if err != nil {
			return n.removeError(err)
		}
		all = all[here:]
	}
	return nil
}

// rewrite removes records of a closed segment, and counts them.
func (n *namespace) rewrite(ctx context.Context, first uint64, remove func(index uint64, at time.Time, record []byte) uint8) (immuta.Rewritten, error) {
	var counts [mostReason + 1]uint64
	did, err := n.log.Rewrite(ctx, first, func(index uint64, at time.Time, record []byte) uint8 {
		reason := remove(index, at, record)
		counts[reason]++
		return reason
	})
	if did.Removed > 0 {
		for reason := range counts {
			n.removed[reason].Add(counts[reason])
		}
	}
	return did, err
}

// removeError says why what was to be removed is still there.
func (n *namespace) removeError(err error) error {
	damage, damaged := errors.AsType[*immuta.CorruptError](err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, immuta.ErrClosed):
		return bus.ErrUnavailable.With("namespace %s is closed: the server is stopping", n.name)
	case damaged:
		return bus.ErrCorrupt.With("nothing can be deleted from a file of namespace %s that is damaged: %v; stop the server, bus repair shows what is lost, and with --write sets it aside", n.name, damage)
	case outOfSpace(err):
		return bus.ErrInsufficientSpace.With("namespace %s: to delete an event the file that it is in is written anew beside the old one: %v", n.name, err)
	}
	return bus.ErrStorage.With("namespace %s: %v; delete it again", n.name, err)
}

// removed makes the newest event of a subject that is left the last one, when it was
// the removed one: so it is for who opens the log again.
func (l *lasts) removed(ctx context.Context, d doomed) error {
	for {
		l.lock()
		r, is := l.reading, l.isLast(d)
		l.unlock()
		if r == nil && !is {
			return nil
		}
		if r == nil {
			break
		}
		select { // it may have read the event when that was there
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	before, err := l.lastBelow(ctx, d)
	if err != nil {
		return err
	}
	l.lock()
	defer l.unlock()
	if l.reading == nil && l.isLast(d) {
		l.table.last[l.table.slots[d.subject]] = before
	}
	return nil
}

// isLast reports whether the table has the event as the last of its subject. The
// caller holds the lock.
func (l *lasts) isLast(d doomed) bool {
	if l.table == nil {
		return false
	}
	slot, ok := l.table.slots[d.subject]
	return ok && l.table.last[slot] == d.index
}

// lastBelow finds the newest event of a subject in front of one, 0 when none is left.
// It reads as much of the log as the index of subjects does not rule out.
func (l *lasts) lastBelow(ctx context.Context, d doomed) (last uint64, err error) {
	pattern, err := bus.ParsePattern(d.subject)
	if err != nil {
		return 0, fmt.Errorf("subject of event %d: %w", d.index, err)
	}
	first, _ := l.of.log.Bounds()
	r := l.of.reader(first)
	defer r.Close()
	for at, asked := first, uint64(0); at < d.index; {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if at >= asked && l.of.subjects != nil {
			if at, asked = l.of.subjects.skip(at, []bus.Pattern{pattern}); at >= d.index {
				break
			}
		}
		r.Seek(at)
		events, err := r.Next()
		if err != nil {
			next := behind(err)
			if next <= at {
				return last, nil // nothing good is known behind it
			}
			at = next
			continue
		}
		for i := range events {
			if events[i].Subject == d.subject && events[i].Index < d.index {
				last = events[i].Index
			}
		}
		at = events[len(events)-1].Index + 1
	}
	return last, nil
}

// behind is where to go on behind what cannot be read; 0: nowhere.
func behind(err error) uint64 {
	if damage, ok := errors.AsType[*bus.DamageError](err); ok {
		return damage.Next
	}
	if removed, ok := bus.AsRemoved(err); ok {
		return removed.Next
	}
	return 0
}
