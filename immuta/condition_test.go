package immuta_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// conflict is what a check of these tests refuses with.
type conflict struct{ next uint64 }

func (c conflict) Error() string { return fmt.Sprintf("the next index is %d", c.next) }

func expect(first uint64) immuta.Check {
	return func(next uint64) error {
		if next != first {
			return conflict{next}
		}
		return nil
	}
}

// gate is a ledger that notes what it is told, and holds a commit back until the
// test lets it go.
type gate struct {
	hold    chan struct{} // nil: goes on at once
	begun   chan struct{}
	taken   map[uint64]string
	pending map[uint64]string
	commits int
}

func newGate() *gate {
	return &gate{begun: make(chan struct{}, 100), taken: make(map[uint64]string)}
}

func (g *gate) Begin() {
	g.pending = make(map[uint64]string)
	g.commits++
	g.begun <- struct{}{}
	if g.hold != nil {
		<-g.hold
	}
}

func (g *gate) Take(first uint64, records [][]byte) {
	for i, r := range records {
		g.pending[first+uint64(i)] = string(r)
	}
}

func (g *gate) End(stored bool) {
	for i, r := range g.pending {
		if stored {
			g.taken[i] = r
		}
	}
	g.pending = nil
}

func openGated(t *testing.T, fs *faultfs.FS, g *gate) *immuta.Log {
	t.Helper()
	log, err := immuta.Open(dir, name, immuta.Options{FS: fs, Ledger: g})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

func wantAll(t *testing.T, log *immuta.Log, want string) {
	t.Helper()
	if got, err := all(log); err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v and %v, want %s", got, err, want)
	}
}

func TestAnAppendOnAConditionIsStoredAtItsIndexOrNotAtAll(t *testing.T) {
	log := openGated(t, faultfs.New(), newGate())
	for i, c := range []struct{ first, want uint64 }{{2, 0}, {1, 1}, {1, 0}, {3, 0}, {2, 2}} {
		got, err := log.AppendIf(t.Context(), [][]byte{fmt.Append(nil, i)}, expect(c.first))
		refused, _ := errors.AsType[conflict](err)
		if c.want > 0 && (err != nil || got.First != c.want) || c.want == 0 && (err == nil || got.First != 0) {
			t.Fatalf("expecting %d: got index %d and %v, want %d", c.first, got.First, err, c.want)
		}
		if _, next := log.Bounds(); err != nil && refused.next != next {
			t.Fatalf("expecting %d: got %v, want the actual next index %d", c.first, err, next)
		}
	}
	wantAll(t, log, "[1 4]")
}

// One commit holds, in this order: a plain append, one that expects to stand behind
// it, one that expects what the first has, and a batch. Only the third is refused.
func TestAConflictInTheMidstOfAGroupCommitTouchesNoOther(t *testing.T) {
	g := newGate()
	g.hold = make(chan struct{})
	log := openGated(t, faultfs.New(), g)
	var wg sync.WaitGroup
	put := func(check immuta.Check, wantFirst uint64, records ...string) {
		var all [][]byte
		for _, r := range records {
			all = append(all, []byte(r))
		}
		wg.Go(func() {
			got, err := log.AppendIf(context.Background(), all, check)
			if refused, _ := errors.AsType[conflict](err); wantFirst == 0 && refused.next != 4 || wantFirst > 0 && (err != nil || got.First != wantFirst) {
				t.Errorf("%v: got index %d and %v, want %d", records, got.First, err, wantFirst)
			}
		})
	}
	put(nil, 1, "in front")
	<-g.begun // this commit is being held: what comes now is gathered for the next
	for i, next := range []func(){
		func() { put(nil, 2, "a") },
		func() { put(expect(3), 3, "b") },
		func() { put(expect(3), 0, "refused", "refused") },
		func() { put(expect(4), 4, "c", "d") },
	} {
		next()
		immuta.AwaitQueued(log, i+1)
	}
	close(g.hold)
	wg.Wait()
	wantAll(t, log, "[in front a b c d]")
	if g.commits != 2 || len(g.taken) != 5 || g.taken[5] != "d" {
		t.Errorf("the ledger was told of %d commits and %v, want 2 and 5 records", g.commits, g.taken)
	}
}

// What a refusal was measured by is in the same commit, and the disk is full: nobody
// may hear of an index that never was.
func TestARefusalIsOnlySaidOfWhatWasStored(t *testing.T) {
	g, fs := newGate(), faultfs.New()
	log := openGated(t, fs, g)
	if _, err := log.Append(t.Context(), [][]byte{[]byte("1")}); err != nil {
		t.Fatal(err)
	}
	<-g.begun
	g.hold = make(chan struct{})
	alone, answers := make(chan error, 1), make(chan error, 2)
	put := func(check immuta.Check, answer chan<- error) {
		_, err := log.AppendIf(context.Background(), [][]byte{[]byte("x")}, check)
		answer <- err
	}
	go put(expect(9), alone) // refused, with nothing in front of it
	<-g.begun
	go put(nil, answers)
	immuta.AwaitQueued(log, 1)
	go put(expect(2), answers)
	immuta.AwaitQueued(log, 2)
	fs.Inject(func(c faultfs.Call) error {
		if c.Op == "write" && strings.Contains(c.Path, ".log") {
			return syscall.ENOSPC
		}
		return nil
	})
	close(g.hold)
	if refused, _ := errors.AsType[conflict](<-alone); refused.next != 2 {
		t.Errorf("got next %d, want 2", refused.next)
	}
	for range 2 {
		if err := <-answers; !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v, want %v", err, syscall.ENOSPC)
		}
	}
	fs.Inject(nil)
	if got, err := log.AppendIf(t.Context(), [][]byte{[]byte("2")}, expect(2)); err != nil || got.First != 2 {
		t.Errorf("with room again: got index %d and %v, want 2", got.First, err)
	}
	if len(g.taken) != 2 || g.taken[2] != "2" {
		t.Errorf("got %v in the ledger, want 1 and 2", g.taken)
	}
}

func TestOf64AppendersThatExpectOneIndexExactlyOneWins(t *testing.T) {
	fs := faultfs.New()
	log, err := immuta.Open(dir, name, immuta.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for round := range uint64(50) {
		won := make(chan uint64, 64)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if got, err := log.AppendIf(context.Background(), [][]byte{{1}}, expect(round+1)); err == nil {
					won <- got.First
				} else if refused, ok := errors.AsType[conflict](err); !ok || refused.next != round+2 {
					t.Errorf("got %v, want a conflict with index %d", err, round+2)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 || <-won != round+1 {
			t.Fatalf("round %d: %d won, want 1", round, len(won))
		}
	}
}

func TestAConditionHoldsOverReopeningAndInEveryMode(t *testing.T) {
	for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncInterval, immuta.SyncOS} {
		fs := faultfs.New()
		for round := range uint64(3) {
			log, err := immuta.Open(dir, name, immuta.Options{FS: fs, Sync: mode, SyncEvery: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				first uint64
				ok    bool
			}{{2 * round, false}, {2*round + 1, true}, {2*round + 1, false}, {2*round + 2, true}} {
				if _, err := log.AppendIf(t.Context(), [][]byte{{1}}, expect(c.first)); (err == nil) != c.ok {
					t.Errorf("%s, round %d, expecting %d: got %v, want %v", mode, round, c.first, err, c.ok)
				}
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
