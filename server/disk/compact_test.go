package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

// left reads what is there, and how many events were removed.
func left(t *testing.T, e *Engine) (events []bus.Event, removed int) {
	t.Helper()
	r := e.Reader("orders", 1)
	defer r.Close()
	for {
		got, err := r.Next()
		if errors.Is(err, io.EOF) {
			return events, removed
		}
		if gone, ok := bus.AsRemoved(err); ok {
			removed += int(gone.Next - gone.From)
			r.Seek(gone.Next)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, got...)
	}
}

// compactAll does what the keeper does, until there is nothing more to do.
func compactAll(t *testing.T, e *Engine) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = e.log("orders").compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASmallLogThatIsMuchRewrittenStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := faultfs.New()
		e := retained(t, files, Retention{Compact: true}, Options{BlockSize: 1 << 16})
		payload := `"` + strings.Repeat("x", 10_000) + `"`
		for i := range 1000 { // 10 MB, over 100 subjects
			mustAppend(t, e, testEvent(fmt.Sprintf("orders.s%d", i%100), payload))
			time.Sleep(time.Second / 2)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		info := e.Inspect("orders")
		if info.Bytes > 4<<20 || info.Removed.Compacted < 600 || info.First != 1 || info.Last != 1000 || info.Retention == nil || !info.Retention.Compact {
			t.Errorf("got %+v, want a few MB, from index 1 to 1000", info)
		}
		events, removed := left(t, e)
		newest := make(map[string]uint64)
		for _, ev := range events {
			newest[ev.Subject] = ev.Index
		}
		for i := range 100 {
			if got := newest[fmt.Sprintf("orders.s%d", i)]; got != uint64(901+i) {
				t.Errorf("the newest of s%d: got %d, want %d", i, got, 901+i)
			}
		}
		if len(events)+removed != 1000 || removed != int(info.Removed.Compacted) {
			t.Errorf("got %d events and %d removed, want 1000 and %d of them removed", len(events), removed, info.Removed.Compacted)
		}
		mustClose(t, e)
	})
}

func TestWhatIsCleanIsNotReadAgain(t *testing.T) {
	files := faultfs.New()
	var reads atomic.Int64
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "read" && strings.HasPrefix(c.Path, "data/orders.") {
			reads.Add(1)
		}
		return nil
	})
	o := Options{FS: files, Namespaces: []string{"orders"}, closeAt: 1}
	e := openTest(t, "data", o)
	for i := range 300 {
		mustAppend(t, e, testEvent(fmt.Sprintf("orders.s%d", i%10), "1"))
		if i%20 == 19 {
			compactAll(t, e)
		}
	}
	for range 2 {
		for range 3 { // until there is nothing left to do
			e.log("orders").compaction.looked = 0
			compactAll(t, e)
		}
		before := reads.Load()
		for range 5 {
			e.log("orders").compaction.looked = 0
			compactAll(t, e)
		}
		if got := reads.Load() - before; got > 0 {
			t.Errorf("got %d reads of what is clean, want none", got)
		}
		mustClose(t, e)
		e = openTest(t, "data", o)
	}
	if events, _ := left(t, e); len(events) > 20 {
		t.Errorf("got %d events left, want 10, and at most as many that are needless", len(events))
	}
	mustClose(t, e)
}

func TestWithTooManySubjectsNothingIsRemovedAndThatIsSaidOnce(t *testing.T) {
	said := &journal{}
	e := openTest(t, t.TempDir(), Options{Namespaces: []string{"orders"}, LastSubjects: 5, Logger: said.logger(), closeAt: 1, segmentBytes: 1})
	for i := range 40 {
		mustAppend(t, e, testEvent(fmt.Sprintf("orders.s%d", i%8), "1"))
		compactAll(t, e)
	}
	if events, removed := left(t, e); len(events) != 40 || removed != 0 {
		t.Errorf("got %d events and %d removed, want all", len(events), removed)
	}
	if got := strings.Count(said.String(), "too many subjects to be compacted"); got != 1 {
		t.Errorf("it is said %d times, want once", got)
	}
	mustClose(t, e)
}

func TestADamagedSegmentIsLeftAsItIs(t *testing.T) {
	dir, said := t.TempDir(), &journal{}
	o := Options{Namespaces: []string{"orders"}, Logger: said.logger(), closeAt: 1, segmentBytes: 1}
	e := openTest(t, dir, o)
	for i := range 20 {
		mustAppend(t, e, testEvent(fmt.Sprintf("orders.s%d", i%2), fmt.Sprintf(`"payload %d"`, i)))
	}
	segments := e.log("orders").log.Segments()
	mustClose(t, e)
	name := fmt.Sprintf("orders.%d.log", segments[0].First)
	data := readFile(t, dir, name)
	data[bytes.Index(data, []byte("payload"))] ^= 4
	writeFile(t, data, dir, name)
	e = openTest(t, dir, o)
	for range 3 {
		e.log("orders").compaction.looked = 0
		compactAll(t, e)
	}
	if !bytes.Equal(readFile(t, dir, name), data) {
		t.Error("the damaged segment was written")
	}
	if e.Inspect("orders").Removed.Compacted == 0 {
		t.Error("nothing was compacted, want the good segments to be")
	}
	if _, _, err := e.Delete(t.Context(), "orders", []uint64{segments[0].First}); err == nil {
		t.Error("an event of the damaged segment was deleted, want an error")
	}
	mustClose(t, e)
}

// TestCompactingBesideWritersAndReadersLosesNothing has conditional writers of a few
// subjects, of which each event says which one it follows, while all is compacted.
func TestCompactingBesideWritersAndReadersLosesNothing(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{Namespaces: []string{"orders"}, Durability: mustDurability(t, "os"), closeAt: 4096})
	var writers, others sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for w := range 3 {
		writers.Go(func() {
			subject, last := fmt.Sprintf("orders.s%d", w), uint64(0)
			for range 300 {
				events := []bus.Event{testEvent(subject, fmt.Sprint(last))}
				if err := e.AppendIf(t.Context(), "orders", events, bus.Condition{SubjectIndex: bus.Expect(last)}); err != nil {
					t.Errorf("append to %s: %v", subject, err)
					return
				}
				last = events[0].Index
			}
		})
	}
	others.Go(func() {
		for ctx.Err() == nil {
			if _, err := e.log("orders").compact(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	others.Go(func() {
		for ctx.Err() == nil {
			at := uint64(0)
			events, _ := left(t, e)
			for _, ev := range events {
				if ev.Index <= at {
					t.Errorf("got %d behind %d", ev.Index, at)
				}
				at = ev.Index
			}
		}
	})
	writers.Wait()
	stop()
	others.Wait()
	compactAll(t, e)
	newest, _, _, err := e.Newest(t.Context(), "orders", []bus.Pattern{mustPattern(t, "orders.>")}, 10)
	events, _ := left(t, e)
	if err != nil || len(newest) != 3 || e.Inspect("orders").Removed.Compacted == 0 {
		t.Fatalf("got %v and %v, and %+v", newest, err, e.Inspect("orders"))
	}
	for _, index := range newest {
		if !slices.ContainsFunc(events, func(ev bus.Event) bool { return ev.Index == index }) {
			t.Errorf("event %d is the newest of its subject, and is not there", index)
		}
	}
	mustClose(t, e)
}

func TestACompactionThatIsAskedForWhileTheEngineRunsIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := retained(t, faultfs.New(), Retention{MaxAge: time.Hour}, Options{closeAt: 1})
		for range 50 {
			mustAppend(t, e, testEvent("orders.one", "1"))
		}
		if err := e.Retain("orders", bus.RetentionInfo{Compact: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if events, removed := left(t, e); len(events) != 1 || removed != 49 {
			t.Errorf("got %d events and %d removed, want the newest alone", len(events), removed)
		}
		mustClose(t, e)
	})
}

func TestADeletionWaitsForNothingItsContextDoesNotLetItWaitFor(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{Namespaces: []string{"orders"}})
	defer mustClose(t, e)
	mustAppend(t, e, testEvent("orders.a", "1"))
	e.log("orders").removing.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := e.Delete(ctx, "orders", []uint64{1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	e.log("orders").removing.Unlock()
}

func TestADeletionWithoutRoomSaysSoAndLeavesTheEvent(t *testing.T) {
	files := faultfs.New()
	e := openTest(t, "data", Options{FS: files, Namespaces: []string{"orders"}})
	mustAppend(t, e, testEvent("orders.a", "1"), testEvent("orders.b", "2"))
	full := func(c faultfs.Call) error {
		if c.Op == "write" && strings.HasSuffix(c.Path, ".tmp") {
			return fmt.Errorf("write %s: %w", c.Path, syscall.ENOSPC)
		}
		return nil
	}
	if err := e.log("orders").log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	files.Inject(full)
	if _, _, err := e.Delete(t.Context(), "orders", []uint64{1}); !errors.Is(err, bus.ErrInsufficientSpace) {
		t.Errorf("got %v, want %v", err, bus.ErrInsufficientSpace)
	}
	files.Inject(nil)
	if events, _ := left(t, e); len(events) != 2 {
		t.Errorf("got %d events, want both", len(events))
	}
	if _, _, err := e.Delete(t.Context(), "orders", []uint64{1}); err != nil {
		t.Error(err)
	}
	mustClose(t, e)
}
