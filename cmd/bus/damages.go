package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"example.com/bus"
)

// damages tells of events that cannot be read, and remembers that there were
// some. It is for many goroutines, but for lost.
type damages struct {
	talk io.Writer
	skip bool
	lost func(lostEvents) error // of dump: writes a line; nil: nobody wants to know

	mu      sync.Mutex // guards all below
	found   int
	told    int
	removed int // on purpose
	spare   int // of these: that a newer event, or the time, had made needless
}

// compacted tells whether events were found to be removed because they were needless.
func (d *damages) compacted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.spare > 0
}

// any tells whether there were any at all, or events that were removed on purpose.
func (d *damages) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found+d.told+d.removed > 0
}

// damage tells whether there was any that nobody wanted.
func (d *damages) damage() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found+d.told > 0
}

// lostEvents are gone for good: the log was repaired, and says so itself. That
// is nothing to stop for.
type lostEvents struct {
	Namespace  string    `json:"namespace"`
	From       uint64    `json:"from"`
	Next       uint64    `json:"next"`              // first index behind them
	AtMost     bool      `json:"at_most,omitempty"` // not all of them need have been there
	Reason     string    `json:"reason"`
	RepairedAt time.Time `json:"repaired_at"`
}

func newLost(d *bus.DamageError) lostEvents {
	return lostEvents{Namespace: d.Namespace, From: d.From, Next: d.Next, AtMost: d.AtMost, Reason: "damage", RepairedAt: d.Repaired}
}

// gone tells of events that are lost for good, in words and to whom it concerns.
func (d *damages) gone(l lostEvents) error {
	d.mu.Lock()
	d.told++
	d.mu.Unlock()
	fmt.Fprintf(d.talk, "bus: gap in namespace %s: %s lost to damage, repaired %s\n",
		oneLine(l.Namespace), lost(wound{From: l.From, Next: l.Next, AtMost: l.AtMost}), l.RepairedAt.UTC().Format(time.RFC3339))
	if d.lost == nil {
		return nil
	}
	return d.lost(l)
}

// passed notes that events were removed on purpose, which is nothing to stop for, and
// tells of those that somebody has deleted.
func (d *damages) passed(what error, deleted bool) {
	d.mu.Lock()
	d.removed++
	if isSpare(what) {
		d.spare++
	}
	d.mu.Unlock()
	if deleted {
		fmt.Fprintln(d.talk, "bus: passed over:", oneLine(what.Error()))
	}
}

// isRemoved tells of an event that was removed on purpose, here or at a server.
func isRemoved(err error) bool {
	_, removed := bus.AsRemoved(err)
	return removed || errors.Is(err, bus.ErrEventDeleted) || errors.Is(err, bus.ErrEventRemoved)
}

// isSpare tells of one that nobody has asked to be removed.
func isSpare(err error) bool {
	removed, here := bus.AsRemoved(err)
	return here && removed.Reason != bus.RemovedDeleted || errors.Is(err, bus.ErrEventRemoved)
}

// met returns the error unless it is to be skipped.
func (d *damages) met(err error) error {
	if !d.skip {
		return damageError(hint(err, "bus verify lists what is damaged; --skip-damaged goes on with what is good"))
	}
	d.mu.Lock()
	d.found++
	d.mu.Unlock()
	fmt.Fprintln(d.talk, "bus: skipped:", oneLine(err.Error()))
	return nil
}

// verdict is the error at the end of work that has otherwise succeeded.
func (d *damages) verdict() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found == 0 {
		return nil
	}
	return damageError(fmt.Errorf("events are missing: damage was skipped in %d places; see above", d.found))
}
