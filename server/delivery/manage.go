package delivery

import (
	"cmp"
	"time"
)

// Note writes all there is to the Journal, so that what it had before is not needed
// any more. It returns once that is durable.
func (c *Consumer) Note() error { return c.notes.commit(&decision{all: true}) }

// Reset puts the consumer at a place: what is owed there is delivered, also when it
// was settled before, and nothing else. It returns once that is
// durable. What is out goes on being out to nobody: its acknowledgement finds the
// new place.
func (c *Consumer) Reset(at Progress) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	return c.notes.commit(&decision{state: &at})
}

// Reopen has a settled event delivered once more, at its first attempt. It
// returns once that is durable. Of one that is owed anyway nothing changes.
func (c *Consumer) Reopen(index uint64) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	return c.notes.commit(&decision{reopened: []uint64{index}})
}

// Change gives the consumer other settings for acknowledgement, for what is
// delivered from now on. Its subjects stay, and what is out stays out.
func (c *Consumer) Change(ack AckSpec) error {
	if err := checkAck(&ack); err != nil {
		return err
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spec.Ack = ack
	if c.stream != nil {
		c.stream.change(ack)
		c.share()
		c.queue.all()
	}
	return nil
}

// change has a stream deliver by other settings from now on.
func (s *Stream) change(ack AckSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights.spec = ack.complete()
}

// Pause stops giving events out, or goes on. What is out stays out.
func (c *Consumer) Pause(paused bool) {
	c.mu.Lock()
	if c.paused && !paused {
		c.count.moved = time.Now() // nothing could be settled meanwhile
	}
	c.paused = paused
	c.mu.Unlock()
	c.queue.all()
}

// Forget takes a consumer out, once keep has written that down: no note of it
// comes behind, where it would be taken for one of the next consumer of that name,
// and nobody joins meanwhile. Its members end with end, as do those who acknowledge.
// With an error of keep it is as it was. keep is called with the consumer locked:
// it may ask for IdleFor and State and no more. A second call only calls keep.
func (h *Hub) Forget(c *Consumer, end error, keep func() error) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.notes.stop(end)
	if err := keep(); err != nil {
		c.notes.stop(nil)
		return err
	}
	h.mu.Lock()
	if key := (consumerKey{c.spec.Namespace, c.spec.Name}); h.named[key] == c {
		delete(h.named, key)
	}
	h.mu.Unlock()
	c.mu.Lock()
	c.end = cmp.Or(c.end, end)
	c.mu.Unlock()
	c.queue.all()
	return nil
}

// move puts the consumer at a place. Who is connected goes on from there. The
// caller holds c.mu, and c.turn is held.
func (c *Consumer) move(at Progress) {
	c.at = at.clone()
	if c.stream == nil {
		return
	}
	for m := range c.members {
		c.stream.release(m, wasTold)
	}
	c.stream.Close()
	c.stream = nil
	if err := c.open(); err != nil {
		c.end = err
	} else {
		c.share()
	}
	c.queue.all()
}

// stalledAfter is how long nothing has to be settled, at least, before a consumer
// counts as stalled.
const stalledAfter = time.Minute

// ConsumerState is what there is to say of a named consumer now.
type ConsumerState struct {
	Delivered   uint64 // last index that it has come to
	Floor       uint64 // last index up to which all is settled
	Unacked     int    // events that were delivered and are not settled
	Waiting     int    // of those, the ones that nobody has: they wait to go out again
	Behind      uint64 // indexes from Delivered to the end of the log, whether they match or not
	Oldest      uint64 // first index that is not settled; 0: none was delivered
	Connections int
	Redelivered uint64 // since the server was started, as is Dead
	Dead        uint64
	Paused      bool
	Stalled     bool // there is something to do, and for a minute, or three times the redelivery, nothing was settled; never of a paused one
}

// IdleFor is how long nobody has been connected; 0 while somebody is. It begins
// anew with the server.
func (c *Consumer) IdleFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.members) > 0 {
		return 0
	}
	return time.Since(c.count.left)
}

// State returns what there is to say of the consumer now.
func (c *Consumer) State() ConsumerState {
	_, next := c.hub.src.Bounds(c.spec.Namespace)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.progress()
	state := ConsumerState{
		Delivered: p.Next - 1, Floor: p.Floor() - 1, Unacked: len(p.Open), Behind: max(next, p.Next) - p.Next,
		Connections: len(c.members), Redelivered: c.count.redelivered, Dead: c.count.dead, Paused: c.paused,
	}
	held := 0
	if c.stream != nil {
		held = c.stream.heldByMembers(c.members)
	}
	state.Waiting = state.Unacked - held
	if len(p.Open) > 0 {
		state.Oldest = p.Open[0].Index
	}
	patience := max(stalledAfter, 3*cmp.Or(c.spec.Ack.Redelivery, defaultRedelivery))
	state.Stalled = !c.paused && (state.Unacked > 0 || state.Behind > 0) && time.Since(c.count.moved) > patience
	return state
}

func (s *Stream) heldByMembers(members map[*Member]struct{}) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range members {
		n += m.held
	}
	return n
}
