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

// Lose makes the event at an index of a closed engine, which was appended by
// itself, lost for good, in the way that the engine has for it.
type Lose func(t *testing.T, dir, namespace string, index uint64)

// RunGaps judges what engines that can lose an event to damage say of it, once
// somebody has had them repaired.
func RunGaps(t *testing.T, open func(t *testing.T, dir string, namespaces ...string) server.Engine, lose Lose) {
	for _, test := range []struct {
		name string
		lost []uint64 // of ten
	}{
		{"TheFirstIsLost", []uint64{1}},
		{"OneInTheMiddleIsLost", []uint64{4}},
		{"NeighboursAreLost", []uint64{4, 5, 6}},
		{"TheLastIsLost", []uint64{10}},
		{"AllAreLost", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			e := open(t, dir, "orders")
			var events []bus.Event
			for i := range 10 {
				ev := event("orders.created", fmt.Sprint("payload ", i))
				if i%2 == 1 {
					ev.Id = fmt.Sprintf("mine-%d", i)
				}
				events = append(events, mustAppend(t, e, ev)...)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			for _, index := range test.lost {
				lose(t, dir, "orders", index)
			}
			e = open(t, dir, "orders")
			defer e.Close()
			lost := make(map[uint64]bool)
			for _, index := range test.lost {
				lost[index] = true
			}
			readsOver(t, e, events, lost)
			findsOver(t, e, events, lost)
			newestOver(t, e, uint64(len(events)), lost)
			goesOnBehind(t, e, uint64(len(events)))
		})
	}
}

// readsOver wants every event that is not lost, and each run of lost ones said
// until it is left behind, from wherever one begins.
func readsOver(t *testing.T, e server.Engine, events []bus.Event, lost map[uint64]bool) {
	t.Helper()
	for from := uint64(1); from <= uint64(len(events)); from++ {
		r := e.Reader("orders", from)
		for next := from; ; {
			got, err := r.Next()
			gap, ok := errors.AsType[*bus.DamageError](err)
			if errors.Is(err, io.EOF) {
				if next <= uint64(len(events)) {
					t.Fatalf("from %d: the end came at %d", from, next)
				}
				break
			}
			if err != nil && !ok {
				t.Fatalf("from %d: %v", from, err)
			}
			if !ok {
				checkIndexes(t, got, next)
				for i := range got {
					if lost[got[i].Index] {
						t.Fatalf("from %d: got %d, which is lost", from, got[i].Index)
					}
					same(t, got[i], events[got[i].Index-1])
				}
				next = got[len(got)-1].Index + 1
				continue
			}
			if gap.Namespace != "orders" || gap.From != next || gap.Next <= next || gap.Repaired.IsZero() {
				t.Fatalf("from %d: got the gap %+v at %d", from, gap, next)
			}
			if _, again := r.Next(); again == nil || again.Error() != err.Error() {
				t.Fatalf("from %d: asked again: got %v, want %v", from, again, err)
			}
			for ; next < gap.Next; next++ {
				if next <= uint64(len(events)) && !lost[next] {
					t.Fatalf("from %d: %d is said to be lost: %v", from, next, gap)
				}
			}
			r.Seek(next)
		}
		r.Close()
	}
}

// findsOver wants an id that the engine gave to be a place, so that whoever
// resumes from it goes on behind it, and a chosen one to be unknown.
func findsOver(t *testing.T, e server.Engine, events []bus.Event, lost map[uint64]bool) {
	t.Helper()
	for i, ev := range events {
		got, err := e.Find(t.Context(), "orders", ev.Id)
		if lost[ev.Index] && i%2 == 1 {
			if !errors.Is(err, bus.ErrUnknownEvent) {
				t.Errorf("find %s, which is lost: got %d and %v, want %v", ev.Id, got, err, bus.ErrUnknownEvent)
			}
			continue
		}
		if err != nil || got != ev.Index {
			t.Errorf("find %s: got %d and %v, want %d", ev.Id, got, err, ev.Index)
		}
		if at, err := e.IndexAt(t.Context(), "orders", ev.CreatedAt); err != nil || at > ev.Index {
			t.Errorf("index at the time of %d: got %d and %v, which passes it by", ev.Index, at, err)
		}
	}
}

// goesOnBehind wants new events at indexes that nobody had.
func goesOnBehind(t *testing.T, e server.Engine, last uint64) {
	t.Helper()
	first, next := e.Bounds("orders")
	if info := e.Inspect("orders"); first != 1 || next <= last || info.Last != next-1 || info.Problem != "" {
		t.Fatalf("got bounds %d, %d and %+v, want lost events to count, and no problem", first, next, info)
	}
	appendsOn(t, e, next)
}

// appendsOn wants new events at an index and behind it, and to read them there.
func appendsOn(t *testing.T, e server.Engine, next uint64) {
	t.Helper()
	added := mustAppend(t, e, numbered("orders.created", 3)...)
	checkIndexes(t, added, next)
	waitFor(t, e, "orders", next+3)
	sameAll(t, readAll(t, e, "orders", next), added)
	if at, err := e.IndexAt(t.Context(), "orders", time.Now().Add(time.Hour)); err != nil || at != next+3 {
		t.Errorf("index at a time to come: got %d and %v, want %d", at, err, next+3)
	}
}
