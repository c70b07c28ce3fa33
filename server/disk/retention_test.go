package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
	"example.com/bus/server"
	"example.com/bus/server/enginetest"
)

// retained opens an engine in a bubble, with a policy for its namespace orders.
func retained(t *testing.T, files *faultfs.FS, r Retention, o Options) *Engine {
	t.Helper()
	o.FS, o.Namespaces = files, []string{"orders"}
	o.Retention = map[string]Retention{"orders": r}
	e, err := Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// fill appends events one by one.
func fill(t *testing.T, e *Engine, n, size int) {
	t.Helper()
	for range n {
		mustAppend(t, e, testEvent("orders.created", `"`+strings.Repeat("x", size)+`"`))
	}
}

func TestAtLeastTheNewestEventsAreKeptAndAboutASixteenthMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := faultfs.New()
		e := retained(t, files, Retention{MaxEvents: 160}, Options{})
		for range 200 { // the keeper cuts no segment while others append
			fill(t, e, 5, 10)
			synctest.Wait()
		}
		first, next := e.Bounds("orders")
		if kept := next - first; next != 1001 || kept < 160 || kept > 190 {
			t.Errorf("got the events %d to %d, want 160 or a few more up to 1000", first, next-1)
		}
		info := e.Inspect("orders")
		if info.Deleted.Events != first-1 || info.Deleted.Segments == 0 || info.Deleted.Bytes == 0 || info.Segments > 20 || info.Events != next-first {
			t.Errorf("got %+v, want %d events deleted", info, first-1)
		}
		if got := *info.Retention; got != (bus.RetentionInfo{MaxEvents: 160, Discard: "old"}) {
			t.Errorf("got the policy %+v", got)
		}
		mustClose(t, e)
		e = retained(t, files, Retention{MaxEvents: 160}, Options{})
		if again, end := e.Bounds("orders"); again != first || end != next {
			t.Errorf("opened again: got %d to %d, want %d to %d", again, end, first, next)
		}
		mustClose(t, e)
	})
}

func TestTheFilesStayBelowTheLimitOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := retained(t, faultfs.New(), Retention{MaxBytes: 1 << 20}, Options{})
		defer mustClose(t, e)
		for range 40 {
			fill(t, e, 10, 10_000)
			synctest.Wait()
			if got, most := e.Inspect("orders").Bytes, int64(1<<20+leastSegment); got > most {
				t.Fatalf("got %d bytes, want at most %d", got, most)
			}
		}
		if got := e.Inspect("orders").Bytes; got < 1<<20*7/8 {
			t.Errorf("got %d bytes, want nearly 1 MiB: too much was deleted", got)
		}
	})
}

func TestAnEventIsDeletedByItsAgeAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := retained(t, faultfs.New(), Retention{MaxAge: time.Hour}, Options{})
		defer mustClose(t, e)
		for i := range uint64(240) { // an event a minute, for four hours
			fill(t, e, 1, 10)
			time.Sleep(time.Minute)
			synctest.Wait()
			first, next := e.Bounds("orders")
			if next != i+2 {
				t.Fatalf("got the end %d, want %d", next, i+2)
			}
			// Minutes ago, of the oldest that is there, and of one that is gone.
			if there := next - first; i > 70 && (there < 60 || there > 66) {
				t.Fatalf("after %d minutes: got the events of %d minutes, want those of 60 and a few", i+1, there)
			}
		}
		// A namespace where nothing happens any more is emptied, too.
		time.Sleep(2 * time.Hour)
		if first, next := e.Bounds("orders"); first != 241 || next != 241 {
			t.Errorf("got the bounds %d and %d, want 241 and 241", first, next)
		}
		if got := mustAppend(t, e, testEvent("orders.created", "1")); got[0].Index != 241 {
			t.Errorf("got index %d, want 241", got[0].Index)
		}
	})
}

func TestAClockThatIsSetBackDeletesNothing(t *testing.T) {
	c := &fakeClock{}
	e := openTest(t, t.TempDir(), Options{Namespaces: []string{"orders"}, Now: c.now, Retention: map[string]Retention{"orders": {MaxAge: time.Hour}}})
	fill(t, e, 3, 10)
	for _, step := range []time.Duration{-10 * 365 * 24 * time.Hour, time.Hour, 10*365*24*time.Hour - 2*time.Hour} {
		c.advance(step)
		e.keeper.pass(t.Context())
		if first, _ := e.Bounds("orders"); first != 1 {
			t.Fatalf("the clock at %s: got the first event %d, want 1", c.now(), first)
		}
	}
	c.advance(time.Hour + 2*time.Minute)
	e.keeper.pass(t.Context())
	c.advance(time.Hour)
	e.keeper.pass(t.Context())
	if first, _ := e.Bounds("orders"); first != 4 {
		t.Errorf("when it is past its age: got the first event %d, want none", first)
	}
}

func TestDiscardNewRefusesWhatPassesTheLimitAndSaysWhich(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			r    Retention
			size int
			says string
		}{
			{Retention{MaxEvents: 100, DiscardNew: true}, 10, "it holds 100 events, and its limit is 100 (100events,discard=new)"},
			{Retention{MaxBytes: 1 << 20, DiscardNew: true}, 10_000, "its limit is 1048576"},
		} {
			e := retained(t, faultfs.New(), c.r, Options{})
			var refused error
			var mu sync.Mutex
			var publishers sync.WaitGroup
			for range 8 {
				publishers.Go(func() {
					for {
						err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", `"`+strings.Repeat("x", c.size)+`"`)})
						if err != nil {
							mu.Lock()
							defer mu.Unlock()
							refused = err
							return
						}
					}
				})
			}
			publishers.Wait()
			synctest.Wait()
			if !errors.Is(refused, bus.ErrInsufficientSpace) || !strings.Contains(refused.Error(), "nothing of it was stored") {
				t.Errorf("got %v, want %v", refused, bus.ErrInsufficientSpace)
			}
			err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", `"`+strings.Repeat("x", c.size)+`"`)})
			if c.r.MaxBytes > 0 && err == nil {
				err = refused // it was near the limit, with others on their way
			}
			if err == nil && c.r.MaxEvents > 0 || err != nil && !strings.Contains(err.Error(), c.says) && e.Inspect("orders").Events == c.r.MaxEvents {
				t.Errorf("got %v, want %q in it", err, c.says)
			}
			info := e.Inspect("orders")
			if info.First != 1 || c.r.MaxEvents > 0 && info.Events > c.r.MaxEvents || c.r.MaxBytes > 0 && info.Bytes > c.r.MaxBytes || info.Problem != "" {
				t.Errorf("got %+v, want nothing deleted and nothing beyond the limit", info)
			}
			if err := e.SetRetention("orders", Retention{}); err != nil {
				t.Fatal(err)
			}
			fill(t, e, 1, c.size) // one call changes it
			mustClose(t, e)
		}
	})
}

func TestAPurgeDeletesWhatIsBelowAnIndex(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{})
	fill(t, e, 20, 10)
	if err := e.Purge(t.Context(), "orders", 21); err != nil {
		t.Fatal(err)
	}
	if first, next := e.Bounds("orders"); first != 21 || next != 21 {
		t.Errorf("got the bounds %d and %d, want 21 and 21", first, next)
	}
	if got := mustAppend(t, e, testEvent("orders.created", "1")); got[0].Index != 21 {
		t.Errorf("got index %d, want 21", got[0].Index)
	}
	if err := e.Purge(t.Context(), "nosuch", 1); !errors.Is(err, bus.ErrUnknownNamespace) {
		t.Errorf("got %v, want %v", err, bus.ErrUnknownNamespace)
	}
}

func TestWhoOnlyReadsDeletesNothing(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	fill(t, e, 5, 10)
	mustClose(t, e)
	e = openTest(t, dir, Options{Namespaces: []string{"orders"}, ReadOnly: true, Retention: map[string]Retention{"orders": {MaxEvents: 1}}})
	if err := e.SetRetention("orders", Retention{MaxEvents: 1}); !errors.Is(err, bus.ErrStorage) {
		t.Errorf("got %v, want %v", err, bus.ErrStorage)
	}
	if err := e.Purge(t.Context(), "orders", 6); !errors.Is(err, bus.ErrStorage) {
		t.Errorf("got %v, want %v", err, bus.ErrStorage)
	}
	if first, next := e.Bounds("orders"); first != 1 || next != 6 {
		t.Errorf("got the bounds %d and %d, want 1 and 6", first, next)
	}
}

func TestAPolicyThatCannotBeMeantIsRefused(t *testing.T) {
	for _, c := range []struct {
		namespace string
		r         Retention
		says      string
	}{
		{"order", Retention{MaxEvents: 1}, `namespace "order": it is not declared, declared are orders`},
		{"orders", Retention{MaxAge: time.Second}, "an age of 1s: wanted 1m0s or more"},
		{"orders", Retention{MaxBytes: 1000}, "1000 bytes: wanted 1048576 (1MiB) or more"},
		{"orders", Retention{MaxAge: time.Hour, DiscardNew: true}, "discard=new without"},
	} {
		wantRefused(t, t.TempDir(), Options{Namespaces: []string{"orders"}, Retention: map[string]Retention{c.namespace: c.r}}, c.says)
	}
}

func TestWithoutAPolicyThereIsOneFileAndNothingRuns(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	fill(t, e, 100, 1000)
	if e.keeper.done != nil {
		t.Error("a keeper runs, and there is nothing for it to do")
	}
	mustClose(t, e)
	if got, _ := filepath.Glob(filepath.Join(dir, "*.*.log")); len(got) > 0 {
		t.Errorf("got the segments %q, want none", got)
	}
}

func TestIdsTimesAndSubjectsAreFoundBehindWhatWasDeleted(t *testing.T) {
	dir := t.TempDir()
	o := Options{Namespaces: []string{"orders"}, segmentBytes: 4000, cutAt: groupLimits{events: 8, bytes: 1 << 20, hashes: 50, held: 100}, saveAt: saveLimits{entries: 1, events: 8, bytes: 1 << 20}}
	e := openTest(t, dir, o)
	var events []bus.Event
	for i := range 100 {
		event := testEvent(fmt.Sprintf("orders.s%d", i/10), fmt.Sprintf("%q", strings.Repeat("x", 200)))
		if i%2 == 0 {
			event.Id = fmt.Sprintf("own-%d", i)
		}
		events = append(events, mustAppend(t, e, event)...)
	}
	for reopened := range 3 {
		if reopened == 1 {
			if err := e.Purge(t.Context(), "orders", 51); err != nil {
				t.Fatal(err)
			}
		}
		first, _ := e.Bounds("orders")
		for i := range events {
			at, err := e.Find(t.Context(), "orders", events[i].Id)
			if gone := events[i].Index < first; gone != errors.Is(err, bus.ErrUnknownEvent) || !gone && at != events[i].Index {
				t.Fatalf("reopened %d: %s: got %d and %v, want %d, the first is %d", reopened, events[i].Id, at, err, events[i].Index, first)
			}
		}
		for s := range 10 {
			got := subjectAt(t, e, fmt.Sprintf("orders.s%d", s))
			if want := max(uint64(10*s+1), first); got != want && uint64(10*s+10) >= first {
				t.Errorf("reopened %d: subject %d: got %d, want %d", reopened, s, got, want)
			}
		}
		mustClose(t, e)
		e = openTest(t, dir, o)
	}
}

// subjectAt is where the first event of a subject is, by skipping and reading.
func subjectAt(t *testing.T, e *Engine, subject string) uint64 {
	t.Helper()
	pattern, err := bus.ParsePattern(subject)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := e.Bounds("orders")
	r := e.Reader("orders", first)
	defer r.Close()
	for at := first; ; {
		at, _ = e.Skip("orders", at, []bus.Pattern{pattern})
		r.Seek(at)
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			if events[i].Subject == subject {
				return events[i].Index
			}
		}
		at = events[len(events)-1].Index + 1
	}
}

func TestARollThatWasCutOffIsFinishedByTheNextOpen(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	fill(t, e, 5, 10)
	if err := e.log("orders").log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, e)
	writeFile(t, readFile(t, dir, "orders.log"), dir, "orders.log.tmp")
	removeFile(t, dir, "orders.log")
	if found, err := Discover(dir); err != nil || len(found) != 1 || found[0] != "orders" {
		t.Errorf("got %q and %v, want orders", found, err)
	}
	e = openTest(t, dir, Options{ReadOnly: true})
	if first, next := e.Bounds("orders"); first != 1 || next != 6 {
		t.Errorf("reading only: got %d and %d, want 1 and 6", first, next)
	}
	mustClose(t, e)
	e = openTest(t, dir, Options{})
	if got := mustAppend(t, e, testEvent("orders.created", "1")); got[0].Index != 6 {
		t.Errorf("got index %d, want 6", got[0].Index)
	}
	mustClose(t, e)
	removeFile(t, dir, "orders.log")
	err := wantRefused(t, dir, Options{Namespaces: []string{"orders"}}, "orders.log", "missing", "bring it back")
	if _, ok := errors.AsType[*immuta.CorruptError](err); !ok {
		t.Errorf("got %v, want it to be told as damage", err)
	}
}

func removeFile(t *testing.T, path ...string) {
	t.Helper()
	if err := os.Remove(filepath.Join(path...)); err != nil {
		t.Fatal(err)
	}
}

func TestTheEngineKeepsTheContractWithManySegments(t *testing.T) {
	enginetest.Run(t, opener(Options{segmentBytes: 300}))
}

func TestWhatIsKnownOfDeletedEventsIsForgotten(t *testing.T) {
	dir := t.TempDir()
	o := Options{Namespaces: []string{"orders"}, segmentBytes: 20_000, cutAt: groupLimits{events: 16, bytes: 1 << 20, hashes: 50, held: 1000}, saveAt: saveLimits{entries: 1, events: 8, bytes: 1 << 20}}
	e := openTest(t, dir, o)
	for i := range 2000 {
		event := testEvent(fmt.Sprintf("orders.s%d", i), "1")
		event.Id = fmt.Sprintf("own-%d", i)
		mustAppend(t, e, event)
	}
	all := knownOf(e)
	if err := e.Purge(t.Context(), "orders", 1900); err != nil {
		t.Fatal(err)
	}
	for reopened := range 2 {
		first, next := e.Bounds("orders")
		if err := e.log("orders").ids.await(t.Context()); err != nil {
			t.Fatal(err)
		}
		// What is not sorted yet is not looked at.
		if got, most := knownOf(e), int(next-first)+levelBuffer+20; all < 2000 || got > most {
			t.Errorf("reopened %d: got %d of %d ids and groups, want at most %d", reopened, got, all, most)
		}
		if at, err := e.Find(t.Context(), "orders", "own-1999"); err != nil || at != 2000 {
			t.Errorf("got %d and %v, want 2000", at, err)
		}
		mustClose(t, e)
		e = openTest(t, dir, o)
	}
}

// knownOf counts ids and groups of subjects that are in memory.
func knownOf(e *Engine) (count int) {
	n := e.log("orders")
	n.ids.mu.Lock()
	defer n.ids.mu.Unlock()
	if n.ids.set != nil {
		count = len(n.ids.set.hashes.recent)
		for _, s := range n.ids.set.hashes.sorted {
			count += len(s)
		}
	}
	n.subjects.mu.Lock()
	defer n.subjects.mu.Unlock()
	if n.subjects.chain != nil {
		count += len(n.subjects.chain.groups)
	}
	return count
}

func TestTheEngineKeepsTheContractOfWhatIsDeleted(t *testing.T) {
	purge := func(t *testing.T, e server.Engine, namespace string, before uint64) {
		t.Helper()
		if err := e.(*Engine).Purge(t.Context(), namespace, before); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []Options{{segmentBytes: 250}, {}, {segmentBytes: 250, Sealing: fakeSealing{"secret"}}, {segmentBytes: 250, Durability: mustDurability(t, "os")}} {
		enginetest.RunPurged(t, opener(o), purge)
	}
}
