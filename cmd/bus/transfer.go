package main

import (
	"cmp"
	"context"
	"errors"
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

	refused uint64 // that wait for their delivery, for which the target has no room or not the time
	why     error  // of the first of them
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

// flush writes what is pending. An event that is not let wait there keeps none of the
// others out.
func (t *transfer) flush(ctx context.Context) error {
	if len(t.pending) == 0 {
		return nil
	}
	err := t.write(ctx)
	if t.mayNotWait(err) {
		err = t.writeApart(ctx)
	}
	if err != nil {
		return err
	}
	t.pending, t.size = t.pending[:0], 0
	t.progress.show(t.stored + t.skipped + t.lost + t.older)
	return nil
}

func (t *transfer) write(ctx context.Context) error {
	did, err := t.sink.write(ctx, t.namespace, t.pending)
	t.stored, t.lost = t.stored+uint64(did.stored), t.lost+uint64(did.lost)
	if err == nil {
		t.skipped += uint64(len(t.pending) - did.stored - did.lost)
	}
	return err
}

// mayNotWait tells whether an event is refused because it would wait at the target:
// too many do, or it would be deleted before it is due.
func (t *transfer) mayNotWait(err error) bool {
	refusal, ok := bus.AsError(err)
	if !ok || errors.Is(err, bus.ErrTooManyDelayed) {
		return ok
	}
	return errors.Is(err, bus.ErrInvalidEvent) && refusal.Line > 0 && refusal.Line <= len(t.pending) && t.pending[refusal.Line-1].Waits()
}

// writeApart writes those that wait one by one, behind the others: they stand in the
// order in which they are due.
func (t *transfer) writeApart(ctx context.Context) error {
	var wait, others []bus.Event
	for _, e := range t.pending {
		if e.Waits() {
			wait = append(wait, e)
		} else {
			others = append(others, e)
		}
	}
	if t.pending = others; len(others) > 0 { // what is pending is what an error is about
		if err := t.write(ctx); err != nil {
			return err
		}
	}
	for i := range wait {
		t.pending = wait[i : i+1]
		err := t.write(ctx)
		if t.mayNotWait(err) {
			t.refused, t.why = t.refused+1, cmp.Or(t.why, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leftOut says what was not written.
func (t *transfer) leftOut() string {
	if t.older == 0 {
		return fmt.Sprintf("skipped %d that were there", t.skipped)
	}
	return fmt.Sprintf("skipped %d that were there and %d that are older than what is there of their subject, which is all that is kept there", t.skipped, t.older)
}

// verdict is an error when events could not be put back: those that may not wait, and
// those that the log has lost to damage: it has their places and ids for ever.
func (t *transfer) verdict() error {
	if t.refused > 0 {
		return fmt.Errorf("%s put off for later could not be stored, all others are there: %w; allow more (--max-delayed) or a longer age (--retention) at the target, or wait until they are due, and run it again", countOf(t.refused, false), t.why)
	}
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
