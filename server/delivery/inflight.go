package delivery

import (
	"cmp"
	"time"

	"example.com/bus"
)

// flight is one event that is out, or waits to go out again.
type flight struct {
	event   *bus.Event
	cursor  *cursor // nil for an inbox event
	attempt int     // deliveries so far
	sentAt  time.Time
	due     time.Time // deadline of the delivery, or when it may go out again
	slot    int       // in flights.heap
	owner   *Member   // of a named consumer: who has it; nil: nobody
	last    *Member   // who had it last,
	times   int       // and how often it was given to him in a row
	noted   bool      // what is said of it is being written down, or that has failed
	dying   bool      // it has had its last attempt, and becomes a dead letter
	twin    *flight   // another event with the same id, delivered later

	prev, next *flight // in index order, in cursor.unacked
}

// flights is what one consumer has in flight. Whoever takes a flight out by
// remove (acknowledgement, last time-out) is its only taker and acts on it. The
// stream guards it. A nil *flights is a stream without acknowledgement.
type flights struct {
	spec   AckSpec
	stream *Stream
	byID   map[string]*flight
	heap   []*flight // by due, the next one first
	bytes  int       // what their events weigh
	over   bool      // the stream is closed: nothing counts any more
	dead   recentIDs
	termed recentIDs // said never to be taken: an Ack behind it confirms nothing
	gone   recentIDs // removed from the log while they were out

	unkept  []Delivery // to be kept as dead letters, in this order
	keeping bool       // somebody is at it
}

// flightBytes bounds what one consumer has in flight beside the window's count;
// one event may always be out.
const flightBytes = 16 << 20

func newFlights(s *Stream, spec AckSpec) *flights {
	return &flights{spec: spec.complete(), stream: s, byID: make(map[string]*flight)}
}

// complete puts the defaults in the place of what is not said.
func (a AckSpec) complete() AckSpec {
	a.Redelivery = cmp.Or(a.Redelivery, defaultRedelivery)
	a.Inflight = cmp.Or(a.Inflight, defaultInflight)
	return a
}

func (fs *flights) count() int {
	if fs == nil {
		return 0
	}
	return len(fs.heap)
}

func (fs *flights) full() bool {
	if fs == nil || len(fs.heap) == 0 || fs.over {
		return false
	}
	return len(fs.heap) >= fs.spec.Inflight || fs.bytes >= flightBytes || fs.stream.hub.flown.usedUp(fs.stream)
}

// weighs counts bytes in, or out when negative, here and over all streams.
func (fs *flights) weighs(n int) {
	switch {
	case fs.over:
	case n > 0:
		fs.bytes += n
		fs.stream.hub.flown.add(n)
	default:
		fs.bytes += n
		fs.stream.hub.flown.sub(-n)
	}
}

// end gives back what all flights hold: they go with their stream, and what a
// Next that is still at work launches does too.
func (fs *flights) end() {
	if fs == nil || fs.over {
		return
	}
	fs.weighs(-fs.bytes)
	fs.over = true
	fs.stream.hub.flown.forget(fs.stream)
}

// launch notes a first delivery; nil says that the window has no room. e is kept
// until it is settled, so it must not share memory with others.
func (fs *flights) launch(c *cursor, e *bus.Event, now time.Time) *flight {
	if fs.full() {
		return nil
	}
	fl := &flight{event: e, cursor: c, attempt: 1, sentAt: now, due: now.Add(fs.spec.wait(1))}
	fs.enter(fl)
	return fl
}

// bringBack takes an event in that was delivered before, by a stream that is
// gone, and waits to go out again.
func (fs *flights) bringBack(c *cursor, e *bus.Event, before *Attempt) {
	due := before.Due
	if due.IsZero() { // a deadline of nothing is none
		due = time.Now()
	}
	fs.enter(&flight{event: e, cursor: c, attempt: before.Count, due: due})
}

// enter takes a flight in.
func (fs *flights) enter(fl *flight) {
	id := fl.event.Id
	if first := fs.byID[id]; first != nil {
		first.join(fl)
	} else {
		fs.byID[id] = fl
	}
	if fl.cursor != nil {
		fl.cursor.unacked.push(fl)
	}
	fs.push(fl)
}

// join appends a flight with the same id: ids that publishers choose may
// repeat, and neither event may get lost over it.
func (fl *flight) join(twin *flight) {
	for fl.twin != nil {
		fl = fl.twin
	}
	fl.twin = twin
}

// remove takes a flight out.
func (fs *flights) remove(fl *flight) {
	id := fl.event.Id
	if fs.byID[id] == fl {
		if fl.twin == nil {
			delete(fs.byID, id)
		} else {
			fs.byID[id] = fl.twin
		}
	} else {
		fs.byID[id].part(fl)
	}
	fl.twin = nil
	fl.give(nil)
	if fl.cursor != nil {
		fl.cursor.unacked.remove(fl)
	}
	fs.pull(fl.slot)
}

// part takes a later twin out of the chain that begins at fl.
func (fl *flight) part(twin *flight) {
	for ; fl != nil; fl = fl.twin {
		if fl.twin == twin {
			fl.twin = twin.twin
			return
		}
	}
}

// due returns when the next flight wants attention.
func (fs *flights) due() (time.Time, bool) {
	if fs.count() == 0 {
		return time.Time{}, false
	}
	return fs.heap[0].due, true
}

// overdue reports whether a flight has to go out again, or to be given up, by now.
func (fs *flights) overdue(now time.Time) bool {
	due, ok := fs.due()
	return ok && !due.After(now)
}

// expire takes from a member what it has had its time with.
func (fs *flights) expire(m *Member, now time.Time) {
	for _, fl := range fs.heap {
		if fl.owner == m && !fl.due.After(now) {
			fl.give(nil)
		}
	}
}

// dueOf is when the next flight of a member wants attention.
func (fs *flights) dueOf(m *Member) (due time.Time) {
	for _, fl := range fs.heap {
		if fl.owner == m && (due.IsZero() || fl.due.Before(due)) {
			due = fl.due
		}
	}
	return due
}

// reschedule moves a flight to another time.
func (fs *flights) reschedule(fl *flight, due time.Time) {
	fl.due = due
	fs.down(fs.up(fl.slot))
}

func (fs *flights) push(fl *flight) {
	fs.weighs(weigh(fl.event))
	fl.slot = len(fs.heap)
	fs.heap = append(fs.heap, fl)
	fs.up(fl.slot)
}

// pull takes the flight at a slot out of the heap.
func (fs *flights) pull(slot int) {
	fs.weighs(-weigh(fs.heap[slot].event))
	last := len(fs.heap) - 1
	fs.swap(slot, last)
	fs.heap[last] = nil
	fs.heap = fs.heap[:last]
	if slot < last {
		fs.down(fs.up(slot))
	}
}

// before orders by due, and by age among equals, so that events of one batch
// are redelivered in the order they were delivered.
func (fs *flights) before(i, j int) bool {
	a, b := fs.heap[i], fs.heap[j]
	if !a.due.Equal(b.due) {
		return a.due.Before(b.due)
	}
	return a.event.Index < b.event.Index
}

func (fs *flights) swap(i, j int) {
	fs.heap[i], fs.heap[j] = fs.heap[j], fs.heap[i]
	fs.heap[i].slot, fs.heap[j].slot = i, j
}

func (fs *flights) up(i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if !fs.before(i, parent) {
			break
		}
		fs.swap(i, parent)
		i = parent
	}
	return i
}

func (fs *flights) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(fs.heap) {
			return
		}
		if child+1 < len(fs.heap) && fs.before(child+1, child) {
			child++
		}
		if !fs.before(child, i) {
			return
		}
		fs.swap(i, child)
		i = child
	}
}

// unacked lists a cursor's flights in index order. First deliveries come in
// that order and keep their place when they are delivered again, so the first
// one is the lowest: the resume point.
type unacked struct {
	first, last *flight
}

func (u *unacked) push(fl *flight) {
	fl.prev = u.last
	if u.last == nil {
		u.first = fl
	} else {
		u.last.next = fl
	}
	u.last = fl
}

func (u *unacked) remove(fl *flight) {
	if fl.prev == nil {
		u.first = fl.next
	} else {
		fl.prev.next = fl.next
	}
	if fl.next == nil {
		u.last = fl.prev
	} else {
		fl.next.prev = fl.prev
	}
	fl.prev, fl.next = nil, nil
}

// floor is one past the last index below which nothing is in flight; considered
// is one past the last index that the cursor has passed.
func (u *unacked) floor(considered uint64) uint64 {
	if u.first == nil {
		return considered
	}
	return min(u.first.event.Index, considered)
}
