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
	waits   bool   // here, or has waited
	due     bool   // it was delivered here after it had waited elsewhere
}

// Delete removes events for good: each segment that holds one is written anew
// without it, the last one being closed for that, which takes as long as writing so
// much, and as much room. already are those that were removed before; their files are
// made durable once more. Derived logs hold no content, only hashes under a key.
// Another Delete, a compaction, or a delivery of what is due, is waited for, as long as
// ctx lets it. Errors: see server.Engine.
func (e *Engine) Delete(ctx context.Context, namespace string, indexes []uint64) (all, already []uint64, err error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return nil, nil, err
	}
	if e.lock == nil {
		return nil, nil, n.appendError(immuta.ErrReadOnly)
	}
	// In this order everywhere. What is read to be delivered must not be appended
	// behind its deletion.
	for _, turn := range []turnstile{n.removing, n.releasing} {
		select {
		case turn <- struct{}{}:
			defer turn.Unlock()
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	dooms, err := n.doom(ctx, indexes)
	if err != nil {
		return nil, nil, err
	}
	if err := n.closeFor(ctx, dooms); err != nil {
		return nil, nil, n.removeError(err)
	}
	// Where it was delivered an event goes last, which says where it waited: both places
	// are found by it, should an error or a crash come between, and by the other one too.
	waited, others := split(dooms, func(d doomed) bool { return d.waits })
	for _, part := range [][]doomed{waited, others} {
		if err := n.deleteAll(ctx, part); err != nil {
			n.lasts.anew() // some may be gone, and a second call does not hear of what subject they were
			return nil, nil, err
		}
	}
	for _, d := range dooms {
		all = append(all, d.index)
		if d.subject == "" {
			already = append(already, d.index)
		} else if err := n.lasts.removed(ctx, d); err != nil {
			return nil, nil, err
		}
	}
	n.ids.finish(all, nil)
	return all, already, nil
}

// doom looks at each event, at both places of one that was put off, before any is
// touched. They are sorted.
func (n *namespace) doom(ctx context.Context, indexes []uint64) (all []doomed, err error) {
	r := n.log.Reader(0)
	defer r.Close()
	for _, index := range indexes {
		d, twin, err := n.doomOne(ctx, r, index)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
		if first, _ := n.log.Bounds(); twin < first {
			continue // 0, or deleted
		}
		other, _, err := n.doomOne(ctx, r, twin)
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && !damage.Repaired.IsZero() {
			continue // there is nothing left of it
		}
		if err != nil {
			return nil, err
		}
		all = append(all, other)
	}
	slices.SortFunc(all, func(a, b doomed) int { return cmp.Compare(a.index, b.index) })
	return slices.CompactFunc(all, func(a, b doomed) bool { return a.index == b.index }), nil
}

// doomOne looks at one event. twin is where it stands as well, 0: nowhere.
func (n *namespace) doomOne(ctx context.Context, r *immuta.Reader, index uint64) (d doomed, twin uint64, err error) {
	if first, next := n.log.Bounds(); index < first || index >= next {
		return d, 0, n.notKept(index)
	}
	d = doomed{index: index}
	r.Seek(index)
	b, err := r.Next()
	if _, removed := errors.AsType[*immuta.RemovedError](err); removed {
		twin, err = n.deliveryOfRemoved(ctx, index)
		return d, twin, err
	}
	if err != nil {
		return d, 0, n.readError(err, index)
	}
	if b.First != index {
		return d, 0, n.notKept(index) // deleted by the retention meanwhile
	}
	rec, err := parseRecord(b.Records[0])
	if err != nil {
		return d, 0, &bus.DamageError{Namespace: n.name, From: index, Next: index + 1, Err: err}
	}
	d.subject = string(rec.texts[:rec.lengths[0]])
	switch e := (bus.Event{Timing: rec.timed()}); {
	case e.Waits():
		d.waits = true
		twin, err = n.deliveryOf(ctx, rec.id(), index)
	case e.Timing != nil && e.Timing.Published != 0:
		d.due, twin = true, e.Timing.Published
	}
	return d, twin, err
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
		if i < 0 {
			return n.notKept(all[0].index)
		}
		if all[0].index < segments[i].First { // by the retention meanwhile; the others are there
			all = all[1:]
			continue
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
			continue // deleted by the retention
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
	if d.waits || d.due { // its subject has two newest events, in a way
		l.anew()
		return nil
	}
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
	before, putOff, err := l.lastBelow(ctx, d)
	if err != nil {
		return err
	}
	if putOff {
		l.anew()
		return nil
	}
	l.lock()
	defer l.unlock()
	if l.reading == nil && l.isLast(d) {
		l.table.last[l.table.slots[d.subject]] = before
	}
	return nil
}

// anew has the log read again by who asks next. A reading at hand may have seen what
// was removed meanwhile: it counts for nothing, and who waits for it begins anew.
func (l *lasts) anew() {
	l.lock()
	defer l.unlock()
	l.known.Store(false)
	l.table = nil
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
// It reads as much of the log as the index of subjects does not rule out. putOff says
// that there is one that was put off, of which the whole log has to be asked.
func (l *lasts) lastBelow(ctx context.Context, d doomed) (last uint64, putOff bool, err error) {
	pattern, err := bus.ParsePattern(d.subject)
	if err != nil {
		return 0, false, fmt.Errorf("subject of event %d: %w", d.index, err)
	}
	first, _ := l.of.log.Bounds()
	r := l.of.reader(first)
	defer r.Close()
	for at, asked := first, uint64(0); at < d.index; {
		if ctx.Err() != nil {
			return 0, false, ctx.Err()
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
				return last, putOff, nil // nothing good is known behind it
			}
			at = next
			continue
		}
		for i := range events {
			if e := &events[i]; e.Subject == d.subject && e.Index < d.index {
				last, putOff = e.Index, putOff || e.Waits() || e.GivenIndex() != e.Index
			}
		}
		at = events[len(events)-1].Index + 1
	}
	return last, putOff, nil
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
