package delivery

import (
	"context"
	"sync"
)

// earlyAcks is how many acknowledgements are remembered while some expectation
// does not know its event yet. Between an event's visibility and Bind lie some
// microseconds; at half a million acknowledgements a second this is an eighth
// of a second.
const earlyAcks = 64 << 10

// confirms joins publishers that wait for acknowledgements with those who give
// them.
type confirms struct {
	mu      sync.Mutex // guards the rest, and the confirmations
	waiting map[string][]*Confirmation
	unbound int        // expectations whose event is not known yet
	early   []earlyAck // the newest acknowledgements, oldest first; empty while unbound is 0
	base    uint64     // number of early[0], counted since the start
}

// earlyAck may be meant for an expectation that is not bound yet.
type earlyAck struct{ event, consumer string }

// Confirmation waits until a number of distinct consumers have acknowledged one
// event.
type Confirmation struct {
	all    *confirms
	wanted int
	since  uint64 // number of the first acknowledgement that may be its
	id     string // "" before Bind
	who    map[string]struct{}
	closed bool
	done   chan struct{} // closed once wanted have acknowledged
}

// Expect announces, before an event is appended, that n distinct consumers
// shall acknowledge it. The caller binds it to the event's id right after the
// append, and closes it in any case.
func (h *Hub) Expect(n int) *Confirmation {
	c := &Confirmation{all: &h.confirms, wanted: n, done: make(chan struct{})}
	if n <= 0 {
		close(c.done)
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.all.unbound++
	c.since = c.all.base + uint64(len(c.all.early))
	return c
}

// Bind says which event it is about. Acknowledgements that came since Expect
// count. A second call, or one after Close, does nothing.
func (c *Confirmation) Bind(eventID string) {
	a := c.all
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.id != "" || c.closed || eventID == "" {
		return
	}
	c.id = eventID
	for _, ack := range a.early[max(c.since, a.base)-a.base:] {
		if ack.event == eventID {
			c.count(ack.consumer)
		}
	}
	if a.waiting == nil {
		a.waiting = make(map[string][]*Confirmation)
	}
	a.waiting[eventID] = append(a.waiting[eventID], c)
	a.bound()
}

// bound counts an unbound expectation out. Without any, nobody can need the
// early acknowledgements.
func (a *confirms) bound() {
	if a.unbound--; a.unbound == 0 {
		a.base += uint64(len(a.early))
		a.early = nil
	}
}

// count takes one consumer's acknowledgement. The caller holds all.mu.
func (c *Confirmation) count(consumer string) {
	if c.who == nil {
		c.who = make(map[string]struct{}, 1)
	}
	before := len(c.who)
	c.who[consumer] = struct{}{}
	if before < c.wanted && len(c.who) >= c.wanted {
		close(c.done)
	}
}

// note counts acknowledgements for whom it may concern.
func (a *confirms) note(consumer string, settled []Settled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unbound == 0 && len(a.waiting) == 0 {
		return
	}
	for i := range settled {
		if settled[i].Refused {
			continue
		}
		id := settled[i].EventID
		for _, c := range a.waiting[id] {
			c.count(consumer)
		}
		if a.unbound > 0 {
			a.remember(earlyAck{id, consumer})
		}
	}
}

// remember keeps the last earlyAcks acknowledgements, and up to as many older
// ones, so that dropping costs little.
func (a *confirms) remember(ack earlyAck) {
	if len(a.early) == 2*earlyAcks {
		n := copy(a.early, a.early[earlyAcks:])
		clear(a.early[n:])
		a.early = a.early[:n]
		a.base += earlyAcks
	}
	a.early = append(a.early, ack)
}

// Wait returns how many distinct consumers have acknowledged, once they are
// enough; before that, with ctx's error when it ends.
func (c *Confirmation) Wait(ctx context.Context) (count int, err error) {
	select {
	case <-c.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if len(c.who) >= c.wanted {
		err = nil // the last one came with the end of ctx
	}
	return len(c.who), err
}

// Close stops counting. A second call does nothing.
func (c *Confirmation) Close() {
	a := c.all
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.id == "" {
		a.bound()
		return
	}
	kept := a.waiting[c.id][:0]
	for _, other := range a.waiting[c.id] {
		if other != c {
			kept = append(kept, other)
		}
	}
	if a.waiting[c.id] = kept; len(kept) == 0 {
		delete(a.waiting, c.id)
	}
}
