package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/bus"
)

// inFiles reports whether a text stands in any file of a directory.
func inFiles(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantWaiting(t *testing.T, e *Engine, want ...uint64) {
	t.Helper()
	if got, err := e.Delayed(t.Context(), "orders", 0, 1000); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %d waiting, %v, want %d", got, err, want)
	}
}

func TestAnEventThatIsDeletedWhileItWaitsIsNeverDelivered(t *testing.T) {
	dir, o := t.TempDir(), Options{}
	e := openTest(t, dir, o)
	hidden := putOff(10)
	hidden.Payload = []byte(`"s3cret-0f-0ne"`)
	mustAppend(t, e, hidden, putOff(20))
	all, already, err := e.Delete(t.Context(), "orders", []uint64{1})
	if err != nil || !slices.Equal(all, []uint64{1}) || len(already) != 0 {
		t.Fatalf("got %d deleted, %d before, %v, want 1", all, already, err)
	}
	for range 2 {
		wantWaiting(t, e, 2)
		mustClose(t, e)
		e = openTest(t, dir, o)
	}
	if got := releaseAt(t, e, 30); got != 1 {
		t.Errorf("got %d delivered, want 1", got)
	}
	mustClose(t, e)
	if inFiles(t, dir, "s3cret-0f-0ne") {
		t.Error("what was deleted is in a file")
	}
}

func TestDeletingAnEventThatWaitedDeletesItAtBothPlaces(t *testing.T) {
	for _, by := range []uint64{1, 3} {
		dir, o := t.TempDir(), Options{}
		e := openTest(t, dir, o)
		hidden := putOff(10)
		hidden.Payload = []byte(`"s3cret-0f-0ne"`)
		mustAppend(t, e, hidden, putOff(20))
		releaseAt(t, e, 10)
		all, _, err := e.Delete(t.Context(), "orders", []uint64{by})
		if err != nil || !slices.Equal(all, []uint64{1, 3}) {
			t.Fatalf("by index %d: got %d deleted, %v, want 1 and 3", by, all, err)
		}
		mustClose(t, e)
		if inFiles(t, dir, "s3cret-0f-0ne") {
			t.Errorf("by index %d: what was deleted is in a file", by)
		}
		os.RemoveAll(filepath.Join(dir, derivedDir)) // and is made anew of what is there
		e = openTest(t, dir, o)
		wantWaiting(t, e, 2)
		mustClose(t, e)
	}
}

func TestAnEventThatWaitedCountsAsTheLastOfItsSubjectAsLongAsItsDeliveryIsKept(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, putOff(10))
	mustAppend(t, e, testEvent("orders.other", "x"))
	if err := e.Purge(t.Context(), "orders", 2); err != nil { // closes the file, and deletes nothing
		t.Fatal(err)
	}
	releaseAt(t, e, 10)
	if at, err := e.Delivered(t.Context(), "orders", 1); !errors.Is(err, bus.ErrUnknownEvent) {
		t.Errorf("while it is kept where it waited: got %d, %v, want to be told of no other place", at, err)
	}
	wants := func(want uint64) {
		t.Helper()
		err := e.AppendIf(t.Context(), "orders", []bus.Event{testEvent("orders.later", "y")}, bus.Condition{SubjectIndex: bus.Expect(1 << 30)})
		if refusal, ok := bus.AsError(err); !ok || !errors.Is(err, bus.ErrWrongIndex) || refusal.Index != want {
			t.Errorf("got %v, want the last index to be %d", err, want)
		}
	}
	wants(1)
	if err := e.Purge(t.Context(), "orders", 3); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wants(1)
		if first, _ := e.Bounds("orders"); first != 3 {
			t.Fatalf("got %d as the first, want 3", first)
		}
		for published, want := range map[uint64]uint64{0: 0, 1: 3, 2: 0, 3: 0, 9: 0} {
			if at, err := e.Delivered(t.Context(), "orders", published); at != want || (err == nil) != (want > 0) {
				t.Errorf("of %d: got %d, %v, want %d", published, at, err, want)
			}
		}
		mustClose(t, e)
		e = openTest(t, dir, Options{})
	}
	wants(1)
	if err := e.Purge(t.Context(), "orders", 4); err != nil {
		t.Fatal(err)
	}
	wants(0)
	mustClose(t, e)
}

func TestADeletionLeavesAnotherEventOfTheSameIDAlone(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{})
	first, second := testEvent("orders.later", "1"), putOff(10)
	first.Id, second.Id = "twice", "twice" // as restored logs may have it
	mustAppend(t, e, first, second)
	all, _, err := e.Delete(t.Context(), "orders", []uint64{2})
	if err != nil || !slices.Equal(all, []uint64{2}) {
		t.Errorf("got %d deleted, %v, want 2", all, err)
	}
	mustClose(t, e)
}

// TestCompactingTakesNothingThatWaits has events of one subject that wait, and then
// one of them is delivered, while newer ones come.
func TestCompactingTakesNothingThatWaits(t *testing.T) {
	dir, now := t.TempDir(), dueBase
	o := Options{Namespaces: []string{"orders"}, closeAt: 1, Now: func() time.Time { return now }}
	e := openTest(t, dir, o)
	compact := func(what string, want ...uint64) {
		t.Helper()
		for range 10 {
			mustAppend(t, e, testEvent("orders.later", "0"))
		}
		if err := e.log("orders").log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.log("orders").compaction.looked = 0
		compactAll(t, e)
		events, _ := left(t, e)
		var got []uint64
		for i := range events {
			got = append(got, events[i].Index)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %d kept, want %d", what, got, want)
		}
	}
	mustAppend(t, e, putOff(10), putOff(7200))
	compact("while both wait", 1, 2, 12)
	now = dueBase.Add(time.Minute)
	releaseAt(t, e, 60) // at 13
	compact("a minute behind a delivery", 1, 2, 13, 23)
	now = dueBase.Add(time.Hour + time.Minute)
	mustAppend(t, e, putOff(7200), putOff(7200)) // so that the first file pays again
	compact("an hour behind it", 1, 2, 13, 24, 25, 35)
	mustClose(t, e)
	os.RemoveAll(filepath.Join(dir, derivedDir)) // and is made anew of what is there
	e = openTest(t, dir, o)
	wantWaiting(t, e, 2, 24, 25)
	releaseAt(t, e, 7200)
	mustAppend(t, e, testEvent("orders.later", "0"))
	now = dueBase.Add(10 * time.Hour)
	e.log("orders").compaction.of = nil
	compact("when all was delivered", 49)
	mustClose(t, e)
	os.RemoveAll(filepath.Join(dir, derivedDir))
	e = openTest(t, dir, o)
	wantWaiting(t, e)
	mustClose(t, e)
}

func TestAnExpiredEventThatIsNotTheNewestIsRemovedAsThat(t *testing.T) {
	now := dueBase
	e := openTest(t, t.TempDir(), Options{Namespaces: []string{"orders"}, closeAt: 1, Now: func() time.Time { return now }})
	offered := testEvent("orders.offered", "1")
	offered.Timing = &bus.Timing{ExpiresAt: dueBase.Add(time.Minute)}
	mustAppend(t, e, offered, testEvent("orders.offered", "2"))
	now = now.Add(time.Hour)
	if err := e.log("orders").log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	compactAll(t, e)
	if got := e.Inspect("orders").Removed; got.Expired != 1 || got.Compacted != 0 {
		t.Errorf("got %+v removed, want 1 that had expired", got)
	}
	mustClose(t, e)
}
