package delivery

import (
	"errors"

	"time"

	"example.com/bus"
)

// Kind is what a consumer says of an event.
type Kind uint8

// The kinds of verdict.
const (
	Ack  Kind = iota // done
	Nak              // not now: deliver it again, after Delay
	Term             // never again
	Wip              // still working: the deadline starts anew
)

// Verdict is a kind with what belongs to it.
type Verdict struct {
	Kind  Kind
	Delay time.Duration // Nak only
}

// Settled is one event that a verdict was about.
type Settled struct {
	Event   *bus.Event // nil when only the id is remembered; without payload for an inbox event
	EventID string
	Already bool // it was settled before; the verdict changed nothing
	Refused bool // Already, and by Term

	attempt int // deliveries so far
}

// Settle gives a verdict on events that the consumer was delivered, all of them
// or, with an error, none. With upTo it is about every unsettled event of the
// same namespace up to the named ones too, and the answer lists those as well.
// An event that has timed out and waits to go out again is still the
// consumer's. A minimum back-off of 10 ms, doubling to 1 s, stands before a nak
// without delay; a nak of the last attempt makes the event dead, and Next says
// so; the last 256 dead ones are refused, older ones count as settled. Events of
// a term are dead letters before it returns, those of an inbox excepted.
//
// Without acknowledgement a verdict changes nothing; an Ack counts as a
// confirmation of any event that the stream has carried; with it an Ack counts
// for every event that was not settled by one of the last 256 Terms. Errors:
// bus.ErrUnknownConsumer, bus.ErrNotDelivered naming the id, and what Lookup
// failed with.
func (h *Hub) Settle(consumerID string, eventIDs []string, v Verdict, upTo bool) ([]Settled, error) {
	if v.Kind > Wip {
		return nil, bus.ErrInvalidParameter.With("verdict %d: wanted one of ack, nak, term, wip", v.Kind)
	}
	h.mu.Lock()
	s, m := h.consumers[consumerID], h.members[consumerID]
	h.mu.Unlock()
	if m != nil {
		return m.consumer.Settle(eventIDs, v, upTo)
	}
	if s == nil {
		return nil, unknownConsumer(consumerID)
	}
	if v.Kind == Term {
		if err := s.keepTermed(eventIDs, upTo); err != nil {
			return nil, err
		}
	}
	settled, err := s.settle(eventIDs, v, upTo)
	if err != nil {
		return nil, err
	}
	if v.Kind == Ack {
		h.confirms.note(consumerID, settled)
	}
	return settled, nil
}

func unknownConsumer(id string) error {
	return bus.ErrUnknownConsumer.With("no consumer %.80q is connected: acknowledge while its stream is open", id)
}

func notDelivered(id, why string) error {
	err := bus.ErrNotDelivered.With("event %.80q %s", id, why)
	err.EventID = id
	return err
}

func (s *Stream) settle(ids []string, v Verdict, upTo bool) ([]Settled, error) {
	known := make(map[string]*bus.Event)
	for {
		if err := s.look(known, ids); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.closed || s.seen(known, ids) {
			break
		}
		s.mu.Unlock() // another has settled one meanwhile: look what it was
	}
	defer s.mu.Unlock()
	if s.closed {
		return nil, unknownConsumer(s.id)
	}
	for _, id := range ids {
		if s.flights.gaveUp(id) {
			return nil, notDelivered(id, "was given up after its last attempt")
		}
	}
	starved := s.starved || s.bounded()
	before, _ := s.flights.due()
	var settled []Settled
	for _, id := range ids {
		settled = s.settleOne(settled, id, known[id], v, upTo)
	}
	// Next sleeps until the deadline that was the first: a nak can bring one
	// forward, and so can a wip behind a nak with a long delay.
	if due, ok := s.flights.due(); starved || ok && due.Before(before) {
		s.notify()
	}
	return settled, nil
}

// gaveUp reports whether the event has had its last attempt, and whoever still
// wants to settle it comes too late.
func (fs *flights) gaveUp(id string) bool {
	if fs == nil {
		return false
	}
	if fl := fs.byID[id]; fl != nil {
		return fl.dying
	}
	return fs.dead.has(id)
}

// bounded reports whether the stream ends once nothing is in flight.
func (s *Stream) bounded() bool {
	for _, c := range s.cursors {
		if c.until == 0 {
			return false
		}
	}
	return true
}

// look finds the events that are not in flight, in memory or in the log, and
// refuses those that the stream has not carried. It reads without a lock, so
// what it finds in flight may be settled by another before it is by us.
func (s *Stream) look(known map[string]*bus.Event, ids []string) error {
	for _, id := range ids {
		if known[id] != nil || s.flying(id) {
			continue
		}
		e, err := s.find(id)
		if err != nil {
			return err
		}
		known[id] = e
	}
	return nil
}

// seen reports whether every id is in flight or known. The caller holds s.mu.
func (s *Stream) seen(known map[string]*bus.Event, ids []string) bool {
	for _, id := range ids {
		if known[id] == nil && (s.flights == nil || s.flights.byID[id] == nil && !s.flights.dead.has(id) && !s.flights.gone.has(id)) {
			return false
		}
	}
	return true
}

func (s *Stream) flying(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights != nil && s.flights.byID[id] != nil
}

func (s *Stream) find(id string) (*bus.Event, error) {
	s.mu.Lock()
	e := s.recent.find(id)
	if e == nil && s.flights != nil && s.flights.gone.has(id) {
		e = remnant(id, "", 0)
	}
	s.mu.Unlock()
	if e != nil {
		return e, nil
	}
	if s.hub.lookup == nil {
		return nil, notDelivered(id, "is not with this consumer")
	}
	for _, c := range s.cursors { // a publisher may choose one id in two namespaces
		e, err := s.hub.stored(c.feed.namespace, id)
		if err != nil && !refusal(err) {
			return nil, err
		}
		if err == nil && e != nil && s.carried(c, e) {
			return e, nil
		}
	}
	return nil, notDelivered(id, "was not delivered to this consumer: wanted the id of an event of its stream")
}

// refusal tells "there is no such event" from a log that cannot be read: who
// acknowledges must not hear that the event was never his when the disk failed.
func refusal(err error) bool {
	return errors.Is(err, bus.ErrUnknownEvent) || errors.Is(err, bus.ErrInvalidID)
}

// carried reports whether the stream has handed on this stored event of a place.
func (s *Stream) carried(c *cursor, e *bus.Event) bool {
	delivered := c.feed.delivered.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.carried(e, delivered)
}

// settleOne applies the verdict to one named event. The caller holds s.mu.
func (s *Stream) settleOne(settled []Settled, id string, e *bus.Event, v Verdict, upTo bool) []Settled {
	if s.flights == nil {
		return append(settled, Settled{Event: e, EventID: id})
	}
	if fl := s.flights.byID[id]; fl != nil {
		e = fl.event
		c := fl.cursor
		settled = append(settled, s.apply(fl, v))
		if upTo && c != nil {
			settled = s.settleBelow(settled, c, e.Index, v)
		}
		return settled
	}
	settled = append(settled, Settled{Event: e, EventID: id, Already: true, Refused: s.flights.termed.has(id)})
	if !upTo || e == nil {
		return settled
	}
	for _, c := range s.cursors {
		if c.feed.namespace == bus.Namespace(e.Subject) {
			settled = s.settleBelow(settled, c, e.Index, v)
		}
	}
	return settled
}

func (s *Stream) settleBelow(settled []Settled, c *cursor, index uint64, v Verdict) []Settled {
	for fl := c.unacked.first; fl != nil && fl.event.Index < index; {
		next := fl.next
		if fl.dying {
			fl = next
			continue
		}
		settled = append(settled, s.apply(fl, v))
		fl = next
	}
	return settled
}

// apply does what the verdict says to a flight.
func (s *Stream) apply(fl *flight, v Verdict) Settled {
	now := time.Now()
	switch v.Kind {
	case Nak:
		s.flights.refuse(fl, v.Delay, now)
	case Wip:
		s.flights.putOff(fl, now)
	case Term:
		s.flights.remove(fl)
		s.flights.termed.add(fl.event.Id)
	default:
		s.flights.remove(fl)
	}
	return Settled{Event: fl.event, EventID: fl.event.Id, attempt: fl.attempt}
}
