package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"

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
	left   bool       // last is no longer there: the source has deleted it, and all before it
	unsure bool       // the target has lost events to damage, so that nobody can say whether one is missing
	spared bool       // events were removed there, with the same effect
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
// hurt tells what was found to be missing at the target.
func resume(ctx context.Context, src, target followed, w wanted, hurt *damages) (place, error) {
	there, err := target.span(ctx, w.namespace)
	if err != nil || there.last == 0 {
		return place{}, atTarget(err)
	}
	here, err := src.span(ctx, w.namespace)
	if err != nil {
		return place{}, err
	}
	p, ours, err := newestCommon(ctx, src, target, w.namespace, here, there)
	if err == nil && p.last == nil && there.first <= there.last {
		p, err = byReading(ctx, src, target, w, there, hurt)
	}
	if err != nil {
		return place{}, err
	}
	switch {
	case p.last == nil && there.first > there.last:
		return place{}, fmt.Errorf("the target has deleted all of the %d events that it had in namespace %s, so that nobody can say where to go on; mirror into an empty target", there.last, w.namespace)
	case p.last == nil && ours:
		return place{at: there.last}, nil // the source has removed all that was mirrored
	case p.last == nil:
		return place{}, fmt.Errorf("the target has %d events in namespace %s, and the newest %d of them are not of the source: one of the two is another log, was made anew, has lost its end, or has removed all that they had in common, which ids that publishers chose do not say; mirror into an empty target", there.last, w.namespace, min(there.last, strangersMost))
	}
	p.from = p.last.Index + 1
	if p.left {
		return p, nil // nothing that the source has is older
	}
	if same, err := alike(ctx, src, target, w, &p, there); same || err != nil {
		return p, err
	}
	return p, compare(ctx, src, target, w, &p, here, there, hurt)
}

// newestCommon goes back from the end of the target. An event that the source once
// had, but has removed, says its place there as well, if the source gave it its id; one
// that its retention has deleted will do where there is none that it has. ours says that
// the source gave ids of the target, whatever became of their events.
func newestCommon(ctx context.Context, src, target followed, namespace string, here, there logSpan) (p place, ours bool, err error) {
	if here.prefix != "" && here.prefix == there.prefix {
		return place{}, false, fmt.Errorf("the target is the log of the source itself in namespace %s, or a copy of its files: both give the same ids, so that neither can take an event of the other; mirror into an empty target", namespace)
	}
	var left, removed place
	for at := there.last; at >= max(there.first, 1) && there.last-at < strangersMost; at-- {
		e, err := target.event(ctx, namespace, strconv.FormatUint(at, 10))
		if notThere(err) {
			continue
		}
		if err != nil {
			return place{}, false, atTarget(err)
		}
		if e.Waits() { // a copy has put it there; the mirror comes to it when it is due
			continue
		}
		have, err := src.event(ctx, namespace, byID+e.Id)
		if err != nil && !notThere(err) {
			return place{}, false, err
		}
		if err == nil && !sameStored(have, e) {
			return place{}, false, clash(have, e, namespace)
		}
		found := place{last: have, at: at, behind: there.last - at}
		if err == nil && removed.last == nil {
			return found, true, nil
		}
		if err == nil { // it was only looked for to see that it is no other
			break
		}
		ours = ours || here.prefix != "" && strings.HasPrefix(e.Id, here.prefix)
		index, gave := here.gave(e.Id)
		found.last = &bus.Event{Id: e.Id, Index: index, CreatedAt: e.CreatedAt}
		switch {
		case gave && isRemoved(err) && removed.last == nil:
			removed = found
		case gave && index < here.first && left.last == nil:
			left, left.left = found, true
		}
	}
	if removed.last != nil {
		return removed, true, nil
	}
	return left, ours, nil
}

// byReading finds the newest event that both have where it is not among the newest of
// the target: the source has removed more than that. What it still has stands at the
// target in the same order, up to where it goes on.
func byReading(ctx context.Context, src, target followed, w wanted, there logSpan, hurt *damages) (p place, err error) {
	next, stop := iter.Pull2(eventsUpTo(ctx, target, wanted{namespace: w.namespace}, there.last))
	defer stop()
	missed := 0
	for e, err := range eventsUpTo(ctx, src, w, math.MaxUint64) {
		if err != nil {
			return place{}, err
		}
		have, err := passTo(next, e.Id)
		missing := have == nil
		if err == nil && missing {
			have, err = target.event(ctx, w.namespace, byID+e.Id)
		}
		switch {
		case err != nil && !notThere(err):
			return place{}, atTarget(err)
		case err != nil:
			if missed++; missed == strangersMost { // what is behind the mirror may be much
				return p, nil
			}
		case !sameStored(e, have):
			return place{}, clash(e, have, w.namespace)
		case missing && !hurt.any() && there.first <= 1:
			return place{}, lacking(w.namespace)
		default: // what was missing before it the target has removed
			missed, p = 0, place{last: e, at: have.Index, behind: there.last - have.Index}
		}
	}
	return p, nil
}

// passTo goes on to the event with an id; nil when none is left.
func passTo(next func() (*bus.Event, error, bool), id string) (*bus.Event, error) {
	for {
		e, err, more := next()
		if err != nil || !more || e.Id == id {
			return e, err
		}
	}
}

// lacking refuses a target that has an event, and not all before it.
func lacking(namespace string) error {
	return fmt.Errorf("the target lacks events of the source in namespace %s, or has them elsewhere, and has later ones: written now they would stand behind those; mirror into an empty target, or add what is missing out of order with bus copy, without --follow", namespace)
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

// notThere tells an event that is unknown, lost, damaged or removed: another one has
// to tell.
func notThere(err error) bool {
	_, damaged := errors.AsType[*bus.DamageError](err)
	return damaged || isRemoved(err) || errors.Is(err, bus.ErrUnknownEvent) || errors.Is(err, bus.ErrEventLost) || errors.Is(err, bus.ErrCorrupt)
}

// samples are how many events alike looks at; of fewer it looks at all.
const samples = 8

// alike tells whether both have the same events at the same indexes, by the last
// of them and some before. One that cannot be read says nothing: it was mirrored
// before it was damaged, or the others would not be where they are.
func alike(ctx context.Context, src, target followed, w wanted, p *place, at logSpan) (bool, error) {
	if len(w.patterns) > 0 || p.at != p.last.Index {
		return false, nil
	}
	asked, before := uint64(0), min(max(at.first, 1), p.at)-1 // what retention has deleted says nothing
	for i := range uint64(samples) {
		index := before + (p.at-before)*(i+1)/samples
		if index == asked || index == before {
			continue
		}
		asked = index
		name := strconv.FormatUint(index, 10)
		there, err := target.event(ctx, w.namespace, name)
		if notThere(err) {
			p.unsure = p.unsure || !isRemoved(err)
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
func compare(ctx context.Context, src, target followed, w wanted, p *place, here, there logSpan, hurt *damages) error {
	next, stop := iter.Pull2(eventsUpTo(ctx, target, wanted{namespace: w.namespace}, p.at))
	defer stop()
	begun, from := false, uint64(0)
	for e, err := range eventsUpTo(ctx, src, w, p.last.Index) {
		if err == nil && !begun && there.first > 1 {
			from, err = beginning(ctx, src, target, w.namespace, e, p.at)
		}
		if err != nil {
			return err
		}
		before := !begun // what stands before the first that both have may once have been of the source
		if begun = true; e.Index < from {
			continue
		}
		for found := false; !found; {
			have, err, more := next()
			switch {
			case err != nil:
				return atTarget(err)
			case !more && hurt.any():
				p.unsure = hurt.damage()
				p.spared = !p.unsure
				return nil
			case !more && deletedSince(ctx, target, w.namespace, &there):
				p.others = 0
				return compare(ctx, src, target, w, p, here, there, hurt)
			case !more:
				return fmt.Errorf("the target lacks event %d of the source (%s of %s), or has it elsewhere, and has later ones: written now it would stand behind them; mirror into an empty target, or add what is missing out of order with bus copy, without --follow", e.Index, e.Id, w.namespace)
			case have.Id == e.Id && !sameStored(e, have):
				return clash(e, have, w.namespace)
			case have.Id == e.Id:
				found = true
			case here.prefix != "" && strings.HasPrefix(have.Id, here.prefix): // the source has removed it since
			case !before || e.Index == 1:
				p.others++
			}
		}
	}
	return nil
}

// deletedSince tells whether the target has deleted events while it was read.
func deletedSince(ctx context.Context, target followed, namespace string, there *logSpan) bool {
	before := there.first
	if now, err := target.span(ctx, namespace); err == nil {
		*there = now
	}
	return there.first > before
}

// beginning returns from which index of the source on a target that has deleted its
// oldest events has to have them. oldest is the first that was asked of the source.
func beginning(ctx context.Context, src, target followed, namespace string, oldest *bus.Event, last uint64) (uint64, error) {
	if _, err := target.event(ctx, namespace, byID+oldest.Id); err == nil || !notThere(err) {
		return 0, atTarget(err)
	}
	for e, err := range eventsUpTo(ctx, target, wanted{namespace: namespace}, last) {
		if err != nil {
			return 0, atTarget(err)
		}
		have, err := src.event(ctx, namespace, byID+e.Id)
		if err == nil {
			return have.Index, nil
		}
		if !notThere(err) {
			return 0, err
		}
	}
	return 0, nil
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
