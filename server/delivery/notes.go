package delivery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"example.com/bus"
)

// notes is what a named consumer has to write down. One note is under way at a
// time, and all who come meanwhile go into the next: so they are read back in the
// order in which they were acted on, and a thousand acknowledgements are a few
// commits.
type notes struct {
	consumer *Consumer
	mu       sync.Mutex // guards the rest; Consumer.mu is not taken under it
	waiting  []*decision
	writing  bool
	quiet    *sync.Cond // says that nobody is; its lock is mu
	ended    error      // no more is taken
	since    int        // bytes of notes since the last one with all there is
	begun    bool       // there was one
}

// decision is what one caller wants to be durable.
type decision struct {
	settled  []stored
	reason   string // for which what is settled became dead letters; "": it was acknowledged
	again    []retry
	state    *Progress // instead of where it is
	all      bool      // nothing is decided, but all there is said
	reopened []uint64
	done     chan struct{}
	err      error
}

// stored names an event of the log.
type stored struct {
	index uint64
	id    string
}

// retry is an event that is to be delivered again.
type retry struct {
	stored
	count int
	due   time.Time
}

// fullNoteBytes is how many bytes of notes there may be before one says all
// again, when that is smaller.
const fullNoteBytes = 4 << 10

// mostStateBytes is how much a note that says all may take: one that does not fit
// into an event of the journal could never be written, and no acknowledgement with
// it. Without it more notes are to be read back.
const mostStateBytes = 256 << 10

// commit has a decision written down and acted on.
func (n *notes) commit(d *decision) error {
	d.done = make(chan struct{})
	n.mu.Lock()
	if err := n.ended; err != nil {
		n.mu.Unlock()
		return err
	}
	n.waiting = append(n.waiting, d)
	if !n.writing {
		ctx, ok := n.consumer.hub.enter()
		if !ok {
			n.waiting = n.waiting[:len(n.waiting)-1]
			n.mu.Unlock()
			return ErrClosed
		}
		n.writing = true
		go n.write(context.WithoutCancel(ctx))
	}
	n.mu.Unlock()
	<-d.done
	return d.err
}

// stop refuses what comes with err and waits for what is under way; with nil it
// takes notes again.
func (n *notes) stop(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = err
	for n.writing {
		n.quiet.Wait()
	}
}

// write writes until nothing waits.
func (n *notes) write(ctx context.Context) {
	defer n.consumer.hub.leave()
	for {
		n.mu.Lock()
		batch := n.waiting
		n.waiting = nil
		if len(batch) == 0 {
			n.writing = false
			n.quiet.Broadcast()
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		note, added := n.compose(batch)
		err := n.consumer.hub.journal.Write(ctx, note)
		tooLarge := error(nil)
		if added && errors.Is(err, bus.ErrTooLarge) { // what is said now must not fail over what was said before
			note.State, tooLarge = nil, err
			err = n.consumer.hub.journal.Write(ctx, note)
		}
		if err == nil {
			n.consumer.act(batch)
			n.written(&note)
		}
		for _, d := range batch {
			if d.err = err; d.all && err == nil {
				d.err = tooLarge
			}
			close(d.done)
		}
	}
}

// compose makes one note of several decisions. added reports that it says all
// there is though no decision does.
func (n *notes) compose(batch []*decision) (note Note, added bool) {
	c := n.consumer
	note = Note{Namespace: c.spec.Namespace, Consumer: c.spec.Name}
	for _, d := range batch {
		if d.state != nil {
			note.State, note.Settled, note.Again, note.Reopened = d.state, nil, nil, nil
		}
		d.tell(&note)
	}
	note.Reopened = slices.DeleteFunc(note.Reopened, func(index uint64) bool { return settledBehind(batch, index) })
	asked := slices.ContainsFunc(batch, func(d *decision) bool { return d.all })
	if note.State == nil && (asked || n.wantsAll()) {
		c.mu.Lock()
		at := c.progress()
		all := at.clone()
		c.mu.Unlock()
		if asked || all.size() <= mostStateBytes {
			note.State, added = &all, true
		}
	}
	return note, added
}

// settledBehind reports whether an event was acknowledged behind the last word
// that reopens it: read back, reopening comes last.
func settledBehind(batch []*decision, index uint64) (settled bool) {
	for _, d := range batch {
		switch {
		case slices.Contains(d.reopened, index):
			settled = false
		case slices.ContainsFunc(d.settled, func(e stored) bool { return e.index == index }):
			settled = true
		}
	}
	return settled
}

// wantsAll reports whether the next note has to say all there is: the first does,
// and then one whenever the notes have grown to several times that.
func (n *notes) wantsAll() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.begun || n.since > fullNoteBytes
}

func (n *notes) written(note *Note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if note.State != nil {
		n.begun = true
		n.since = -2 * note.size() // so that saying all stays the smaller part
		return
	}
	if n.since += note.size(); !n.begun || n.since > 2*fullNoteBytes {
		n.begun, n.since = true, 0 // all there is was too large: not before as much again
	}
}

// act does what was written down.
func (c *Consumer) act(batch []*decision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.moved = time.Now()
	for _, d := range batch {
		c.remember(d)
		switch {
		case d.state != nil:
			c.before = 0 // from there on nothing was delivered
			c.move(*d.state)
		case len(d.reopened) > 0:
			at := c.progress()
			at = at.clone()
			for _, index := range d.reopened {
				at.reopen(index)
			}
			c.move(at)
		case c.stream != nil:
			c.stream.act(d)
		default:
			var note Note
			d.tell(&note)
			c.at.Apply(note)
		}
	}
	c.queue.wake()
}

// tell adds a decision to a note.
func (d *decision) tell(note *Note) {
	for _, e := range d.settled {
		note.Settled = append(note.Settled, e.index)
	}
	note.Reopened = append(note.Reopened, d.reopened...)
	for _, r := range d.again {
		note.Again = append(note.Again, Attempt{Index: r.index, Count: r.count, Due: r.due})
	}
}

// act does to a stream what was written down. Of what is no longer in flight, or
// not yet again, its progress knows.
func (s *Stream) act(d *decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range d.settled {
		fl := s.flights.at(e)
		if fl == nil {
			if c := s.cursors[0]; e.index >= c.pos {
				c.owed.settle(e.index)
			}
			continue
		}
		owner := fl.owner
		s.flights.remove(fl)
		if owner != nil { // it has room, or had waited for this to end
			owner.notify()
		}
	}
	for _, r := range d.again {
		fl := s.flights.at(r.stored)
		if c := s.cursors[0]; fl == nil && r.index >= c.pos {
			c.owed.again(Attempt{Index: r.index, Count: r.count, Due: r.due})
		}
		if fl != nil && !fl.dying && fl.attempt == r.count { // or it was delivered again meanwhile
			fl.give(nil)
			s.flights.reschedule(fl, r.due)
		}
	}
}

// at returns the flight of an event, nil when there is none.
func (fs *flights) at(e stored) *flight {
	for fl := fs.byID[e.id]; fl != nil; fl = fl.twin {
		if fl.event.Index == e.index {
			return fl
		}
	}
	return nil
}
