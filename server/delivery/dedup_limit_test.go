package delivery

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// publishKeys remembers keys from one number to another, as their publishes do,
// and returns how many older ones had to make room within their window.
func publishKeys(t *testing.T, d *Dedup, from, to int, id func(n int) string) (early int) {
	t.Helper()
	for n := from; n < to; n++ {
		r, duplicate, err := d.Begin(t.Context(), "orders", fmt.Sprint("key-", n), printOne)
		if err != nil || duplicate != nil {
			t.Fatalf("key %d: got %v, %v, want it new", n, duplicate, err)
		}
		early += r.Commit(Receipt{Index: uint64(n + 1), ID: id(n), CreatedAt: time.Now()})
	}
	return early
}

func ownID(n int) string { return bus.FormatID(bus.Position{Incarnation: 7, Index: uint64(n + 1)}) }

// longID is the longest that a publisher may choose.
func longID(n int) string {
	return fmt.Sprintf("%s%08d", strings.Repeat("i", bus.MaxIDLen-8), n)
}

// What the memory of keys costs does not grow once it is full, however many keys
// come: HTTP_API.md says how much that is.
func TestTheMemoryOfKeysHasABoundInBytes(t *testing.T) {
	const most = 30_000 // just beyond a doubling of the map: its worst
	for name, one := range map[string]struct {
		id     func(int) string
		perKey int64
	}{"ids of the log": {ownID, 150}, "ids of publishers": {longID, 150 + 170}} {
		before := heap()
		d := NewDedup(time.Hour, most)
		publishKeys(t, d, 0, most, one.id)
		full := heap() - before
		if early := publishKeys(t, d, most, 3*most, one.id); early != 2*most {
			t.Errorf("%s: got %d keys forgotten early, want %d", name, early, 2*most)
		}
		if got := heap() - before; got > one.perKey*most {
			t.Errorf("%s: got %d bytes a key, %d when it was just full, want at most %d", name, got/most, full/most, one.perKey)
		}
		t.Logf("%s: %d, then %d bytes a key", name, full/most, (heap()-before)/most)
		runtime.KeepAlive(d)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestOnlyKeysWithinTheirWindowCountAsForgottenEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDedup(time.Minute, 10)
		if got := publishKeys(t, d, 0, 10, ownID); got != 0 {
			t.Errorf("with room: got %d forgotten early, want 0", got)
		}
		if got := publishKeys(t, d, 10, 14, ownID); got != 4 {
			t.Errorf("without: got %d, want 4", got)
		}
		time.Sleep(2 * time.Minute) // of the bubble's time
		if got := publishKeys(t, d, 14, 20, ownID); got != 0 {
			t.Errorf("after the window: got %d, want 0: what is over is no loss", got)
		}
		if keys, early := d.Kept("orders"); keys != 6 || early != 4 {
			t.Errorf("got %d keys and %d forgotten early in all, want 6 and 4", keys, early)
		}
		if keys, early := d.Kept("app"); keys != 0 || early != 0 {
			t.Errorf("another namespace: got %d and %d, want none", keys, early)
		}
	})
}
