package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"example.com/bus"
)

// Limits of what is written as one commit.
const (
	transferEvents = 1000
	transferBytes  = 4 << 20
)

// transfer gathers events into commits of a sink. It is for one goroutine.
type transfer struct {
	sink     sink
	progress *progress
	there    subjects // of which nothing older is to be written

	namespace string
	pending   []bus.Event
	size      int

	stored, skipped, lost, older uint64
}

// add takes events, and writes when enough have come together. One that waits for its
// delivery waits on where it is written, unless that is due by now.
func (t *transfer) add(ctx context.Context, events []bus.Event) error {
	for i := range events {
		e := events[i]
		if e.Timing != nil {
			var err error
			if e, err = timedAnew(e); err != nil {
				return err
			}
		}
		if !e.Waits() && t.there.have(&events[i]) { // what waits becomes the newest when it is due
			t.older++
			continue
		}
		namespace := bus.Namespace(e.Subject)
		size := len(e.Payload)*4/3 + 512 // as JSON, at most
		if namespace != t.namespace || len(t.pending) == transferEvents || t.size+size > transferBytes {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
		t.namespace, t.size = namespace, t.size+size
		t.pending = append(t.pending, e)
	}
	return nil
}

// timedAnew returns an event as it is published where it is written.
func timedAnew(e bus.Event) (bus.Event, error) {
	if e.GivenIndex() != e.Index { // it was delivered, whatever the clock says here
		e.Timing = &bus.Timing{ExpiresAt: e.Timing.ExpiresAt}
	}
	err := e.SettleTiming(time.Now())
	return e, err
}

// flush writes what is pending.
func (t *transfer) flush(ctx context.Context) error {
	if len(t.pending) == 0 {
		return nil
	}
	did, err := t.sink.write(ctx, t.namespace, t.pending)
	t.stored, t.lost = t.stored+uint64(did.stored), t.lost+uint64(did.lost)
	if err != nil {
		return err
	}
	t.skipped += uint64(len(t.pending) - did.stored - did.lost)
	t.pending, t.size = t.pending[:0], 0
	t.progress.show(t.stored + t.skipped + t.lost + t.older)
	return nil
}

// leftOut says what was not written.
func (t *transfer) leftOut() string {
	if t.older == 0 {
		return fmt.Sprintf("skipped %d that were there", t.skipped)
	}
	return fmt.Sprintf("skipped %d that were there and %d that are older than what is there of their subject, which is all that is kept there", t.skipped, t.older)
}

// verdict is an error when events could not be put back: a log that has lost
// some to damage has their places and ids for ever.
func (t *transfer) verdict() error {
	if t.lost == 0 {
		return nil
	}
	return damageError(fmt.Errorf("%s could not be put back: this log has lost them to damage, and their ids are places in it at which nothing can stand again; write into another directory to have all of them", countOf(t.lost, false)))
}

// progress counts on a terminal, and says nothing elsewhere.
type progress struct {
	w     io.Writer
	what  string
	shown time.Time
}

// newProgress returns nil, which is ready to use and silent, when w is no
// terminal.
func newProgress(w io.Writer, what string) *progress {
	if !isTerminal(w) {
		return nil
	}
	return &progress{w: w, what: what, shown: time.Now()}
}

// show writes at most five times a second: a terminal may be far away.
func (p *progress) show(n uint64) {
	if p == nil || time.Since(p.shown) < 200*time.Millisecond {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.w, "\r%s %d events", p.what, n)
}

// clear makes room for the next line.
func (p *progress) clear() {
	if p != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
