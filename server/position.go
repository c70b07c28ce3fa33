package server

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// maxResumeLen bounds a resume point: 16 namespaces fit.
const maxResumeLen = 256

// Reasons of a gap.
const (
	gapRetention = delivery.ReasonRetention // the log no longer keeps them
	gapOtherLog  = "other_log"              // the id is of another log, or of another incarnation of this one
	gapAhead     = "ahead"                  // the position is beyond the end of this log
)

// starter finds where a stream begins in each namespace. What cannot be had is
// a gap, said in the stream, never a refusal: a browser whose reconnect is
// refused does not come back.
type starter struct {
	engine Engine
	await  func(ctx context.Context, namespace string, index uint64) error // for an event that is stored to be readable
	start  string                                                          // the start parameter, checked
	resume string                                                          // Last-Event-ID, "" when there is none
	now    time.Time
	gaps   []gapFrame
}

// checkStart refuses a start that is none of the forms.
func checkStart(start string) error {
	if start == "" || start == "oldest" || start == "newest" || start == startLast {
		return nil
	}
	if _, ok := indexStart(start); ok {
		return nil
	}
	if _, ok := timeStart(start, time.Now()); ok {
		return nil
	}
	if strings.Trim(start, "0") != "" && !likeAge(start) && bus.CheckID(start) == nil {
		return nil // perhaps an event's; places looks for it
	}
	return wrongStart(start)
}

// likeAge tells a number with a unit, also one that is too great for an age:
// who writes 99999w means no event's id.
func likeAge(start string) bool {
	unit := strings.TrimLeft(start, "0123456789")
	return unit != start && slices.Contains([]string{"ns", "us", "ms", "s", "m", "h", "d", "w"}, unit)
}

func wrongStart(start string) error {
	return bus.ErrInvalidParameter.With("start is %.80q, wanted oldest, newest, last, the id of an event, an index like #42 (in a URL %%2342, or 42), a time like 2026-01-31T12:00:00Z or an age like 15m or 7d", start)
}

// indexStart reads "#42", and "42" because "#" ends a URL.
func indexStart(start string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(start, "#"), 10, 64)
	return n, err == nil && n > 0 && n <= bus.MaxIndex
}

func timeStart(start string, now time.Time) (time.Time, bool) {
	if age, ok := bus.ParseAge(start); ok && age > 0 { // 0 may be meant as an index, or as the beginning
		return now.Add(-age), true
	}
	t, err := time.Parse(time.RFC3339Nano, start)
	return t, err == nil
}

// places returns where the stream starts in each namespace.
func (st *starter) places(ctx context.Context, patterns map[string][]bus.Pattern, order []string) ([]delivery.Place, error) {
	resumed, err := st.resumed(ctx, order)
	if err != nil {
		return nil, err
	}
	places := make([]delivery.Place, 0, len(order))
	for _, namespace := range order {
		place := delivery.Place{Namespace: namespace, Patterns: patterns[namespace]}
		from, ok := resumed[namespace]
		switch {
		case ok:
			place.From = from
		case st.start == startLast:
			err = st.newest(ctx, &place)
		default:
			place.From, err = st.fresh(ctx, namespace)
		}
		if err != nil {
			return nil, err
		}
		places = append(places, place)
	}
	return places, nil
}

// resumed finds the namespaces whose place Last-Event-ID, or an id as start,
// names. A namespace that is not in the result begins by start.
func (st *starter) resumed(ctx context.Context, order []string) (map[string]uint64, error) {
	id := st.resume
	if id == "" && isIDStart(st.start) {
		id = st.start
	}
	if id == "" {
		return nil, nil
	}
	found := make(map[string]uint64)
	positions, ours := bus.ParseID(id)
	for _, namespace := range order {
		for _, p := range positions {
			if p.Incarnation == st.engine.Incarnation(namespace) {
				st.awaitStored(ctx, namespace, p)
				found[namespace] = st.within(namespace, id, p.Index+1)
			}
		}
	}
	if len(found) == 0 {
		if err := st.findStranger(ctx, id, order, found); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 && !ours && st.resume == "" {
		return nil, wrongStart(st.start) // a typo must not read as an id that is gone
	}
	if len(found) == 0 || len(positions) > len(found) {
		st.otherLog(id, order, found)
	}
	return found, nil
}

// awaitStored waits for an event that was answered and is not readable yet, as
// with --sync=interval: it is neither ahead nor lost.
func (st *starter) awaitStored(ctx context.Context, namespace string, p bus.Position) {
	_, next := st.engine.Bounds(namespace)
	if p.Index < next {
		return
	}
	if _, err := st.engine.Find(ctx, namespace, bus.FormatID(p)); err == nil {
		st.await(ctx, namespace, p.Index) // what never becomes readable is a gap
	}
}

func isIDStart(start string) bool {
	_, isIndex := indexStart(start)
	_, isTime := timeStart(start, time.Now())
	return start != "" && start != "oldest" && start != "newest" && start != startLast && !isIndex && !isTime
}

// findStranger looks for an id that the log did not give itself: of a restored
// or copied event, or one that the publisher chose.
func (st *starter) findStranger(ctx context.Context, id string, order []string, found map[string]uint64) error {
	if bus.CheckID(id) != nil {
		return nil
	}
	for _, namespace := range order {
		index, err := st.engine.Find(ctx, namespace, id)
		if errors.Is(err, bus.ErrUnknownEvent) {
			continue
		}
		if err != nil {
			return err
		}
		st.await(ctx, namespace, index) // what never becomes readable is a gap
		found[namespace] = st.within(namespace, id, index+1)
	}
	return nil
}

// otherLog says a gap for the namespaces that an id should have named, and
// starts them at the oldest event: what the reader had seen nobody can know,
// and seeing an event twice is better than never.
func (st *starter) otherLog(id string, order []string, found map[string]uint64) {
	for _, namespace := range order {
		if _, ok := found[namespace]; ok {
			continue
		}
		first, _ := st.engine.Bounds(namespace)
		st.gaps = append(st.gaps, gapFrame{Namespace: namespace, Requested: id, ResumedIndex: first, Reason: gapOtherLog})
		found[namespace] = first
	}
}

// startLast begins with the newest event of each subject.
const startLast = "last"

// maxNewest bounds what a stream holds, 8 bytes each, until it has carried them.
const maxNewest = 100_000

// newest begins a namespace with the newest event of each subject there is at this
// moment, and goes on with what follows that moment. A reconnect in the midst of them
// names an index, and gets everything behind that: also what was passed over, so that
// no subject is missing. Where damage may have taken a newer one, it is said.
func (st *starter) newest(ctx context.Context, place *delivery.Place) error {
	indexes, next, lost, err := st.engine.Newest(ctx, place.Namespace, place.Patterns, maxNewest)
	if err != nil {
		return err
	}
	for i := range lost {
		d := &lost[i]
		st.gaps = append(st.gaps, damageGap(delivery.Gap{Namespace: place.Namespace, From: d.From, Next: d.Next, Reason: delivery.ReasonDamage, AtMost: d.AtMost, Repaired: d.Repaired}))
	}
	place.From, place.Seam, place.Only = next, next, indexes
	if len(indexes) > 0 {
		place.From = indexes[0]
	}
	return nil
}

// fresh is where a namespace starts that no id names.
func (st *starter) fresh(ctx context.Context, namespace string) (uint64, error) {
	first, next := st.engine.Bounds(namespace)
	if st.start == "oldest" {
		return first, nil
	}
	if index, ok := indexStart(st.start); ok {
		return st.within(namespace, "#"+strings.TrimPrefix(st.start, "#"), index), nil
	}
	if t, ok := timeStart(st.start, st.now); ok {
		return st.engine.IndexAt(ctx, namespace, t)
	}
	return next, nil
}

// within moves a position into what the log holds, and says so.
func (st *starter) within(namespace, requested string, from uint64) uint64 {
	first, next := st.engine.Bounds(namespace)
	switch {
	case from < first:
		lost := first - from
		st.gaps = append(st.gaps, gapFrame{Namespace: namespace, Requested: requested, ResumedIndex: first, Lost: &lost, Reason: gapRetention})
		return first
	case from > next && damagedEnd(st.engine, namespace, from) != nil:
		return next // the stream says the damage itself
	case from > next:
		lost := from - next
		st.gaps = append(st.gaps, gapFrame{Namespace: namespace, Requested: requested, ResumedIndex: next, Lost: &lost, Reason: gapAhead})
		return next
	}
	return from
}
