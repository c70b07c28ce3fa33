package disk

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

// segment is what is known of a closed one that was read.
type segment struct {
	left  uint64    // records, but for those that are held
	again time.Time // when half of it will have had its time; zero: never
	bad   bool      // it cannot be written anew
}

// due reports whether half of a segment has had its time.
func (c *compaction) due(now time.Time) bool {
	for _, s := range c.of {
		if s.over(now) {
			return true
		}
	}
	return false
}

func (s *segment) over(now time.Time) bool { return !s.again.IsZero() && !now.Before(s.again) }

// sees notes that there are events whose time will be over.
func (n *namespace) sees(t *bus.Timing) {
	if t != nil && !t.ExpiresAt.IsZero() && !n.timed.Load() {
		n.timed.Store(true)
	}
}

// pays reports whether at least half of the events of a segment can go, as far as is
// known without reading it. Of one that was never read it may be so when events have
// their time, or it was compacted by an earlier process and is short.
func (n *namespace) pays(s immuta.Segment, a *alive, now time.Time) bool {
	next := min(s.Next, a.next)
	left, known := next-s.First, n.compaction.of[s.First]
	switch {
	case known == nil && n.timed.Load() && !s.Open:
		return true
	case known != nil && (known.bad || known.over(now)):
		return !known.bad
	case known != nil:
		left = known.left
	}
	dead := left - min(left, uint64(len(a.within(s.First, next))))
	return dead > 0 && 2*dead >= left
}

// compactOne reads a segment that may pay, and writes it anew when it does, which it
// reports.
func (n *namespace) compactOne(ctx context.Context, s immuta.Segment, a *alive, now time.Time) (did bool, err error) {
	c := &n.compaction
	if !n.pays(s, a, now) || s.Next > a.next || a.unsure(s) {
		return false, nil
	}
	l := &look{of: n, kept: a.within(s.First, s.Next), now: now}
	read, err := n.rewrite(ctx, s.First, func(index uint64, _ time.Time, record []byte) uint8 {
		l.judge(index, record)
		return 0
	})
	if err != nil {
		return false, c.refused(n, s, err)
	}
	c.of[s.First] = l.segment(read.Kept)
	if l.gone == 0 || 2*l.gone < read.Kept-l.held {
		return false, nil
	}
	if c.unsynced { // what made them needless must not be taken back by a power cut
		if err := n.log.Roll(ctx); err != nil {
			return false, err
		}
	}
	l = &look{of: n, kept: l.kept, now: now}
	written, err := n.rewrite(ctx, s.First, func(index uint64, _ time.Time, record []byte) uint8 { return l.judge(index, record) })
	if err != nil {
		return false, c.refused(n, s, err)
	}
	c.of[s.First] = l.segment(written.Kept)
	n.lasts.expired(l.ended)
	return written.Removed > 0, nil
}

// refused lets a segment be that cannot be written anew, when that will not pass.
func (c *compaction) refused(n *namespace, s immuta.Segment, err error) error {
	if errors.Is(err, immuta.ErrNoSegment) {
		return nil
	}
	if _, damaged := errors.AsType[*immuta.CorruptError](err); !damaged {
		return err
	}
	c.of[s.First] = &segment{bad: true}
	c.logger.Warn("a segment is not compacted, because it is damaged", "namespace", n.name, "from", s.First, "next", s.Next, "error", err)
	return nil
}

// look is one reading of a segment.
type look struct {
	of   *namespace
	kept []uint64 // the newest of their subjects, and those that wait
	now  time.Time

	gone, held uint64
	ended      []uint64    // kept ones that have had their time
	ending     []time.Time // when those that stay will have had theirs
}

// judge says why a record goes, 0 when it stays. One whose time is over goes also when
// it is the newest of its subject.
func (l *look) judge(index uint64, record []byte) (reason uint8) {
	_, kept := slices.BinarySearch(l.kept, index)
	rec, err := parseRecord(record)
	if err != nil {
		l.held++
		return 0 // nobody knows what it is
	}
	t := rec.timed()
	held := false
	switch {
	case !kept:
		reason, held = l.of.needless(t)
	case l.of.isOver(index, t, l.now):
		reason, l.ended = reasonExpired, append(l.ended, index)
	}
	switch {
	case held:
		l.held++
	case reason != 0:
		l.gone++
	case t != nil && !t.ExpiresAt.IsZero():
		l.ending = append(l.ending, endOf(t, l.now))
	}
	return reason
}

// isOver reports whether the time of an event is over, and it neither waits for its
// delivery nor tells of another one that it has waited.
func (n *namespace) isOver(index uint64, t *bus.Timing, now time.Time) bool {
	switch e := (bus.Event{Timing: t}); {
	case !e.Expired(now):
		return false
	case e.Waits():
		return !mayWait(t, now) && !n.ids.waits(index)
	}
	return t.Published == 0 || !n.isThere(t.Published)
}

// mayWait reports whether an event that waits may still be on its way to its delivery.
func mayWait(t *bus.Timing, now time.Time) bool { return t.DeliverAt.After(now.Add(-releaseSlack)) }

// endOf is when an event that stays is to be looked at for its time. One that is held
// behind its end is not looked at all the time for that.
func endOf(t *bus.Timing, now time.Time) time.Time {
	if t.ExpiresAt.After(now) {
		return t.ExpiresAt
	}
	return now.Add(releaseSlack)
}

// segment is what is known of it now, with so many records in it.
func (l *look) segment(records uint64) *segment {
	s := &segment{left: records - min(records, l.held)}
	if half := (s.left + 1) / 2; half > 0 && uint64(len(l.ending)) >= half {
		slices.SortFunc(l.ending, time.Time.Compare)
		s.again = l.ending[half-1]
	}
	return s
}

// releaseSlack is how long after it was due an event that waits may still be on its
// way to its delivery, for all that is known.
const releaseSlack = time.Hour

// needless returns why a record goes that is not the newest of its subject. One that
// waits stays until it was surely delivered; and what was delivered of it stays as
// long as it does, or it would be taken for one that still waits. held says that it
// stays for that.
func (n *namespace) needless(t *bus.Timing) (reason uint8, held bool) {
	switch e := (bus.Event{Timing: t}); {
	case t == nil: // nearly always
	case e.Waits() && mayWait(t, n.now()):
		return 0, true
	case t.Published != 0 && n.isThere(t.Published):
		return 0, true
	case e.Expired(n.now()):
		return reasonExpired, false
	}
	return reasonCompacted, false
}

// isThere reports whether there is an event at an index, as far as it can be read.
func (n *namespace) isThere(index uint64) bool {
	if first, _ := n.log.Bounds(); index < first {
		return false
	}
	r := n.log.Reader(index)
	defer r.Close()
	_, err := r.Next()
	_, removed := errors.AsType[*immuta.RemovedError](err)
	return !removed
}

// expired forgets subjects whose newest event is gone because its time was over: they
// come and go for ever. Of older ones that are left nothing is the newest, until the
// log is opened again.
func (l *lasts) expired(indexes []uint64) {
	if len(indexes) == 0 {
		return
	}
	l.lock()
	defer l.unlock()
	if l.reading != nil || !l.known.Load() {
		return
	}
	isGone := func(at uint64) bool {
		_, gone := slices.BinarySearch(indexes, at)
		return gone
	}
	for slot, last := range l.table.last {
		if at, apart := l.table.places[uint32(slot)]; apart && isGone(at) {
			l.table.places[uint32(slot)] = 0 // what was published last may still wait
		}
		if isGone(last) {
			l.table.last[slot] = 0
		}
	}
	l.shrink(1)
}
