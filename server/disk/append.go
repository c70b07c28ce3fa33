package disk

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Append stores the events as one commit, all or none, and fills Index, and Id
// and CreatedAt where they are empty; on an error it leaves them alone. It
// copies what it stores. An event must be of the namespace and pass
// bus.Event.Check; Line of the refusal says which of a batch does not. ctx
// bounds only the wait for a place in the queue.
func (e *Engine) Append(ctx context.Context, namespace string, events []bus.Event) error {
	n, err := e.namespace(namespace)
	if err != nil || len(events) == 0 {
		return err
	}
	return n.store(ctx, events, nil, false)
}

// store appends the events if check, which may be nil, lets it. due says that they
// were put off, and come due.
func (n *namespace) store(ctx context.Context, events []bus.Event, check immuta.Check, due bool) error {
	if !due {
		if err := n.checkTimings(events); err != nil {
			return err
		}
	}
	named, err := n.book(ctx, events)
	if err != nil {
		return err
	}
	stamped := n.stamp(events)
	receipt, size, err := n.append(ctx, events, check)
	if err != nil {
		for _, i := range stamped {
			events[i].CreatedAt = time.Time{}
		}
		n.unbook(events, named)
		return err
	}
	// The ids are known before anybody hears that the events are stored: who has
	// an answer in hand may look the id up at once.
	at := span{from: receipt.First, next: receipt.First + uint64(len(events)), at: receipt.Time}
	n.taken.raise(at.next)
	if at.next >= n.wakeAt.Load() {
		n.kick()
	}
	n.ids.stored(at, size, chosenIDs(events, receipt.First), events)
	n.subjects.stored(at, size, events)
	n.give(events, receipt)
	return nil
}

// stamp gives events their time while the log is ahead of the clock, and
// returns which. Commit times never go back, so that a clock that was once years
// ahead would otherwise date every later event.
func (n *namespace) stamp(events []bus.Event) (stamped []int) {
	now := n.now()
	if !n.log.Stat().LastTime.After(now.Add(clockSlack)) {
		return nil
	}
	for i := range events {
		if events[i].CreatedAt.IsZero() {
			events[i].CreatedAt = now.UTC()
			stamped = append(stamped, i)
		}
	}
	return stamped
}

// clockSlack is how far a clock goes back without anything being wrong.
const clockSlack = time.Second

func (n *namespace) append(ctx context.Context, events []bus.Event, check immuta.Check) (immuta.Receipt, int, error) {
	records, size, err := n.encode(events)
	if err != nil {
		return immuta.Receipt{}, 0, err
	}
	booked, problem := n.take(len(events), size)
	if problem != "" {
		return immuta.Receipt{}, 0, n.atLimit(problem)
	}
	defer n.quota.ended(booked, len(events), size)
	if problem := n.room.take(size); problem != "" {
		return immuta.Receipt{}, 0, n.noSpace(problem)
	}
	receipt, err := n.log.AppendIf(ctx, records, check)
	n.room.ended(size, err == nil)
	if full := outOfSpace(err); full || err == nil {
		n.room.told(n.name, full)
	}
	if err != nil {
		return immuta.Receipt{}, 0, n.appendError(err)
	}
	return receipt, size, nil
}

// encode returns the records of the events, which share one buffer, and its
// size. Everything is checked before memory is asked for.
func (n *namespace) encode(events []bus.Event) (records [][]byte, size int, err error) {
	for i := range events {
		if err := n.check(&events[i]); err != nil {
			return nil, 0, atItem(err, i, len(events))
		}
		size += recordSize(&events[i])
	}
	buffer := make([]byte, 0, size)
	records = make([][]byte, len(events))
	for i := range events {
		n.sees(events[i].Timing)
		start := len(buffer)
		if buffer, err = appendRecord(buffer, &events[i]); err != nil {
			return nil, 0, atItem(err, i, len(events))
		}
		records[i] = buffer[start:len(buffer):len(buffer)]
	}
	return records, size, nil
}

// check refuses what only this log can know to be wrong.
func (n *namespace) check(e *bus.Event) error {
	if len(e.Payload) > n.maxEvent {
		return bus.ErrTooLarge.With("the payload has %d bytes, at most %d are allowed", len(e.Payload), n.maxEvent)
	}
	if rest, ok := strings.CutPrefix(e.Subject, n.name); !ok || rest == "" || rest[0] != '.' {
		if e.Subject != "" && bus.CheckSubject(e.Subject) == nil {
			return bus.ErrInvalidSubject.With("subject %q does not belong to namespace %s", e.Subject, n.name)
		}
		return nil // not a subject at all: encoding says how
	}
	// An id of this log says where its event is, and another event is or will
	// be there.
	if p, ok := bus.ParseEventID(e.Id); ok && p.Incarnation == n.incarnation {
		return bus.ErrInvalidID.With("id %s names index %d of this log and cannot be chosen: leave the id out", e.Id, p.Index)
	}
	return nil
}

// atItem says which event of a batch was refused.
func atItem(err error, i, of int) error {
	if of == 1 {
		return err
	}
	return bus.AtLine(err, i+1)
}

// chosenIDs returns the events that came with an id.
func chosenIDs(events []bus.Event, first uint64) []chosenID {
	var chosen []chosenID
	for i := range events {
		if id := events[i].Id; id != "" {
			chosen = append(chosen, chosenID{id: id, local: first + uint64(i)})
		}
	}
	return chosen
}

// give fills in what the log has decided. The ids of a batch share one string.
func (n *namespace) give(events []bus.Event, receipt immuta.Receipt) {
	at := receipt.Time.UTC()
	text := make([]byte, 0, 16*len(events))
	for i := range events {
		e := &events[i]
		e.Index = receipt.First + uint64(i)
		if e.CreatedAt.IsZero() {
			e.CreatedAt = at
		}
		if e.Id == "" {
			text = bus.AppendID(text, bus.Position{Incarnation: n.incarnation, Index: e.Index})
		}
	}
	n.giveIDs(events, string(text))
}

// giveIDs cuts text into the ids that are missing. All are as long as the one
// of their index, which only grows.
func (n *namespace) giveIDs(events []bus.Event, text string) {
	var room [bus.MaxIDLen]byte
	for i := range events {
		if e := &events[i]; e.Id == "" {
			size := len(bus.AppendID(room[:0], bus.Position{Incarnation: n.incarnation, Index: e.Index}))
			e.Id, text = text[:size], text[size:]
		}
	}
}

// endMark is one past the last index that an append was given. With a sync
// interval it is ahead of what can be read.
type endMark struct{ next atomic.Uint64 }

func (m *endMark) raise(next uint64) {
	for {
		old := m.next.Load()
		if next <= old || m.next.CompareAndSwap(old, next) {
			return
		}
	}
}
