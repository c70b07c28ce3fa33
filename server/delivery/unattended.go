package delivery

import (
	"errors"
	"io"
	"slices"
	"time"

	"example.com/bus"
)

// This file is for a named consumer that nobody is connected to: what an earlier
// server may have delivered, and what has had its last attempt.

// mostUnnamed bounds how many events an acknowledgement may take along that this
// server has not delivered.
const mostUnnamed = 100_000

// unnamed are the events in front of one that was acknowledged with all before it,
// which an earlier server may have delivered and this one has not: there is no note of
// a first delivery. It reads without a lock, and who uses it looks again what is owed.
func (c *Consumer) unnamed(known map[string]*bus.Event, id string) ([]*bus.Event, error) {
	e := known[id]
	c.mu.Lock()
	from, before := c.progress().Next, c.before
	c.mu.Unlock()
	if e == nil || e.Index >= before { // it is out, and so is all in front of it, or it is refused
		return nil, nil
	}
	var found []*bus.Event
	r := c.hub.src.Reader(c.spec.Namespace, from)
	defer r.Close()
	for from < e.Index {
		events, err := r.Next()
		if next := passable(err); next > from {
			from = next
			r.Seek(next)
			continue
		}
		if err == io.EOF || isDamage(err) { // nobody can say more
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range events {
			if from = events[i].Index + 1; from > e.Index {
				break
			}
			if c.wants(events[i].Subject) && !events[i].Waits() {
				found = append(found, own(&events[i]))
			}
		}
		if len(found) > mostUnnamed {
			return nil, notDelivered(id, "was not delivered to this consumer: too many events in front of it were not acknowledged")
		}
	}
	return found, nil
}

// passable is where to go on behind what cannot be read and never will be; 0: err is
// another.
func passable(err error) uint64 {
	if damage, ok := errors.AsType[*DamageError](err); ok {
		return damage.Next
	}
	if removed, ok := bus.AsRemoved(err); ok {
		return removed.Next
	}
	return 0
}

// Tend gives up what has had its last attempt while nobody is connected: it becomes a
// dead letter. With somebody connected, who takes next does that, and it is not given
// out meanwhile. A paused consumer gives nothing up. It returns once what it did is
// durable. Errors: those of Options.Bury and of the Journal, and of reading the log;
// what is left is done by the next call.
func (c *Consumer) Tend() error {
	if len(c.overdue(time.Now())) == 0 {
		return nil
	}
	if _, ok := c.hub.enter(); !ok {
		return ErrClosed
	}
	defer c.hub.leave()
	c.turn.Lock() // nobody joins, nor is anything reset
	defer c.turn.Unlock()
	for _, a := range c.overdue(time.Now()) {
		if err := c.giveUp(a); err != nil {
			return err
		}
	}
	return nil
}

// overdue are the events whose last attempt is over, while there is nobody to see it.
func (c *Consumer) overdue(now time.Time) (spent []Attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := c.spec.Ack.Attempts
	if c.stream != nil || c.paused || c.end != nil || most == 0 || c.hub.bury == nil {
		return nil
	}
	for _, a := range c.at.Open {
		if _, dying := c.dying[a.Index]; a.Count >= most && !a.Due.After(now) && !dying {
			spent = append(spent, a)
		}
	}
	return spent
}

// giveUp keeps an event as a dead letter. What is gone from the log is only settled.
func (c *Consumer) giveUp(a Attempt) error {
	c.mu.Lock()
	if _, owed := c.at.owes(a.Index); !owed { // acknowledged meanwhile
		c.mu.Unlock()
		return nil
	}
	c.dying[a.Index] = struct{}{} // who acknowledges it from now on comes too late
	c.mu.Unlock()
	defer c.triedToKeep(a.Index)
	d := &decision{settled: []stored{{index: a.Index}}}
	e, err := c.readOne(a.Index)
	if err != nil {
		return err
	}
	if e != nil {
		if err := c.bury(e, a.Count, ReasonAttempts); err != nil {
			return err
		}
		d.settled[0].id, d.reason = e.Id, ReasonAttempts
	}
	return c.notes.commit(d)
}

// readOne returns the event at an index, nil when it is gone.
func (c *Consumer) readOne(index uint64) (*bus.Event, error) {
	r := c.hub.src.Reader(c.spec.Namespace, index)
	defer r.Close()
	events, err := r.Next()
	if passable(err) > 0 || isDamage(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(events, func(e bus.Event) bool { return e.Index == index }); i >= 0 {
		return own(&events[i]), nil
	}
	return nil, nil
}

func isDamage(err error) bool {
	_, damage := errors.AsType[*DamageError](err)
	return damage
}
