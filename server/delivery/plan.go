package delivery

import (
	"errors"
	"time"

	"example.com/bus"
)

// Settle is Hub.Settle for a named consumer: from any connection, or from none.
// It returns once what was said is durable, so that what was acknowledged is
// never delivered again, whatever crashes. Errors beside those of Hub.Settle: the
// Journal's, after which nothing has changed.
func (c *Consumer) Settle(eventIDs []string, v Verdict, upTo bool) ([]Settled, error) {
	known := make(map[string]*bus.Event)
	for {
		if err := c.look(known, eventIDs); err != nil {
			return nil, err
		}
		var unnamed []*bus.Event
		if upTo {
			var err error
			if unnamed, err = c.unnamed(known, eventIDs[0]); err != nil {
				return nil, err
			}
		}
		p, ok, err := c.plan(known, eventIDs, v, upTo, unnamed)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		defer p.letGo()
		if err := p.read(); err != nil {
			return nil, err
		}
		return p.said, c.carryOut(p)
	}
}

// plan is what a verdict comes to.
type plan struct {
	decision
	of        *Consumer
	verdict   Verdict
	delivered uint64    // of the feed
	at        *Progress // where the consumer is, once it was asked
	said      []Settled
	dying     []Delivery // to be dead letters
	unread    []uint64   // settled too, but it is not known yet what they are
	held      []uint64   // nobody gives them up before this is carried out
}

// hold keeps from being given up what is spoken of, while there is no stream whose
// flights would say so. The caller holds c.mu.
func (p *plan) hold() {
	if p.of.stream != nil {
		return
	}
	p.held = append(p.held, p.unread...)
	for _, e := range p.settled {
		p.held = append(p.held, e.index)
	}
	for _, r := range p.again {
		p.held = append(p.held, r.index)
	}
	for _, index := range p.held {
		p.of.saying[index]++
	}
}

func (p *plan) letGo() {
	if len(p.held) == 0 {
		return
	}
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	for _, index := range p.held {
		if p.of.saying[index]--; p.of.saying[index] == 0 {
			delete(p.of.saying, index)
		}
	}
}

// look finds the events that are not in flight in the log.
func (c *Consumer) look(known map[string]*bus.Event, ids []string) error {
	for _, id := range ids {
		if known[id] != nil || c.flying(id) {
			continue
		}
		e, err := c.hub.stored(c.spec.Namespace, id)
		if err != nil && !refusal(err) {
			return err
		}
		if err != nil && c.wasGiven(id) {
			continue
		}
		if err != nil && c.wasRemoved(id) {
			e, err = remnant(id, c.spec.Namespace, 0), nil
		}
		if err != nil || !isRemnant(e) && !c.wants(e.Subject) || e.Waits() {
			return notDelivered(id, "is none of this consumer")
		}
		known[id] = e
	}
	return nil
}

func (c *Consumer) flying(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream != nil && c.stream.flying(id)
}

func (c *Consumer) wasGiven(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.given.has(id)
}

func (c *Consumer) wants(subject string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.spec.Patterns {
		if c.spec.Patterns[i].Match(subject) {
			return true
		}
	}
	return false
}

// plan says what the verdict means for each event. ok is false when one has left
// its flight since it was looked for.
func (c *Consumer) plan(known map[string]*bus.Event, ids []string, v Verdict, upTo bool, unnamed []*bus.Event) (p *plan, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p = &plan{of: c, verdict: v}
	if s := c.stream; s != nil {
		p.delivered = s.cursors[0].feed.delivered.Load()
		s.mu.Lock()
		defer s.mu.Unlock()
		before, _ := s.flights.due()
		defer func() { // those who wait sleep until what was the first deadline
			if due, ok := s.flights.due(); ok && due.Before(before) {
				c.queue.wake()
			}
		}()
	}
	for _, id := range ids {
		index := uint64(0)
		switch fl := c.flight(id); {
		case fl != nil && c.isDying(fl):
			return nil, false, notDelivered(id, "was given up after its last attempt")
		case fl != nil:
			p.take(fl)
			index = fl.event.Index
		case known[id] != nil:
			if err := p.takeStored(known[id]); err != nil {
				return nil, false, err
			}
			index = known[id].Index
		case c.given.has(id):
			return nil, false, notDelivered(id, "was given up after its last attempt")
		default:
			return nil, false, nil
		}
		if upTo {
			p.takeBelow(index)
			p.takeUnnamed(index, unnamed)
		}
	}
	p.hold()
	return p, true, nil
}

// isDying reports whether an event is becoming a dead letter, be it by a stream that is
// gone: who connects meanwhile has it in flight anew. The caller holds c.mu and Stream.mu.
func (c *Consumer) isDying(fl *flight) bool {
	_, dying := c.dying[fl.event.Index]
	return fl.dying || dying
}

// flight returns what is in flight under an id. The caller holds c.mu and
// Stream.mu.
func (c *Consumer) flight(id string) *flight {
	if c.stream == nil {
		return nil
	}
	return c.stream.flights.byID[id]
}

// progress is where the consumer is. Most acknowledgements do not need it, and a
// large window makes it long. The caller holds c.mu and Stream.mu.
func (p *plan) progress() *Progress {
	if p.at == nil {
		at := p.of.at
		if s := p.of.stream; s != nil {
			at = s.standing(p.delivered)
		}
		p.at = &at
	}
	return p.at
}

// take says what the verdict means for an event that is out.
func (p *plan) take(fl *flight) {
	c, v, now, e := p.of, p.verdict, time.Now(), fl.event
	p.said = append(p.said, Settled{Event: e, EventID: e.Id})
	fs := c.stream.flights
	switch {
	case v.Kind == Wip:
		fs.putOff(fl, now)
		return
	case v.Kind == Nak && fs.spent(fl):
		fl.give(nil) // or who has it, and no more room, would not be called
		fs.reschedule(fl, now)
		c.queue.wake()
		return
	case v.Kind == Nak:
		fl.attempt = c.tried(e.Index, fl.attempt)
		p.again = append(p.again, retry{stored{e.Index, e.Id}, fl.attempt, fl.soonest(v.Delay, now)})
	case v.Kind == Term:
		p.dying = append(p.dying, Delivery{Event: e, Attempt: fl.attempt})
		p.settled = append(p.settled, stored{e.Index, e.Id})
	default:
		p.settled = append(p.settled, stored{e.Index, e.Id})
	}
	// It may not time out, nor go to another, while this is written down.
	fl.noted = true
	fs.putOff(fl, now)
}

// takeStored says what it means for one that is not: it was settled, or nobody is
// connected, or an earlier server has delivered it.
func (p *plan) takeStored(e *bus.Event) error {
	c, v := p.of, p.verdict
	attempt, owed := p.progress().owes(e.Index)
	_, dying := c.dying[e.Index]
	switch {
	case owed && dying:
		return notDelivered(e.Id, "was given up after its last attempt")
	case !owed && c.given.has(e.Id) && !c.termed.has(e.Id): // it may be owed again: dead letters are retried
		return notDelivered(e.Id, "was given up after its last attempt")
	case !owed:
		p.said = append(p.said, Settled{Event: e, EventID: e.Id, Already: true, Refused: c.termed.has(e.Id)})
		return nil
	case attempt == nil && e.Index >= c.before:
		return notDelivered(e.Id, "was not delivered to this consumer yet")
	case attempt == nil:
		attempt = &Attempt{Count: 1}
	}
	p.said = append(p.said, Settled{Event: e, EventID: e.Id})
	ref, count := stored{e.Index, e.Id}, c.tried(e.Index, attempt.Count)
	switch now := time.Now(); v.Kind {
	case Wip:
		p.again = append(p.again, retry{ref, count, now.Add(c.spec.Ack.wait(count))})
	case Nak:
		due := now.Add(v.Delay)
		if most := c.spec.Ack.Attempts; most > 0 && count >= most {
			due = now // it was the last one
		}
		p.again = append(p.again, retry{ref, count, due})
	case Term:
		p.dying = append(p.dying, Delivery{Event: e, Attempt: attempt.Count})
		fallthrough
	default:
		p.settled = append(p.settled, ref)
	}
	return nil
}

// tried is how often an event was delivered. Who says something of one that an
// earlier server may have delivered was given it, though nothing is known of that.
func (c *Consumer) tried(index uint64, count int) int {
	if index < c.before {
		return max(count, 1)
	}
	return count
}

// takeBelow takes all that was delivered in front of an event.
func (p *plan) takeBelow(index uint64) {
	flying := make(map[uint64]bool)
	if s := p.of.stream; s != nil {
		for fl := s.cursors[0].unacked.first; fl != nil && fl.event.Index < index; fl = fl.next {
			flying[fl.event.Index] = true
			if !p.of.isDying(fl) {
				p.take(fl)
			}
		}
	}
	for _, a := range p.progress().Open {
		if _, dying := p.of.dying[a.Index]; a.Index < index && !flying[a.Index] && !dying {
			p.unread = append(p.unread, a.Index)
		}
	}
}

// takeUnnamed takes what an earlier server may have delivered in front of an event. Of
// what this one has delivered meanwhile, or noted, takeBelow knows.
func (p *plan) takeUnnamed(index uint64, unnamed []*bus.Event) {
	at := p.progress()
	for _, e := range unnamed {
		if _, owed := at.owes(e.Index); owed && e.Index >= at.Next && e.Index < index {
			p.said = append(p.said, Settled{Event: e, EventID: e.Id})
			p.settled = append(p.settled, stored{e.Index, e.Id})
		}
	}
}

// read finds out what the events are that an acknowledgement takes along while
// nobody is connected. One that is gone is settled all the same.
func (p *plan) read() error {
	c := p.of
	for _, index := range p.unread {
		ref := stored{index: index}
		r := c.hub.src.Reader(c.spec.Namespace, index)
		events, err := r.Next()
		r.Close()
		_, damage := errors.AsType[*DamageError](err)
		if _, removed := bus.AsRemoved(err); err != nil && !damage && !removed {
			return err
		}
		if err == nil && events[0].Index == index {
			ref.id = events[0].Id // by which it is found, should somebody take it meanwhile
			p.said = append(p.said, Settled{Event: &events[0], EventID: ref.id})
		}
		p.settled = append(p.settled, ref)
	}
	return nil
}

// carryOut makes a plan durable.
func (c *Consumer) carryOut(p *plan) error {
	for _, d := range p.dying {
		if err := c.bury(d.Event, d.Attempt, ReasonTerm); err != nil {
			return err
		}
	}
	if p.verdict.Kind == Term {
		p.reason = ReasonTerm
	}
	if len(p.settled)+len(p.again) > 0 {
		if err := c.notes.commit(&p.decision); err != nil {
			return err
		}
	}
	if p.verdict.Kind == Ack {
		c.hub.confirms.note(c.spec.Name, p.said)
	}
	return nil
}
