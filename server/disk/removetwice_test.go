package disk

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func TestADeletionTakesTheDeliveryThatNobodyCanReadYet(t *testing.T) {
	dir, o := t.TempDir(), Options{Durability: Durability{mode: immuta.SyncInterval, every: time.Hour}}
	e := openTest(t, dir, o)
	hidden := putOff(10)
	hidden.Payload = []byte(`"s3cret-0f-0ne"`)
	mustAppend(t, e, hidden)
	if err := e.log("orders").log.Roll(t.Context()); err != nil { // now it can be read
		t.Fatal(err)
	}
	if got := releaseAt(t, e, 10); got != 1 {
		t.Fatalf("got %d delivered, want 1", got)
	}
	all, _, err := e.Delete(t.Context(), "orders", []uint64{1})
	if err != nil || !slices.Equal(all, []uint64{1, 2}) {
		t.Errorf("got %d deleted, %v, want 1 and 2", all, err)
	}
	mustClose(t, e)
	if inFiles(t, dir, "s3cret-0f-0ne") {
		t.Error("what was deleted is in a file")
	}
}

// TestASecondDeletionFinishesWhatAnErrorHasCutOffBetweenTwoPlaces refuses the second file
// of the two that are written anew.
func TestASecondDeletionFinishesWhatAnErrorHasCutOffBetweenTwoPlaces(t *testing.T) {
	for _, by := range []uint64{1, 2} {
		files := faultfs.New()
		e := openTest(t, "data", Options{FS: files})
		mustAppend(t, e, putOff(10))
		if err := e.log("orders").log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		releaseAt(t, e, 10) // at 2, in another file
		written := 0
		files.Inject(func(c faultfs.Call) error {
			if c.Op == "rename" && strings.HasSuffix(c.Path, ".log.tmp") && c.Path != "data/orders.log.tmp" {
				if written++; written == 2 {
					return syscall.EIO
				}
			}
			return nil
		})
		if _, _, err := e.Delete(t.Context(), "orders", []uint64{by}); err == nil {
			t.Fatal("got no error of a deletion that was cut off")
		}
		files.Inject(nil)
		all, _, err := e.Delete(t.Context(), "orders", []uint64{by})
		if err != nil || !slices.Equal(all, []uint64{1, 2}) {
			t.Errorf("by index %d: got %d deleted, %v, want 1 and 2", by, all, err)
		}
		if events, removed := left(t, e); len(events) != 0 || removed != 2 {
			t.Errorf("by index %d: got %d left and %d removed, want both gone", by, len(events), removed)
		}
		mustClose(t, e)
	}
}

// TestADeletionByAnIndexThatWasCompactedTakesWhatWasDeliveredOfIt has what waited
// removed an hour behind its delivery, which is in a file that does not pay.
func TestADeletionByAnIndexThatWasCompactedTakesWhatWasDeliveredOfIt(t *testing.T) {
	now := dueBase
	e := openTest(t, t.TempDir(), Options{closeAt: 1, Now: func() time.Time { return now }})
	mustAppend(t, e, putOff(10))
	if err := e.log("orders").log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	releaseAt(t, e, 10) // at 2
	mustAppend(t, e, testEvent("orders.later", "0"), testEvent("orders.a", "0"), testEvent("orders.b", "0"))
	now = now.Add(2 * time.Hour)
	compactAll(t, e)
	if events, _ := left(t, e); len(events) != 4 || events[0].Index != 2 {
		t.Fatalf("got %d events left, want 4, the first of them delivered", len(events))
	}
	all, already, err := e.Delete(t.Context(), "orders", []uint64{1})
	if err != nil || !slices.Equal(all, []uint64{1, 2}) || !slices.Equal(already, []uint64{1}) {
		t.Errorf("got %d deleted, %d before, %v, want 1 and 2, and 1", all, already, err)
	}
	if events, _ := left(t, e); len(events) != 3 {
		t.Errorf("got %d events left, want 3", len(events))
	}
}

// TestADeletionGoesOnWhereTheOtherPlaceOfTheEventWasLost has a repair set aside the place
// where it waited.
func TestADeletionGoesOnWhereTheOtherPlaceOfTheEventWasLost(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, putOff(10))
	if err := e.log("orders").log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	releaseAt(t, e, 10) // at 2
	mustClose(t, e)
	closed := readFile(t, dir, "orders.1.log")
	closed[len(closed)-30] ^= 1
	writeFile(t, closed, dir, "orders.1.log")
	if did, err := Repair(dir, "orders", Options{}, true); err != nil || len(did.Gaps) != 1 {
		t.Fatalf("got %+v and %v, want one gap", did, err)
	}
	e = openTest(t, dir, Options{})
	all, _, err := e.Delete(t.Context(), "orders", []uint64{2})
	if err != nil || !slices.Equal(all, []uint64{2}) {
		t.Errorf("got %d deleted and %v, want 2", all, err)
	}
}

// TestADeletionGoesOnWhereTheRetentionTookTheOtherPlaceMeanwhile takes it between the look
// at both and the first file.
func TestADeletionGoesOnWhereTheRetentionTookTheOtherPlaceMeanwhile(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{})
	mustAppend(t, e, putOff(10))
	n := e.log("orders")
	roll := func() {
		if err := n.log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	roll()
	releaseAt(t, e, 10) // at 2
	roll()
	dooms, err := n.doom(t.Context(), []uint64{1})
	if err != nil || len(dooms) != 2 {
		t.Fatalf("got %d to be deleted and %v, want 2", len(dooms), err)
	}
	if err := e.Purge(t.Context(), "orders", 2); err != nil {
		t.Fatal(err)
	}
	if err := n.deleteAll(t.Context(), dooms); err != nil {
		t.Errorf("got %v, want the other place deleted", err)
	}
	r := e.Reader("orders", 2)
	defer r.Close()
	if _, err := r.Next(); !isRemoved(err) {
		t.Errorf("got %v, want event 2 removed", err)
	}
}

func TestDeletedEventsBesideEachOtherAreToldAsOneAlsoInSeveralFiles(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{})
	defer mustClose(t, e)
	for range 4 {
		mustAppend(t, e, testEvent("orders.a", "1"), testEvent("orders.a", "2"))
		if err := e.Purge(t.Context(), "orders", 2); err != nil { // deletes nothing, and closes the first file
			t.Fatal(err)
		}
	}
	for _, index := range []uint64{2, 3, 4, 5} { // each closes the file that it is in
		if _, _, err := e.Delete(t.Context(), "orders", []uint64{index}); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, e, testEvent("orders.a", "x"))
	}
	if _, _, err := e.Delete(t.Context(), "orders", []uint64{9, 10}); err != nil {
		t.Fatal(err)
	}
	r := e.Reader("orders", 1)
	defer r.Close()
	for _, want := range [][2]uint64{{2, 6}, {9, 11}} {
		for range 2 {
			r.Seek(want[0])
			for range 2 {
				_, err := r.Next()
				removed, ok := bus.AsRemoved(err)
				if !ok || removed.From != want[0] || removed.Next != want[1] {
					t.Fatalf("got %v, want events %d to %d in one", err, want[0], want[1]-1)
				}
			}
		}
		r.Seek(want[1])
		if events, err := r.Next(); err != nil || events[0].Index != want[1] {
			t.Fatalf("behind them: got %v, want event %d", err, want[1])
		}
	}
}
