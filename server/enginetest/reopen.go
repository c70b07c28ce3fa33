package enginetest

import (
	"errors"
	"fmt"
	"testing"

	"example.com/bus"
	"example.com/bus/server"
)

// twice runs first against a new engine, closes it, opens it again where it
// was, and runs second.
func twice(t *testing.T, open Open, first, second func(e server.Engine)) {
	t.Helper()
	dir := t.TempDir()
	e := open(t, dir, "orders")
	first(e)
	if err := e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	e = open(t, dir, "orders")
	defer e.Close()
	second(e)
}

func reopenKeeps(t *testing.T, open Open) {
	var want []bus.Event
	var incarnation uint64
	twice(t, open, func(e server.Engine) {
		incarnation = e.Incarnation("orders")
		want = append(want, mustAppend(t, e, numbered("orders.created", 100)...)...)
		want = append(want, mustAppend(t, e, chosen())...)
		want = append(want, mustAppend(t, e, foreign(e, 3, 4, 5)...)...)
	}, func(e server.Engine) {
		if got := e.Incarnation("orders"); got != incarnation {
			t.Errorf("got incarnation %#x, want %#x", got, incarnation)
		}
		if first, next := e.Bounds("orders"); first != 1 || next != uint64(len(want))+1 {
			t.Errorf("got bounds %d, %d, want 1, %d", first, next, len(want)+1)
		}
		sameAll(t, readAll(t, e, "orders", 1), want)
	})
}

func reopenFinds(t *testing.T, open Open) {
	var want []bus.Event
	twice(t, open, func(e server.Engine) {
		want = append(want, mustAppend(t, e, numbered("orders.created", 10)...)...)
		want = append(want, mustAppend(t, e, foreign(e, 30, 40, 50, 51, 52, 20)...)...)
		for i := range 20 {
			ev := event("orders.created", "x")
			ev.Id = fmt.Sprintf("mine.%d", i)
			want = append(want, mustAppend(t, e, ev)...)
		}
	}, func(e server.Engine) {
		for _, ev := range want {
			mustFind(t, e, "orders", ev.Id, ev.Index)
		}
		for _, ev := range foreign(e, 31, 53) {
			if got, err := e.Find(t.Context(), "orders", ev.Id); !errors.Is(err, bus.ErrUnknownEvent) {
				t.Errorf("find %q: got %d, %v, want %v", ev.Id, got, err, bus.ErrUnknownEvent)
			}
		}
	})
}

// reopenCounts: an index that is given twice would be one id for two events.
func reopenCounts(t *testing.T, open Open) {
	var before bus.Event
	twice(t, open, func(e server.Engine) {
		before = mustAppend(t, e, numbered("orders.created", 7)...)[6]
	}, func(e server.Engine) {
		after := mustAppend(t, e, event("orders.created", "8"))
		checkIndexes(t, after, 8)
		if after[0].CreatedAt.Before(before.CreatedAt) {
			t.Errorf("got created_at %s after %s", after[0].CreatedAt, before.CreatedAt)
		}
		waitFor(t, e, "orders", 9)
		checkIndexes(t, readAll(t, e, "orders", 5), 5)
	})
}

func inspect(t *testing.T, open Open) {
	e := start(t, open, "orders")
	empty := e.Inspect("orders")
	if empty.Name != "orders" || empty.First != 1 || empty.Last != 0 || empty.Events != 0 || !empty.FirstAt.IsZero() || empty.Problem != "" {
		t.Errorf("got %+v for an empty namespace", empty)
	}
	events := mustAppend(t, e, numbered("orders.created", 5)...)
	waitFor(t, e, "orders", 6)
	got := e.Inspect("orders")
	if got.First != 1 || got.Last != 5 || got.Events != 5 || got.Bytes <= 0 {
		t.Errorf("got %+v, wanted events 1 to 5 and their bytes", got)
	}
	if !got.FirstAt.Equal(events[0].CreatedAt) || !got.LastAt.Equal(events[4].CreatedAt) {
		t.Errorf("got times %s to %s, want %s to %s", got.FirstAt, got.LastAt, events[0].CreatedAt, events[4].CreatedAt)
	}
	for _, ev := range events {
		if n := len(got.Incarnation); n == 0 || ev.Id[:n] != got.Incarnation {
			t.Errorf("got incarnation %q, wanted what %q begins with", got.Incarnation, ev.Id)
		}
	}
}
