package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"example.com/bus"
)

// mirror keeps a target in step with a source, each namespace by itself: one that
// cannot be written does not hold up the others.
type mirror struct {
	log    *slog.Logger
	feeds  []*feed
	every  time.Duration // between two looks at how far the source is
	maxLag time.Duration // more than that is told, and is not ready
}

// run returns when ctx ends, or a namespace cannot go on.
func (m *mirror) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, f := range m.feeds {
		all.Go(func() {
			if err := f.run(ctx); err != nil {
				cancel(err)
			}
		})
		all.Go(func() { f.watch(ctx, m.every, m.maxLag) })
	}
	all.Wait()
	return context.Cause(ctx)
}

// feed mirrors one namespace. Its methods but watch and what that calls are for
// one goroutine.
type feed struct {
	wanted wanted
	log    *slog.Logger

	src    followed
	target followed // what the sink has
	sink   sink
	hurt   *damages // what was found to be missing at the target

	source, drain *side
	lag           *lag
	begun         chan struct{} // room for one: it is known anew where the target stands
	last          *bus.Event    // the newest that the target is known to have
	at            uint64        // where the target ended when it was last written
	end           tail          // where it has to end for the next write, of a server
	stored        *transfer     // what was written so far
}

// run finds out where the target stands, goes on from there, and does so again
// when one of the two is found to be another than before.
func (f *feed) run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; failures++ {
		p, err := f.begin(ctx)
		if err != nil {
			return err
		}
		err = f.copyFrom(ctx, p)
		moved, isMoved := errors.AsType[*movedError](err)
		_, writing := errors.AsType[*targetError](err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isMoved:
			f.log.Warn("looking anew where the target stands", "reason", oneLine(moved.text))
		case !writing && f.source.passes(err):
			f.source.isAway(err)
		default:
			return err
		}
		if !pause(ctx, waitAfter(min(failures, 3), nil)) { // a source that moves at every look is no reason to spin
			break
		}
	}
	return context.Cause(ctx)
}

// begin asks both ends until they answer, and says where it goes on.
func (f *feed) begin(ctx context.Context) (place, error) {
	p, err := resume(ctx, f.src, f.target, f.wanted, f.hurt)
	for failures := 0; err != nil; failures++ {
		at := f.source
		if _, there := errors.AsType[*targetError](err); there {
			at = f.drain
		}
		if ctx.Err() == nil && !at.passes(err) {
			return p, err
		}
		at.isAway(err)
		if !pause(ctx, waitAfter(failures, err)) {
			return p, context.Cause(ctx)
		}
		p, err = resume(ctx, f.src, f.target, f.wanted, f.hurt)
	}
	f.source.isBack()
	f.drain.isBack()
	f.went(p)
	return p, nil
}

// went takes a place for where the target is, and tells of it.
func (f *feed) went(p place) {
	f.last, f.at = p.last, p.at+p.behind
	f.end = tail{index: f.at}
	f.lag.restart(0, time.Time{})
	if p.last != nil {
		f.lag.restart(p.last.Index, p.last.CreatedAt)
	}
	select {
	case f.begun <- struct{}{}:
	default:
	}
	f.log.Info("mirroring", "from_index", max(p.from, 1))
	if p.spared {
		f.log.Info("events were removed at the target: what it has was compared up to there")
	}
	switch {
	case p.unsure:
		f.log.Warn("the target has lost events to damage; they are not written again, for they would stand behind later ones")
	case p.behind > 0 || p.others > 0:
		f.log.Warn("the target has events that were not asked of the source, or that it no longer has; they stay where they are, and what is mirrored goes behind them", "behind", p.behind, "between", p.others)
	}
}

// copyFrom reads and writes side by side, until one of them ends. What was read
// before the source ended is written.
func (f *feed) copyFrom(parent context.Context, p place) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	read, ended := newAhead(), make(chan error, 1)
	go func() {
		err := f.src.follow(ctx, f.wanted, p.from, p.last, func(b batch) error { return read.put(ctx, b) })
		close(read.arrived)
		ended <- err
	}()
	err := atTarget(f.writeArrived(ctx, read))
	cancel(err)
	if reading := <-ended; err == nil {
		err = reading
	}
	return err
}

// writeArrived waits for events, and commits all that are there.
func (f *feed) writeArrived(ctx context.Context, read *ahead) error {
	f.stored.sink, f.stored.pending, f.stored.size = f, f.stored.pending[:0], 0
	for b := range read.arrived {
		f.source.isBack()
		f.lag.seen(b.upTo)
		if err := f.stored.add(ctx, b.events); err != nil {
			return err
		}
		read.done(b)
		if len(read.arrived) > 0 {
			continue
		}
		if err := f.stored.flush(ctx); err != nil {
			return err
		}
		f.lag.upTo(b.upTo)
	}
	return f.stored.flush(ctx)
}

// write is that of the sink, with patience. To send the same events again is
// harmless: the target knows their ids.
func (f *feed) write(ctx context.Context, namespace string, events []bus.Event) (all written, err error) {
	if ctx.Err() != nil {
		return all, context.Cause(ctx)
	}
	tried := false
	err = f.drain.patiently(ctx, func() error {
		if tried {
			if err := f.stillThere(ctx); err != nil {
				return err
			}
		}
		tried = true
		did, err := f.writeBehind(ctx, namespace, events)
		all.stored, all.lost, all.last = all.stored+did.stored, did.lost, did.last
		return err
	})
	if err != nil {
		return all, err
	}
	newest := events[len(events)-1]
	f.lag.wrote(all.stored)
	f.lag.reached(newest.Index, newest.CreatedAt)
	f.strangers(all, len(events))
	f.last = &bus.Event{Id: newest.Id, Index: newest.Index}
	return all, nil
}

// mostTries is how often a write to a target that somebody else writes to is tried
// before it goes in wherever that ends by then.
const mostTries = 8

// writeBehind is that of the sink, if the target ends where it should. A server may
// have been put back from an older copy, or made anew, without anybody noticing, and
// would get events without those before them.
func (f *feed) writeBehind(ctx context.Context, namespace string, events []bus.Event) (all written, err error) {
	ctx, done := toItsEnd(ctx)
	defer done()
	for tries := 1; ; tries++ {
		f.end.any = tries == mostTries
		did, err := f.sink.write(ctx, namespace, events)
		all.stored, all.lost, all.last = all.stored+did.stored, did.lost, did.last
		refusal, refused := bus.AsError(err)
		if !refused || !errors.Is(err, bus.ErrWrongIndex) || f.end.any {
			return all, err
		}
		if err := f.stillThere(ctx); err != nil {
			return all, err
		}
		f.end.index = refusal.Index
	}
}

// endOfWrite is how long a write that is at hand may go on when the copy is to end.
const endOfWrite = 5 * time.Second

// toItsEnd returns a context that outlives another one by as much as a write needs:
// of one that is cut off nobody knows what was stored, and it would not be counted.
func toItsEnd(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		time.AfterFunc(endOfWrite, func() { cancel(context.Cause(parent)) })
	})
	return ctx, func() { stop(); cancel(nil) }
}

func (f *feed) close() error { return nil } // the sink is everybody's

// stillThere makes sure, before a target that was away is sent more, that it has
// what it had taken: one that was made anew, or that has lost its end, would get
// events without those before them.
func (f *feed) stillThere(ctx context.Context) error {
	if f.last == nil {
		return nil
	}
	_, err := f.target.event(ctx, f.wanted.namespace, byID+f.last.Id)
	if errors.Is(err, bus.ErrUnknownEvent) {
		return &movedError{fmt.Sprintf("the target no longer has event %s (index %d of the source)", f.last.Id, f.last.Index)}
	}
	return unlessNotThere(err)
}

// strangers tells of events that somebody else has put between those of this
// mirror.
func (f *feed) strangers(did written, sent int) {
	if f.at > 0 && did.stored == sent && did.last > f.at+uint64(sent) {
		f.log.Warn("somebody else writes to the target; its events stand between those of the source", "events", did.last-f.at-uint64(sent))
	}
	f.at = max(f.at, did.last)
}
