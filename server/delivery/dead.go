package delivery

import (
	"time"

	"example.com/bus"
)

// DeadLetter is an event that a consumer gave up.
type DeadLetter struct {
	Event    *bus.Event
	Consumer string // the name of a named one, the id of another
	Attempts int
	Reason   string // one of the Reasons below
	At       time.Time
}

// Reasons of a DeadLetter.
const (
	ReasonAttempts = "attempts" // the last one was over
	ReasonTerm     = "term"     // the consumer said that it will never take it
)

// giveUp keeps dead letters, and settles their events once they are kept. It does
// not wait. What cannot be kept stays in flight and is tried again.
func (c *Consumer) giveUp(dead []Delivery) {
	if _, ok := c.hub.enter(); !ok {
		return // the next server finds them where they are
	}
	go func() {
		defer c.hub.leave()
		for _, d := range dead {
			if c.bury(d.Event, d.Attempt, ReasonAttempts) != nil {
				return // said by who could not keep it
			}
			c.notes.commit(&decision{settled: []stored{{d.Event.Index, d.Event.Id}}})
		}
	}()
}

// bury keeps a dead letter.
func (c *Consumer) bury(e *bus.Event, attempts int, reason string) error {
	if err := c.hub.bury(DeadLetter{Event: e, Consumer: c.spec.Name, Attempts: attempts, Reason: reason, At: time.Now()}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.dead++
	c.given.add(e.Id)
	if reason == ReasonTerm {
		c.termed.add(e.Id)
	}
	return nil
}
