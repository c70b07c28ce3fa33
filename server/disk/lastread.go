package disk

import (
	"context"
	"errors"
	"io"
	"time"

	"example.com/bus"
)

// lastReading is the one reading of the log that those who ask wait for.
type lastReading struct {
	done chan struct{} // closed at its end
	err  error         // why it has failed; who asks next begins anew
}

// errFrozen says that what was stored last will never be readable: the log has failed.
var errFrozen = errors.New("the log has failed")

// await returns when the last index of every subject is known. It takes no lock once
// it is, since a commit may hold that for as long as a disk takes.
func (l *lasts) await(ctx context.Context) error {
	for !l.known.Load() {
		r, err := l.begin()
		if err != nil {
			return err
		}
		if r == nil {
			continue // known meanwhile
		}
		select {
		case <-r.done:
			if r.err != nil {
				return r.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// begin starts a reading, or joins the one at hand; nil when there is no need of
// one. What is appended from here on
// goes into the table, what is before it is read into another.
func (l *lasts) begin() (*lastReading, error) {
	l.lock()
	defer l.unlock()
	switch {
	case l.over:
		return nil, l.tooMany()
	case l.stopped:
		return nil, l.of.waitError(errClosing)
	case l.known.Load(), l.reading != nil:
		return l.reading, nil
	}
	if l.of.log.Err() != nil {
		_, l.next = l.of.log.Bounds() // nothing comes any more
	}
	l.reading, l.table = &lastReading{done: make(chan struct{})}, newLastTable()
	go l.read(l.reading, l.next)
	return l.reading, nil
}

func (l *lasts) read(r *lastReading, to uint64) {
	table, lost, at, err := l.scan(to)
	l.lock()
	defer l.unlock()
	defer close(r.done)
	l.reading = nil
	if err == nil && l.table != nil && !table.join(l.table, l.most) {
		err = l.tooMany()
	}
	switch {
	case l.over || errors.Is(err, bus.ErrTooManySubjects):
		l.overflow()
		r.err = l.tooMany()
	case err != nil:
		l.table, r.err = nil, err
	case l.table == nil:
		// A commit was too much and was taken back, and what was stored beside it is not
		// known: who waits here begins anew.
	default:
		if at < to {
			l.next = at // what was to follow never became readable
		}
		l.table, l.lost = table, lost
		l.known.Store(true)
		l.size.Store(int64(len(table.subjects)))
	}
}

// join takes what was stored since the reading began; false when that is too much.
func (t *lastTable) join(newer *lastTable, most int) bool {
	for i, subject := range newer.subjects {
		place, apart := newer.places[uint32(i)]
		if newer.last[i] == 0 && place == 0 {
			continue
		}
		slot, ok := t.slots[subject]
		if !ok {
			slot = t.add(subject)
		}
		if place == 0 { // what was delivered last was stored before
			place = t.place(slot)
		}
		t.last[slot] = max(t.last[slot], newer.last[i]) // that of a delivery may be older
		if delete(t.places, slot); apart {
			t.places[slot] = place
		}
	}
	return len(t.subjects) <= most
}

// scan reads the log up to an index, and returns how far it came: less when the rest
// will never be readable. Damaged events are passed over, as readers do.
func (l *lasts) scan(to uint64) (t *lastTable, lost []bus.DamageError, at uint64, err error) {
	t = newLastTable()
	at, _ = l.of.log.Bounds()
	r := l.of.reader(at)
	defer r.Close()
	again := false // damage was said of at, and nothing was lost there
	for at < to && l.ctx.Err() == nil {
		events, err := r.Next()
		damage, damaged := errors.AsType[*bus.DamageError](err)
		switch {
		case err == nil:
			for i := range events {
				l.of.sees(events[i].Timing)
				t.note(&events[i])
			}
			at, again = events[len(events)-1].Index+1, false
		case damaged && damage.Next == 0:
			return t, noteLost(lost, damage), to, nil
		case damaged && damage.Next <= at && !again:
			again = true
			r.Seek(at)
		case damaged:
			lost, at, again = noteLost(lost, damage), max(damage.Next, at+1), false
			r.Seek(at)
		case isRemoved(err):
			removed, _ := bus.AsRemoved(err)
			at, again = removed.Next, false
			r.Seek(at)
		case errors.Is(err, io.EOF):
			if err := l.visible(l.ctx, at+1); errors.Is(err, errFrozen) {
				return t, lost, at, nil
			} else if err != nil {
				return nil, nil, 0, err
			}
		default:
			return nil, nil, 0, err
		}
		if len(t.subjects) > l.most {
			return nil, nil, 0, l.tooMany()
		}
	}
	if l.ctx.Err() != nil {
		return nil, nil, 0, l.of.waitError(errClosing)
	}
	return t, lost, at, nil
}

// place is where the newest event of a subject that was delivered stands, 0 when none
// was.
func (t *lastTable) place(slot uint32) uint64 {
	if at, apart := t.places[slot]; apart {
		return at
	}
	return t.last[slot]
}

func (t *lastTable) note(e *bus.Event) {
	slot, ok := t.slots[e.Subject]
	if !ok {
		slot = t.add(string([]byte(e.Subject))) // a block's texts are one string, which must not stay for it
	}
	t.set(slot, e.Index, e.Timing)
}

// maxLost is how many ranges of lost events are kept apart.
const maxLost = 16

func noteLost(lost []bus.DamageError, d *bus.DamageError) []bus.DamageError {
	if len(lost) < maxLost {
		return append(lost, *d)
	}
	last := &lost[maxLost-1]
	last.Next, last.AtMost = d.Next, true
	return lost
}

// visible waits until everything below next can be read: with a sync interval that
// is later than it is stored. errFrozen when it never will be.
func (l *lasts) visible(ctx context.Context, next uint64) error {
	log := l.of.log
	for {
		if _, end := log.Bounds(); end >= next {
			return nil
		}
		if log.Err() != nil {
			return errFrozen
		}
		step, cancel := context.WithTimeout(ctx, time.Second) // a log that fails meanwhile wakes nobody
		err := log.Wait(step, next-1)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return l.of.waitError(err)
		}
	}
}

// stop ends a reading and waits for its end. Nothing begins after it.
func (l *lasts) stop() {
	l.cancel()
	l.lock()
	l.stopped = true
	r := l.reading
	l.unlock()
	if r != nil {
		<-r.done
	}
}
