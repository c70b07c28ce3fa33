package delivery

import (
	"time"

	"example.com/bus"
)

// DeadLetter is an event that a consumer gave up.
type DeadLetter struct {
	Event    *bus.Event
	Consumer string // the name of a named one, the id of another
	Named    bool
	Attempts int
	Reason   string // one of the Reasons below
	At       time.Time
}

// Reasons of a DeadLetter.
const (
	ReasonAttempts = "attempts" // the last one was over
	ReasonTerm     = "term"     // the consumer said that it will never take it
)

// keepsDead reports whether what is given up of a namespace becomes a dead letter. An
// event of an inbox is kept nowhere, and a dead letter is one already: who reads those
// and never acknowledges would get letters of letters without end.
func (h *Hub) keepsDead(namespace string) bool {
	return h.bury != nil && namespace != bus.InboxNamespace && namespace != bus.DeadNamespace
}

// keepDead keeps the dead letters of a chunk, and settles their events once that
// is done, one after the other, so that they are kept in the order in which they
// were given up. It does not wait. What cannot be kept stays in flight and is
// tried again. The caller holds s.mu.
func (s *Stream) keepDead(dead []Delivery) {
	if s.hub.bury == nil {
		return
	}
	if s.flights.unkept = append(s.flights.unkept, dead...); s.flights.keeping {
		return
	}
	if _, ok := s.hub.enter(); !ok {
		return // the next server finds them where they are
	}
	s.flights.keeping = true
	go func() {
		defer s.hub.leave()
		for d := range s.eachUnkept {
			if !s.hub.keepsDead(d.Namespace) {
				continue
			}
			if s.keptDead(d) != nil {
				s.revive(stored{d.Event.Index, d.Event.Id}) // said by who could not keep it
			}
			s.consumer.triedToKeep(d.Event.Index)
		}
	}()
}

// eachUnkept yields what is to be kept until there is nothing more.
func (s *Stream) eachUnkept(yield func(Delivery) bool) {
	for {
		s.mu.Lock()
		if len(s.flights.unkept) == 0 {
			s.flights.unkept, s.flights.keeping = nil, false
			s.mu.Unlock()
			return
		}
		d := s.flights.unkept[0]
		s.flights.unkept = s.flights.unkept[1:]
		s.mu.Unlock()
		if !yield(d) {
			return
		}
	}
}

// keptDead keeps one dead letter, and settles its event.
func (s *Stream) keptDead(d Delivery) error {
	ref := stored{d.Event.Index, d.Event.Id}
	if c := s.consumer; c != nil {
		if err := c.bury(d.Event, d.Attempt, ReasonAttempts); err != nil {
			return err
		}
		return c.notes.commit(&decision{settled: []stored{ref}, reason: ReasonAttempts})
	}
	err := s.hub.bury(DeadLetter{Event: d.Event, Consumer: s.id, Attempts: d.Attempt, Reason: ReasonAttempts, At: time.Now()})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl := s.flights.at(ref); fl != nil {
		s.flights.remove(fl)
		s.flights.dead.add(ref.id)
	}
	s.notify()
	return nil
}

// keepTermed keeps what will never be taken as dead letters, before it is settled:
// what cannot be kept stays in flight. That somebody is at it puts its deadline
// off.
func (s *Stream) keepTermed(ids []string, upTo bool) error {
	if s.hub.bury == nil || s.flights == nil {
		return nil
	}
	out, err := s.settle(ids, Verdict{Kind: Wip}, upTo)
	if err != nil {
		return err
	}
	for _, one := range out {
		if one.Already || one.Event == nil || !s.hub.keepsDead(bus.Namespace(one.Event.Subject)) {
			continue
		}
		if err := s.hub.bury(DeadLetter{Event: one.Event, Consumer: s.id, Attempts: one.attempt, Reason: ReasonTerm, At: time.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// revive has a dead letter that could not be kept tried again.
func (s *Stream) revive(ref stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl := s.flights.at(ref); fl != nil {
		fl.dying = false
	}
}

// eachDying calls for each event of a named consumer that is becoming a dead letter.
func (s *Stream) eachDying(call func(index uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for fl := s.cursors[0].unacked.first; fl != nil; fl = fl.next {
		if fl.dying {
			call(fl.event.Index)
		}
	}
}

// triedToKeep notes that a dead letter is kept, or that it could not be: then
// whoever connects next tries again.
func (c *Consumer) triedToKeep(index uint64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.dying, index)
}

// obituary is a dead letter of an event that is not settled yet. It is kept once,
// however often its note fails behind it.
type obituary struct {
	done chan struct{} // closed when err is known
	err  error
}

// bury keeps a dead letter, unless it is kept.
func (c *Consumer) bury(e *bus.Event, attempts int, reason string) error {
	c.mu.Lock()
	l, there := c.letters[e.Index]
	if !there {
		l = &obituary{done: make(chan struct{})}
		c.letters[e.Index] = l
	}
	c.mu.Unlock()
	if there {
		<-l.done
		return l.err
	}
	l.err = c.hub.bury(DeadLetter{Event: e, Consumer: c.spec.Name, Named: true, Attempts: attempts, Reason: reason, At: time.Now()})
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(l.done)
	if l.err != nil {
		delete(c.letters, e.Index)
		return l.err
	}
	c.count.dead++
	return nil
}

// remember notes what a decision says of dead letters. The caller holds c.mu.
func (c *Consumer) remember(d *decision) {
	if d.state != nil || len(d.reopened) > 0 { // they may come again, and be settled
		c.given, c.termed = recentIDs{}, recentIDs{}
		clear(c.letters)
		return
	}
	for _, e := range d.settled {
		delete(c.letters, e.index)
		switch d.reason {
		case ReasonAttempts:
			c.given.add(e.id)
		case ReasonTerm:
			c.termed.add(e.id)
		}
	}
}
