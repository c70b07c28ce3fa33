package enginetest

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

// Purge has an engine delete what it can of the events below an index, as its
// retention would: all of them when the index is behind the last one.
type Purge func(t *testing.T, e server.Engine, namespace string, before uint64)

// RunPurged judges what engines that delete old events say of them.
func RunPurged(t *testing.T, open func(t *testing.T, dir string, namespaces ...string) server.Engine, purge Purge) {
	for _, test := range []struct {
		name   string
		before uint64 // of ten
	}{
		{"NothingIsDeleted", 1}, {"SomeAreDeleted", 7}, {"AllAreDeleted", 11},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			e := open(t, dir, "orders")
			incarnation := e.Incarnation("orders")
			var events []bus.Event
			for i := range 10 {
				ev := event("orders.created", fmt.Sprint("payload ", i))
				if i%2 == 1 {
					ev.Id = fmt.Sprintf("mine-%d", i)
				}
				events = append(events, mustAppend(t, e, ev)...)
			}
			purge(t, e, "orders", test.before)
			for reopened := range 2 {
				first, next := e.Bounds("orders")
				if first > test.before || next != 11 || test.before == 11 && first != 11 {
					t.Fatalf("reopened %d: got the bounds %d and %d, want all from %d on", reopened, first, next, test.before)
				}
				if got := e.Incarnation("orders"); got != incarnation {
					t.Errorf("reopened %d: got incarnation %x, want %x", reopened, got, incarnation)
				}
				keeps(t, e, events, first)
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				e = open(t, dir, "orders")
			}
			appendsOn(t, e, 11)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// keeps wants the events from first on, and nothing of those in front of it.
func keeps(t *testing.T, e server.Engine, events []bus.Event, first uint64) {
	t.Helper()
	for i := range events {
		got, err := e.Find(t.Context(), "orders", events[i].Id)
		if gone := events[i].Index < first; gone != errors.Is(err, bus.ErrUnknownEvent) || !gone && got != events[i].Index {
			t.Errorf("find %s: got %d and %v, want index %d, the first is %d", events[i].Id, got, err, events[i].Index, first)
		}
	}
	for from := uint64(1); from <= 11; from++ {
		r := e.Reader("orders", from)
		got, err := r.Next()
		if due := max(from, first); due == 11 && err != io.EOF || due < 11 && (err != nil || got[0].Index != due) {
			t.Errorf("from %d: got %d events and %v, want those from %d on", from, len(got), err, due)
		}
		r.Close()
	}
	if got, err := e.IndexAt(t.Context(), "orders", time.Unix(1, 0)); err != nil || got != first {
		t.Errorf("index at the beginning of time: got %d and %v, want %d", got, err, first)
	}
	if err := e.Wait(t.Context(), "orders", 10); err != nil {
		t.Errorf("wait for what was there: %v", err)
	}
	info := e.Inspect("orders")
	if info.First != first || info.Last != 10 || info.Events != 11-first {
		t.Errorf("got %+v, want the events %d to 10", info, first)
	}
}
