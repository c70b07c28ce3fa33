package enginetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

// soon is a moment ahead, of the clock that the test tells an engine.
func soon(d time.Duration) time.Time {
	return time.Now().Add(time.Hour).Add(d).UTC().Truncate(time.Millisecond)
}

// delayed is an event that waits until at.
func delayed(subject, payload string, at time.Time) bus.Event {
	e := event(subject, payload)
	e.Timing = &bus.Timing{DeliverAt: at}
	return e
}

func mustRelease(t *testing.T, e server.Engine, now time.Time, most int) (released []time.Time, next time.Time) {
	t.Helper()
	released, next, err := e.Release(t.Context(), "orders", now, most)
	if err != nil {
		t.Fatalf("release: %v", err)
	}
	return released, next
}

// checkReleased wants the events that stand from an index on to be deliveries of
// those that waited.
func checkReleased(t *testing.T, e server.Engine, from uint64, waited ...bus.Event) {
	t.Helper()
	waitFor(t, e, "orders", from+uint64(len(waited)))
	got := readAll(t, e, "orders", from)
	var want []bus.Event
	for i, w := range waited {
		timing := *w.Timing
		timing.Published = w.Index
		w.Index, w.Timing = from+uint64(i), nil
		if i < len(got) && (got[i].Timing == nil || *got[i].Timing != timing) {
			t.Errorf("index %d: got timing %+v, want %+v", w.Index, got[i].Timing, timing)
		}
		want = append(want, w)
	}
	for i := range got {
		got[i].Timing = nil
	}
	sameAll(t, got, want)
}

func checkWaiting(t *testing.T, e server.Engine, want ...uint64) {
	t.Helper()
	got, err := e.Delayed(t.Context(), "orders", 0, 1000)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %d and %v waiting, want %d", got, err, want)
	}
	if info := e.Inspect("orders"); info.Delayed != len(want) || info.NextDelivery.IsZero() != (len(want) == 0) {
		t.Errorf("got %d delayed until %s, want %d", info.Delayed, info.NextDelivery, len(want))
	}
}

func releasedOnce(t *testing.T, open Open) {
	e := start(t, open, "orders")
	due := soon(0)
	chose := chosen()
	chose.Timing = &bus.Timing{DeliverAt: due, ExpiresAt: due.Add(time.Hour)}
	stored := mustAppend(t, e, event("orders.a", "1"), delayed("orders.b", "2", due), chose)
	checkIndexes(t, stored, 1)
	checkWaiting(t, e, 2, 3)
	if released, next := mustRelease(t, e, due.Add(-1), 10); len(released) != 0 || !next.Equal(due) {
		t.Fatalf("before it is due: got %s released and next %s, want none and %s", released, next, due)
	}
	if released, next := mustRelease(t, e, due, 10); len(released) != 2 || !released[0].Equal(due) || !next.IsZero() {
		t.Fatalf("when it is due: got %s released and next %s, want two of %s and none", released, next, due)
	}
	checkReleased(t, e, 4, stored[1:]...)
	checkWaiting(t, e)
	if released, _ := mustRelease(t, e, due.Add(time.Hour), 10); len(released) != 0 {
		t.Errorf("again: got %s released, want none", released)
	}
}

func releasedInOrder(t *testing.T, open Open) {
	e := start(t, open, "orders")
	due := soon(0)
	mustAppend(t, e, delayed("orders.a", "1", due), delayed("orders.a", "2", due), delayed("orders.a", "3", due.Add(time.Second)), delayed("orders.a", "4", due.Add(-time.Second)))
	mustAppend(t, e, delayed("orders.a", "5", due))
	now := due.Add(time.Minute)
	if released, next := mustRelease(t, e, now, 1); len(released) != 1 || !next.Equal(due) {
		t.Fatalf("got %s released and next %s, want one and %s", released, next, due)
	}
	if released, next := mustRelease(t, e, now, 1000); len(released) != 4 || !next.IsZero() {
		t.Fatalf("got %s released and next %s, want four and none", released, next)
	}
	waitFor(t, e, "orders", 11)
	var got []string
	for _, ev := range readAll(t, e, "orders", 6) {
		got = append(got, string(ev.Payload))
	}
	if want := []string{"4", "1", "2", "5", "3"}; !slices.Equal(got, want) {
		t.Errorf("got %s in this order, want %s", got, want)
	}
}

func waitsOverReopening(t *testing.T, open Open) {
	due := soon(0)
	var stored []bus.Event
	twice(t, open, func(e server.Engine) {
		stored = mustAppend(t, e, delayed("orders.a", "1", due), delayed("orders.a", "2", due.Add(time.Second)), delayed("orders.a", "3", due.Add(2*time.Second)))
		mustRelease(t, e, due, 10)
		checkWaiting(t, e, 2, 3)
	}, func(e server.Engine) {
		checkWaiting(t, e, 2, 3)
		if released, next := mustRelease(t, e, due.Add(time.Second), 10); len(released) != 1 || !next.Equal(due.Add(2*time.Second)) {
			t.Errorf("got %s released and next %s, want one and one second later", released, next)
		}
		checkReleased(t, e, 5, stored[1])
	})
}

func findDelivery(t *testing.T, open Open) {
	due := soon(0)
	chose := delayed("orders.a", "2", due)
	chose.Id = "mine"
	var stored []bus.Event
	twice(t, open, func(e server.Engine) {
		stored = mustAppend(t, e, delayed("orders.a", "1", due), chose, event("orders.a", "3"))
		waitFor(t, e, "orders", 4)
		mustFind(t, e, "orders", stored[0].Id, 1)
		mustFind(t, e, "orders", "mine", 2)
		mustRelease(t, e, due, 10)
		waitFor(t, e, "orders", 6)
		mustFind(t, e, "orders", stored[0].Id, 4)
		mustFind(t, e, "orders", "mine", 5)
		mustFind(t, e, "orders", stored[2].Id, 3)
	}, func(e server.Engine) {
		mustFind(t, e, "orders", stored[0].Id, 4)
		mustFind(t, e, "orders", "mine", 5)
		if p, says := bus.ParseID(stored[0].Id); says {
			t.Errorf("got id %s, which says %+v, want one that says no index", stored[0].Id, p)
		}
	})
}

func waitsAreBounded(t *testing.T, open Open) {
	e := start(t, open, "orders")
	most := e.Inspect("orders").MaxDelayed
	if most < 1 {
		t.Fatalf("got a limit of %d, want one", most)
	}
	due := soon(0)
	batch := make([]bus.Event, 0, 1000)
	for left := most - 1; left > 0; left -= len(batch) {
		batch = batch[:0]
		for range min(left, 1000) {
			batch = append(batch, delayed("orders.a", "1", due))
		}
		mustAppend(t, e, batch...)
	}
	_, next := e.Bounds("orders")
	refused := []bus.Event{event("orders.a", "1"), delayed("orders.a", "2", due), delayed("orders.a", "3", due)}
	err := e.Append(t.Context(), "orders", refused)
	if !errors.Is(err, bus.ErrTooManyDelayed) || refused[1].Id != "" {
		t.Fatalf("got %v and id %q, want it refused, and no id", err, refused[1].Id)
	}
	if refusal, _ := bus.AsError(err); refusal.RetryAfter < 1 {
		t.Errorf("got retry after %d s, want at least 1", refusal.RetryAfter)
	}
	mustAppend(t, e, refused[1])
	if got := e.Append(t.Context(), "orders", refused[2:]); !errors.Is(got, bus.ErrTooManyDelayed) {
		t.Errorf("got %v for one more than may wait, want it refused", got)
	}
	mustAppend(t, e, refused[0])
	waitFor(t, e, "orders", next+2)
	if released, _ := mustRelease(t, e, due, 1); len(released) != 1 {
		t.Fatalf("got %d released, want one", len(released))
	}
	mustAppend(t, e, refused[2])
}

func newestOfWaiting(t *testing.T, open Open) {
	due := soon(0)
	check := func(e server.Engine, last uint64, want ...uint64) {
		t.Helper()
		pattern, err := bus.ParsePattern("orders.>")
		if err != nil {
			t.Fatal(err)
		}
		got, _, _, err := e.Newest(t.Context(), "orders", []bus.Pattern{pattern}, 10)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got newest %d and %v, want %d", got, err, want)
		}
		other := bus.Condition{SubjectIndex: bus.Expect(last + 100)}
		err = e.AppendIf(t.Context(), "orders", []bus.Event{event("orders.a", "x")}, other)
		if refusal, ok := bus.AsError(err); !ok || refusal.Index != last {
			t.Errorf("got %v, want it refused with index %d", err, last)
		}
	}
	twice(t, open, func(e server.Engine) {
		mustAppend(t, e, event("orders.a", "1"))
		check(e, 1, 1)
		mustAppend(t, e, delayed("orders.a", "2", due), delayed("orders.b", "3", due.Add(time.Hour)))
		check(e, 2, 1)
		mustRelease(t, e, due, 10)
		check(e, 2, 4)
	}, func(e server.Engine) {
		check(e, 2, 4)
		mustAppend(t, e, event("orders.a", "5"))
		check(e, 5, 5)
	})
}

// delaysLikeAModel publishes at random, lets time pass, and opens the engine anew
// now and then.
func delaysLikeAModel(t *testing.T, open Open) {
	dir, rng := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	now := soon(0)
	waiting := make(map[string]time.Time) // by payload
	e := open(t, dir, "orders")
	defer func() { e.Close() }()
	seen := uint64(1)
	for step := range 120 {
		switch rng.IntN(5) {
		case 0:
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			e = open(t, dir, "orders")
		case 1, 2:
			var batch []bus.Event
			for i := range 1 + rng.IntN(3) {
				payload := fmt.Sprint(step, ".", i)
				if rng.IntN(3) == 0 {
					batch = append(batch, event("orders.a", `"now"`))
					continue
				}
				at := now.Add(time.Duration(rng.IntN(20)) * time.Second)
				waiting[payload] = at
				batch = append(batch, delayed("orders.a", payload, at))
			}
			mustAppend(t, e, batch...)
		default:
			now = now.Add(time.Duration(rng.IntN(8)) * time.Second)
			mustRelease(t, e, now, 1+rng.IntN(3))
		}
		seen = sawDelivered(t, e, seen, now, waiting)
	}
	now = now.Add(time.Hour)
	mustRelease(t, e, now, 1000)
	for len(waiting) > 0 { // or waitFor says that the others never come
		waitFor(t, e, "orders", seen+1)
		seen = sawDelivered(t, e, seen, now, waiting)
	}
	checkWaiting(t, e)
}

// sawDelivered takes what was delivered since out of what waits.
func sawDelivered(t *testing.T, e server.Engine, from uint64, now time.Time, waiting map[string]time.Time) (next uint64) {
	t.Helper()
	_, next = e.Bounds("orders")
	for _, ev := range readAll(t, e, "orders", from) {
		next = max(next, ev.Index+1)
		if ev.Timing == nil || ev.Timing.Published == 0 {
			continue
		}
		at, waits := waiting[string(ev.Payload)]
		if !waits || at.After(now) || !at.Equal(ev.Timing.DeliverAt) {
			t.Fatalf("at %s: got index %d for event %s of %s, want one that waits and is due", now, ev.Index, ev.Payload, at)
		}
		delete(waiting, string(ev.Payload))
	}
	return next
}
