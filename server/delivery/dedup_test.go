package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

var printOne, printTwo = [16]byte{1}, [16]byte{2}

// reserve begins a key that must be new.
func reserve(t *testing.T, d *Dedup, namespace, key string) *Reservation {
	t.Helper()
	r, duplicate, err := d.Begin(t.Context(), namespace, key, printOne)
	if err != nil || r == nil {
		t.Fatalf("Begin %s: got %v, %v, want a reservation", key, duplicate, err)
	}
	return r
}

func receipt(index uint64) Receipt {
	return Receipt{Index: index, ID: bus.FormatID(bus.Position{Incarnation: 7, Index: index}), CreatedAt: time.Now().UTC()}
}

func TestRepeatGetsTheOriginalReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(0, 0)
		want := receipt(42)
		strange := Receipt{Index: 43, ID: "chosen-by-me", CreatedAt: time.Now().UTC()}
		first, second := reserve(t, d, "a", "k"), reserve(t, d, "a", "s")
		first.Commit(want)
		first.Commit(receipt(1))
		first.Abort()
		second.Commit(strange)
		for key, want := range map[string]Receipt{"k": want, "s": strange} {
			_, got, err := d.Begin(t.Context(), "a", key, printOne)
			if err != nil || got == nil || *got != want {
				t.Errorf("%s: got %v, %v, want %v", key, got, err, want)
			}
		}
		reserve(t, d, "b", "k").Abort() // another namespace, another key
		if _, _, err := d.Begin(t.Context(), "a", "k", printTwo); !errors.Is(err, bus.ErrKeyConflict) {
			t.Errorf("got %v, want ErrKeyConflict", err)
		}
	})
}

func TestAbortRemembersNothing(t *testing.T) {
	d := NewDedup(0, 0)
	reserve(t, d, "a", "k").Abort()
	reserve(t, d, "a", "k").Abort()
	if got := d.Len(); got != 0 {
		t.Errorf("got %d keys, want 0", got)
	}
}

func TestKeyBeingAppendedIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(0, 0)
		first := reserve(t, d, "a", "k")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := d.Begin(ctx, "a", "k", printOne); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline's error", err)
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 10 {
			all.Go(func() {
				r, duplicate, err := d.Begin(t.Context(), "a", "k", printOne)
				switch {
				case err != nil:
					t.Errorf("Begin: %v", err)
				case r != nil:
					mu.Lock()
					won++
					mu.Unlock()
					r.Commit(receipt(5))
				case duplicate.Index != 5:
					t.Errorf("got index %d, want 5", duplicate.Index)
				}
			})
		}
		synctest.Wait()
		first.Abort()
		all.Wait()
		if won != 1 {
			t.Errorf("got %d appends after the abort, want 1", won)
		}
	})
}

func TestKeysExpireAfterTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(time.Minute, 0)
		reserve(t, d, "a", "k").Commit(receipt(1))
		<-time.After(time.Minute - 1)
		if _, got, _ := d.Begin(t.Context(), "a", "k", printOne); got == nil {
			t.Error("got a new key just before the window's end, want a duplicate")
		}
		<-time.After(1)
		reserve(t, d, "a", "k").Commit(receipt(2))
		if got := d.Len(); got != 1 {
			t.Errorf("got %d keys, want 1", got)
		}
		<-time.After(time.Minute)
		if got := d.Len(); got != 0 {
			t.Errorf("got %d keys, want 0", got)
		}
	})
}

func TestTheOldestKeysOfANamespaceGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(time.Hour, 100)
		reserve(t, d, "quiet", "k").Commit(receipt(1))
		for i := range 250 {
			reserve(t, d, "busy", fmt.Sprint(i)).Commit(receipt(uint64(i + 1)))
			<-time.After(time.Millisecond)
			if got, want := d.Len(), 1+min(i+1, 100); got != want {
				t.Fatalf("got %d keys after %d, want %d", got, i+1, want)
			}
		}
		if _, got, _ := d.Begin(t.Context(), "quiet", "k", printOne); got == nil {
			t.Error("a busy namespace has driven out the key of a quiet one")
		}
		for i := range 250 {
			r, got, err := d.Begin(t.Context(), "busy", fmt.Sprint(i), printOne)
			if err != nil || (got != nil) != (i >= 150) {
				t.Fatalf("key %d: got %v, %v, want known from 150 on", i, got, err)
			}
			if r != nil {
				r.Abort()
			}
		}
		if got := len(d.entries); got > 101 {
			t.Errorf("got %d slots, want at most 101", got)
		}
	})
}

func TestBatchReservesAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(0, 0)
		reserve(t, d, "a", "old").Commit(receipt(9))
		keys := []Key{{"x", printOne}, {"old", printOne}, {"y", printTwo}}
		r, duplicates, err := d.BeginBatch(t.Context(), "a", keys)
		if err != nil || duplicates[0] != nil || duplicates[1] == nil || duplicates[2] != nil {
			t.Fatalf("got %v, %v, want only the second known", duplicates, err)
		}
		r.Commit(receipt(10), receipt(11))
		if r, duplicates, err = d.BeginBatch(t.Context(), "a", keys); r != nil || err != nil || duplicates[2].Index != 11 {
			t.Errorf("got %v, %v, %v, want three duplicates", r, duplicates, err)
		}
		for name, keys := range map[string][]Key{
			"conflict": {{"new", printOne}, {"old", printTwo}},
			"twice":    {{"new", printOne}, {"new", printOne}},
		} {
			if _, _, err := d.BeginBatch(t.Context(), "a", keys); !errors.Is(err, bus.ErrKeyConflict) {
				t.Errorf("%s: got %v, want ErrKeyConflict", name, err)
			}
		}
		reserve(t, d, "a", "new").Abort()
	})
}

func TestCrossedBatchesDoNotDeadlock(t *testing.T) {
	d := NewDedup(0, 0)
	var all sync.WaitGroup
	for _, keys := range [][]Key{{{"x", printOne}, {"y", printOne}}, {{"y", printOne}, {"x", printOne}}} {
		all.Go(func() {
			for range 500 {
				r, _, err := d.BeginBatch(t.Context(), "a", keys)
				if err != nil {
					t.Errorf("BeginBatch: %v", err)
					return
				}
				r.Abort()
			}
		})
	}
	all.Wait()
}

func TestLoadedKeysAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(time.Minute, 0)
		<-time.After(time.Hour)
		now := time.Now()
		d.Load("a", []Entry{
			{Key: Key{"gone", printOne}, Receipt: receipt(1), At: now.Add(-time.Minute)},
			{Key: Key{"here", printOne}, Receipt: receipt(2), At: now.Add(-time.Second)},
			{Key: Key{"ahead", printOne}, Receipt: receipt(3), At: now.Add(time.Hour)},
			{Key: Key{"here", printOne}, Receipt: receipt(4)},
		})
		reserve(t, d, "a", "gone").Abort()
		if _, got, _ := d.Begin(t.Context(), "a", "here", printOne); got == nil || got.Index != 4 {
			t.Errorf("got %v, want index 4", got)
		}
		<-time.After(time.Minute)
		if got := d.Len(); got != 0 {
			t.Errorf("got %d keys a window later, want 0", got)
		}
	})
}
