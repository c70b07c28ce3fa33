package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

func mustFind(t *testing.T, e server.Engine, namespace, id string, want uint64) {
	t.Helper()
	got, err := e.Find(t.Context(), namespace, id)
	if err != nil || got != want {
		t.Errorf("find %q: got %d, %v, want %d", id, got, err, want)
	}
}

func findOwn(t *testing.T, open Open) {
	e := start(t, open, "orders")
	events := mustAppend(t, e, numbered("orders.created", 200)...)
	waitFor(t, e, "orders", 201)
	for _, ev := range events {
		mustFind(t, e, "orders", ev.Id, ev.Index)
	}
}

func findChosen(t *testing.T, open Open) {
	e := start(t, open, "orders")
	for i := range 50 {
		ev := event("orders.created", fmt.Sprint(i))
		ev.Id = fmt.Sprintf("mine-%d", i)
		mustAppend(t, e, event("orders.created", "between"), ev)
		waitFor(t, e, "orders", uint64(2*i+3))
		mustFind(t, e, "orders", ev.Id, uint64(2*i+2))
	}
	for i := range 50 {
		mustFind(t, e, "orders", fmt.Sprintf("mine-%d", i), uint64(2*i+2))
	}
}

// foreign returns events as a restore brings them, with ids of another log.
func foreign(e server.Engine, indexes ...uint64) []bus.Event {
	var events []bus.Event
	for _, index := range indexes {
		ev := event("orders.created", fmt.Sprint(index))
		ev.Id = bus.FormatID(bus.Position{Incarnation: e.Incarnation("orders") ^ 1, Index: index})
		ev.CreatedAt = time.Unix(int64(index), 0).UTC()
		events = append(events, ev)
	}
	return events
}

// findForeign restores in parts, with a gap, with an id far off and with some
// that go backwards: an engine may keep stretches of ids, and must not mistake
// the ids beside a stretch for its own.
func findForeign(t *testing.T, open Open) {
	e := start(t, open, "orders")
	mustAppend(t, e, numbered("orders.created", 10)...)
	var indexes []uint64
	for i := range uint64(300) {
		indexes = append(indexes, 1000+i)
	}
	indexes = append(indexes, 5000, 7, 9, 11, 6000, 8)
	var restored []bus.Event
	for part := range slices.Chunk(foreign(e, indexes...), 70) {
		restored = append(restored, mustAppend(t, e, part...)...)
	}
	waitFor(t, e, "orders", restored[len(restored)-1].Index+1)
	for _, ev := range restored {
		mustFind(t, e, "orders", ev.Id, ev.Index)
	}
	for _, ev := range foreign(e, 999, 1300, 10, 6, 12) {
		if got, err := e.Find(t.Context(), "orders", ev.Id); !errors.Is(err, bus.ErrUnknownEvent) {
			t.Errorf("find %q: got %d, %v, want %v", ev.Id, got, err, bus.ErrUnknownEvent)
		}
	}
}

// findTwice stores ids again within a stretch, across its end and by name. Which
// one is found must not depend on how the engine keeps them.
func findTwice(t *testing.T, open Open) {
	e := start(t, open, "orders")
	first := mustAppend(t, e, foreign(e, 5, 6, 7)...)
	again := mustAppend(t, e, foreign(e, 6, 7, 8)...)
	named := chosen()
	mustAppend(t, e, named)
	mustAppend(t, e, chosen())
	waitFor(t, e, "orders", 9)
	mustFind(t, e, "orders", first[1].Id, 2)
	mustFind(t, e, "orders", again[1].Id, 3)
	mustFind(t, e, "orders", again[2].Id, 6)
	mustFind(t, e, "orders", named.Id, 7)
}

// findUnknown looks for what users paste: nothing, half an id, a path, and ids
// that are well made and lead nowhere.
func findUnknown(t *testing.T, open Open) {
	e := start(t, open, "orders")
	events := mustAppend(t, e, numbered("orders.created", 3)...)
	waitFor(t, e, "orders", 4)
	own := e.Incarnation("orders")
	for _, id := range []string{
		"", "x", "e_", "#1", events[0].Id + "0", "../../etc/passwd",
		bus.FormatID(bus.Position{Incarnation: own, Index: 0}),
		bus.FormatID(bus.Position{Incarnation: own, Index: 4}),
		bus.FormatID(bus.Position{Incarnation: own, Index: bus.MaxIndex}),
		bus.FormatID(bus.Position{Incarnation: own ^ 1, Index: 1}),
		bus.FormatID(bus.Position{Incarnation: own, Index: 1}, bus.Position{Incarnation: own, Index: 2}),
	} {
		if got, err := e.Find(t.Context(), "orders", id); !errors.Is(err, bus.ErrUnknownEvent) {
			t.Errorf("find %q: got %d, %v, want %v", id, got, err, bus.ErrUnknownEvent)
		}
	}
}

func indexAt(t *testing.T, open Open) {
	e := start(t, open, "orders")
	var commits []bus.Event
	for i := range 5 {
		commits = append(commits, mustAppend(t, e, event("orders.created", fmt.Sprint(i)))...)
	}
	waitFor(t, e, "orders", 6)
	check := func(at time.Time, want uint64) {
		t.Helper()
		if got, err := e.IndexAt(t.Context(), "orders", at); err != nil || got != want {
			t.Errorf("index at %s: got %d, %v, want %d", at, got, err, want)
		}
	}
	check(commits[0].CreatedAt.Add(-time.Hour), 1)
	check(time.Time{}, 1)
	check(commits[4].CreatedAt.Add(time.Hour), 6)
	for _, ev := range commits {
		// Commits within one tick of the clock have one time.
		want := commits[slices.IndexFunc(commits, func(c bus.Event) bool { return !c.CreatedAt.Before(ev.CreatedAt) })].Index
		check(ev.CreatedAt, want)
	}
}
