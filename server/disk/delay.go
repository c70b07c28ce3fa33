package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/bus"
)

// mostReleased bounds the bytes of what is delivered as one commit.
const mostReleased = 4 << 20

// waitingOf counts the events that are not to be delivered yet.
func waitingOf(events []bus.Event) (waiting int) {
	for i := range events {
		if events[i].Waits() {
			waiting++
		}
	}
	return waiting
}

// checkTimings refuses what a policy would delete before it is due, and what only the
// log itself can say.
func (n *namespace) checkTimings(events []bus.Event) error {
	for i := range events {
		t := events[i].Timing
		if t == nil {
			continue // nearly always
		}
		if t.Published != 0 {
			return atItem(bus.ErrInvalidEvent.With("the event says that it waited at index %d of another log", t.Published), i, len(events))
		}
		age := n.policy.Load().MaxAge
		if ahead := t.DeliverAt.Sub(n.now()); !t.DeliverAt.IsZero() && age > 0 && ahead > age {
			return atItem(bus.ErrInvalidEvent.With("deliver_at is %s ahead, and namespace %s keeps events for %s: it would be deleted before it is due", ahead.Round(time.Second), n.name, age), i, len(events))
		}
	}
	return nil
}

// book takes places among those that wait, and gives the events ids that say no
// index: an event that waits stands at two. named are those that got one.
// bus.ErrTooManyDelayed when there are not as many places.
func (n *namespace) book(ctx context.Context, events []bus.Event) (named []int, err error) {
	waiting := waitingOf(events)
	if waiting == 0 {
		return nil, nil // nearly always
	}
	if err := n.ids.await(ctx); err != nil {
		return nil, err
	}
	if err := n.ids.book(waiting, n.now()); err != nil {
		return nil, err
	}
	for i := range events {
		if e := &events[i]; e.Waits() && e.Id == "" {
			var random [16]byte
			if _, err := io.ReadFull(n.random, random[:]); err != nil {
				n.unbook(events, named)
				return nil, fmt.Errorf("make an id: %w", err)
			}
			e.Id, named = bus.DelayedID(n.incarnation, random), append(named, i)
		}
	}
	return named, nil
}

// unbook takes back what book has done, of events that were not stored.
func (n *namespace) unbook(events []bus.Event, named []int) {
	for _, i := range named {
		events[i].Id = ""
	}
	if waiting := waitingOf(events); waiting > 0 {
		n.ids.unbook(waiting)
	}
}

func (s *strangers) book(places int, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := len(s.delays.due) + s.booked
	if places <= s.most-waiting {
		s.booked += places
		return nil
	}
	name := s.file.namespace
	if s.most == 0 {
		return bus.ErrTooManyDelayed.With("no event of namespace %s may wait for its delivery: --max-delayed is 0", name)
	}
	wait := "wait for their delivery"
	if waiting == 1 {
		wait = "waits for its delivery"
	}
	refusal := bus.ErrTooManyDelayed.With("%s of namespace %s %s, and at most %d may: publish again when some were delivered, or allow more with --max-delayed", counted(uint64(waiting)), name, wait, s.most)
	if w, ok := s.delays.first(); ok {
		refusal.Detail += "; the next is due at " + w.dueTime().Format(time.RFC3339Nano)
		after := (w.dueTime().Sub(now) + time.Second - 1) / time.Second
		refusal.RetryAfter = int(min(max(after, 1), mostRetryAfter))
	}
	return refusal
}

// mostRetryAfter is after how many seconds a publisher is asked to come back at most:
// others may take back what waits.
const mostRetryAfter = 3600

func (s *strangers) unbook(places int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.booked -= places
}

// Release appends the events that waited and have come due by now once more, in the
// order in which they came due, at most most of them and as one commit. It returns
// when those were due, and when the next is, the zero time when none waits. Those
// that it was to deliver and that are gone are passed over, and counted. It waits, as
// long as ctx lets it, until it is known what waits. With an error nothing was
// delivered, and the next call tries again.
func (e *Engine) Release(ctx context.Context, namespace string, now time.Time, most int) (released []time.Time, next time.Time, err error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := n.ids.await(ctx); err != nil {
		return nil, time.Time{}, err
	}
	n.releasing.Lock()
	defer n.releasing.Unlock()
	taken := n.ids.takeDue(now, most)
	done, released, err := n.release(ctx, taken)
	n.ids.putBack(taken[done:])
	return released, n.ids.nextDue(), err
}

// release delivers what was taken, and returns how many of it are done with, from
// the front, and when those that were delivered were due.
func (n *namespace) release(ctx context.Context, taken []wait) (done int, released []time.Time, err error) {
	if len(taken) == 0 {
		return 0, nil, nil
	}
	last := uint64(0)
	for _, w := range taken {
		last = max(last, w.index)
	}
	// With a sync interval it is stored before it is readable.
	if err := n.lasts.visible(ctx, last+1); errors.Is(err, errFrozen) {
		return 0, nil, bus.ErrStorage.With("index %d of namespace %s cannot be read: %v", last, n.name, n.log.Err())
	} else if err != nil {
		return 0, nil, n.waitError(err)
	}
	d := dueReader{n: n, reader: n.reader(last)}
	defer d.reader.Close()
	events, bytes := []bus.Event(nil), 0
	for ; done < len(taken) && bytes < mostReleased; done++ {
		e, err := d.read(taken[done].index)
		if err != nil {
			return 0, nil, err
		}
		if e != nil {
			events, bytes = append(events, *e), bytes+len(e.Payload)
			released = append(released, e.Timing.DeliverAt)
		}
	}
	if len(events) > 0 {
		if err := n.store(ctx, events, nil, true); err != nil {
			return 0, nil, err
		}
	}
	n.gone(d.lost, d.unread)
	return done, released, nil
}

// dueReader makes of events that waited those that are delivered. Neighbours come
// with each other, and are kept for the next.
type dueReader struct {
	n      *namespace
	reader *reader
	block  []bus.Event
	lost   []uint64 // that are gone for good
	unread []uint64 // that a person may put right
}

// read returns the event, nil when it is gone.
func (d *dueReader) read(index uint64) (*bus.Event, error) {
	if k := len(d.block); k == 0 || index < d.block[0].Index || index > d.block[k-1].Index {
		d.reader.Seek(index)
		block, err := d.reader.Next()
		damage, damaged := errors.AsType[*bus.DamageError](err)
		switch _, refused := bus.AsError(err); {
		case damaged && damage.Repaired.IsZero():
			d.unread = append(d.unread, index)
			return nil, nil
		case refused: // by a disk that does not give it now, or a log that is closed
			return nil, err
		case err != nil: // it is gone, whatever took it
			d.lost = append(d.lost, index)
			return nil, nil
		}
		if d.block = block; block[0].Index > index {
			d.lost = append(d.lost, index)
			return nil, nil
		}
	}
	e := d.block[index-d.block[0].Index]
	if !e.Waits() { // another event, where the log was replaced by another copy of it
		d.n.ids.finish([]uint64{index}, nil)
		return nil, nil
	}
	e.Timing = &bus.Timing{DeliverAt: e.Timing.DeliverAt, ExpiresAt: e.Timing.ExpiresAt, Published: index}
	return &e, nil
}

// gone takes what cannot be delivered out of what waits. What a person may put right
// waits again after a start.
func (n *namespace) gone(lost, unread []uint64) {
	if len(lost)+len(unread) == 0 {
		return
	}
	gone := n.ids.finish(lost, unread) // of some a retention has told meanwhile
	n.lostDelayed(gone, "they were deleted, or lost", "indexes", some(lost))
	n.lostDelayed(len(unread), "they are damaged; they are delivered by the first start at which they can be read", "indexes", some(unread))
}

// some is what a line of a log can show.
func some(indexes []uint64) []uint64 { return indexes[:min(len(indexes), 16)] }

// lostDelayed says that events were not delivered.
func (n *namespace) lostDelayed(count int, why string, attrs ...any) {
	if count == 0 {
		return
	}
	n.lost.Add(uint64(count))
	n.logger.Warn("events that waited for their delivery are not delivered", append([]any{"namespace", n.name, "events", count, "reason", why}, attrs...)...)
}

func (s *strangers) takeDue(now time.Time, most int) []wait {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delays.take(now.UnixNano(), most)
}

// waits reports whether the event at an index waits. Who asks has awaited what does.
func (s *strangers) waits(index uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, waits := s.delays.due[index]
	return waits
}

func (s *strangers) putBack(taken []wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delays.putBack(taken)
}

func (s *strangers) nextDue() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.delays.first(); ok {
		return w.dueTime()
	}
	return time.Time{}
}

// finish takes out what cannot be delivered, and returns how many of what is lost were
// still there.
func (s *strangers) finish(lost, unread []uint64) (known int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delays == nil {
		return 0 // they are being read: what is gone is not found, or found to be gone when it is due
	}
	for _, index := range lost {
		if _, waits := s.delays.due[index]; waits {
			known++
		}
		s.delays.finish(release{index: index, at: index})
	}
	for _, index := range unread {
		delete(s.delays.due, index) // in what is saved, it waits
	}
	return known
}

// Delayed returns the indexes, sorted, of the events behind one that wait for their
// delivery, at most most of them. It waits, as long as ctx lets it, until they are
// known.
func (e *Engine) Delayed(ctx context.Context, namespace string, after uint64, most int) ([]uint64, error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return nil, err
	}
	if err := n.ids.await(ctx); err != nil {
		return nil, err
	}
	n.ids.mu.Lock()
	defer n.ids.mu.Unlock()
	return n.ids.delays.indexes(after, most), nil
}

// inspectDelays says what waits, as far as that is known.
func (n *namespace) inspectDelays(info *bus.NamespaceInfo) {
	info.MaxDelayed, info.DelayedLost = n.ids.most, n.lost.Load()
	n.ids.mu.Lock()
	defer n.ids.mu.Unlock()
	if n.ids.delays == nil {
		return
	}
	info.Delayed = len(n.ids.delays.due)
	if w, ok := n.ids.delays.first(); ok {
		info.NextDelivery = w.dueTime()
	}
}
