package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"example.com/bus"
)

// strangersMost is how many events at the end of a target are looked up to find
// one of the source. More than that somebody else wrote there, or the two have
// nothing to do with each other.
const strangersMost = 256

// place is where a mirror of one namespace goes on.
type place struct {
	from   uint64     // index of the source; 0: its oldest event
	last   *bus.Event // of the source, the newest that the target has; Index is the source's
	at     uint64     // its index there
	behind uint64     // events at the target that stand behind it
	others uint64     // events at the target before it that were not asked of the source
	unsure bool       // the target has lost events, so that nobody can say whether one is missing
}

// resume asks the target itself how far it has come, so that there is no state
// that a crash could leave wrong: its newest event that is the source's says
// where the source goes on.
//
// That holds only if the target has everything before that event, too. In a
// mirror that nobody else writes to, both have it at the same index; elsewhere,
// and with patterns, the two are compared from the beginning. What is missing is
// never written behind later events: the order is the source's, or there is none.
//
// hurt tells whether the target was found to have lost events.
func resume(ctx context.Context, src, target followed, w wanted, hurt func() bool) (place, error) {
	end, err := target.last(ctx, w.namespace)
	if err != nil || end == 0 {
		return place{}, atTarget(err)
	}
	p, err := newestCommon(ctx, src, target, w.namespace, end)
	if err != nil {
		return place{}, err
	}
	if p.last == nil {
		return place{}, fmt.Errorf("the target has %d events in namespace %s, and the newest %d of them are not of the source: one of the two is another log, was made anew or has lost its end; mirror into an empty target", end, w.namespace, min(end, strangersMost))
	}
	p.from = p.last.Index + 1
	if same, err := alike(ctx, src, target, w, &p); same || err != nil {
		return p, err
	}
	return p, compare(ctx, src, target, w, &p, hurt)
}

// newestCommon goes back from the end of the target.
func newestCommon(ctx context.Context, src, target followed, namespace string, end uint64) (place, error) {
	for at := end; at > 0 && end-at < strangersMost; at-- {
		e, err := target.event(ctx, namespace, strconv.FormatUint(at, 10))
		if notThere(err) {
			continue
		}
		if err != nil {
			return place{}, atTarget(err)
		}
		have, err := src.event(ctx, namespace, byID+e.Id)
		if notThere(err) {
			continue
		}
		if err != nil {
			return place{}, err
		}
		if !sameStored(have, e) {
			return place{}, clash(have, e, namespace)
		}
		return place{last: have, at: at, behind: end - at}, nil
	}
	return place{}, nil
}

// clash refuses two logs that have one id for different events: the source has lost
// its end, or was put back from an older copy, and gave the id anew.
func clash(have, there *bus.Event, namespace string) error {
	return fmt.Errorf("the id %s is that of event %d of the source, and of another event of the target, %d of %s: mirror into an empty target", there.Id, have.Index, there.Index, namespace)
}

// targetError is an error of the target where both ends are asked.
type targetError struct{ err error }

func (e *targetError) Error() string { return e.err.Error() }
func (e *targetError) Unwrap() error { return e.err }

func atTarget(err error) error {
	if err == nil {
		return nil
	}
	return &targetError{err}
}

// notThere tells an event that is unknown, lost or damaged: another one has to
// tell.
func notThere(err error) bool {
	_, damaged := errors.AsType[*bus.DamageError](err)
	return damaged || errors.Is(err, bus.ErrUnknownEvent) || errors.Is(err, bus.ErrEventLost) || errors.Is(err, bus.ErrCorrupt)
}

// samples are how many events alike looks at; of fewer it looks at all.
const samples = 8

// alike tells whether both have the same events at the same indexes, by the last
// of them and some before. One that cannot be read says nothing: it was mirrored
// before it was damaged, or the others would not be where they are.
func alike(ctx context.Context, src, target followed, w wanted, p *place) (bool, error) {
	if len(w.patterns) > 0 || p.at != p.last.Index {
		return false, nil
	}
	asked := uint64(0)
	for i := range uint64(samples) {
		index := p.at * (i + 1) / samples
		if index == asked {
			continue
		}
		asked = index
		name := strconv.FormatUint(index, 10)
		there, err := target.event(ctx, w.namespace, name)
		if notThere(err) {
			p.unsure = true
			continue
		}
		if err != nil {
			return false, atTarget(err)
		}
		have, err := src.event(ctx, w.namespace, name)
		if notThere(err) {
			continue
		}
		if err != nil || have.Id != there.Id {
			return false, err
		}
		if !sameStored(have, there) {
			return false, clash(have, there, w.namespace)
		}
	}
	return true, nil
}

func unlessNotThere(err error) error {
	if notThere(err) {
		return nil
	}
	return err
}

// compare reads both from the beginning to the event that they have in common:
// each event that was asked of the source must stand at the target, in the same
// order.
func compare(ctx context.Context, src, target followed, w wanted, p *place, hurt func() bool) error {
	next, stop := iter.Pull2(eventsUpTo(ctx, target, wanted{namespace: w.namespace}, p.at))
	defer stop()
	for e, err := range eventsUpTo(ctx, src, w, p.last.Index) {
		if err != nil {
			return err
		}
		for found := false; !found; {
			have, err, more := next()
			switch {
			case err != nil:
				return atTarget(err)
			case !more && hurt():
				p.unsure = true
				return nil
			case !more:
				return fmt.Errorf("the target lacks event %d of the source (%s of %s), or has it elsewhere, and has later ones: written now it would stand behind them; mirror into an empty target, or add what is missing out of order with bus copy, without --follow", e.Index, e.Id, w.namespace)
			case have.Id == e.Id && !sameStored(e, have):
				return clash(e, have, w.namespace)
			case have.Id == e.Id:
				found = true
			default:
				p.others++
			}
		}
	}
	return nil
}

var errEnough = errors.New("enough was read")

// eventsUpTo reads events up to an index.
func eventsUpTo(ctx context.Context, from followed, w wanted, last uint64) iter.Seq2[*bus.Event, error] {
	return func(yield func(*bus.Event, error) bool) {
		err := from.read(ctx, w, func(events []bus.Event) error {
			for i := range events {
				if events[i].Index > last || !yield(&events[i], nil) {
					return errEnough
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}
