package delivery

import (
	"errors"
	"io"
	"slices"
	"strings"
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
	from, before, patterns := c.progress().Next, c.before, c.spec.Patterns
	c.mu.Unlock()
	if e == nil || e.Index >= before { // it is out, and so is all in front of it, or it is refused
		return nil, nil
	}
	var found []*bus.Event
	r := c.hub.src.Reader(c.spec.Namespace, from)
	defer r.Close()
	for asked := from; from < e.Index; {
		if from >= asked {
			var at uint64
			if at, asked = c.hub.src.Skip(c.spec.Namespace, from, patterns); at > from {
				from = at
				r.Seek(at)
				continue
			}
		}
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
			if e := &events[i]; c.wants(e.Subject) && !e.Waits() { // of what may be large no more is needed
				found = append(found, &bus.Event{Id: strings.Clone(e.Id), Subject: strings.Clone(e.Subject), Index: e.Index})
			}
			if len(found) > mostUnnamed {
				return nil, notDelivered(id, "was not delivered to this consumer: too many events in front of it were not acknowledged")
			}
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
// dead letter. With somebody connected, who takes next does that. A paused consumer
// gives nothing up. It does some at a time, and returns once that is durable; who wants
// to connect meanwhile waits for one. Errors: those of Options.Bury and of the Journal,
// and of reading the log; what is left is done by the next call.
func (c *Consumer) Tend() error {
	spent := c.overdue(time.Now())
	if len(spent) == 0 {
		return nil
	}
	if _, ok := c.hub.enter(); !ok {
		return ErrClosed
	}
	defer c.hub.leave()
	for _, a := range spent[:min(len(spent), mostTended)] {
		if err := c.giveUp(a.Index); err != nil {
			return err
		}
	}
	return nil
}

// mostTended is how many events one call gives up, so that others get their turn.
const mostTended = 64

func (c *Consumer) overdue(now time.Time) []Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent(now)
}

// spent are the events whose last attempt is over, while there is nobody to see it. The
// caller holds c.mu.
func (c *Consumer) spent(now time.Time) (spent []Attempt) {
	most := c.spec.Ack.Attempts
	if c.stream != nil || c.paused || c.end != nil || most == 0 || c.hub.bury == nil {
		return nil
	}
	for _, a := range c.at.Open {
		if _, dying := c.dying[a.Index]; a.Count >= most && !a.Due.After(now) && !dying && c.saying[a.Index] == 0 {
			spent = append(spent, a)
		}
	}
	return spent
}

// giveUp keeps an event as a dead letter, if it is still to be. What is gone from the
// log is only settled. Nobody joins meanwhile, nor is anything reset.
func (c *Consumer) giveUp(index uint64) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	spent := c.spent(time.Now())
	i := slices.IndexFunc(spent, func(a Attempt) bool { return a.Index == index })
	if i < 0 {
		c.mu.Unlock()
		return nil
	}
	a := spent[i]
	c.dying[index] = struct{}{} // who acknowledges it from now on comes too late
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
