package disk

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// TestADeletedEventIsNotTheNewestForWhoReadTheLogMeanwhile deletes an event that was put
// off while the log is read for the newest ones, behind the places where it was: the
// reading waits for the sync of what stands there.
func TestADeletedEventIsNotTheNewestForWhoReadTheLogMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openTest(t, "data", Options{FS: faultfs.New(), Durability: Durability{mode: immuta.SyncInterval, every: time.Hour}})
		mustAppend(t, e, testEvent("orders.later", "1"), putOff(10))
		roll := func() {
			if err := e.log("orders").log.Roll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		roll()
		releaseAt(t, e, 10) // at 3
		roll()
		mustAppend(t, e, testEvent("orders.other", "1"))
		go e.Newest(t.Context(), "orders", []bus.Pattern{mustPattern(t, "orders.>")}, 10)
		synctest.Wait()
		if all, _, err := e.Delete(t.Context(), "orders", []uint64{2}); err != nil || len(all) != 2 {
			t.Fatalf("got %d deleted and %v, want both places", all, err)
		}
		wantNewest(t, e, 5, 1, 4)
		mustClose(t, e)
	})
}

// TestADeletedEventIsNotTheNewestBehindADeletionThatFailed has the second of two files
// refused, and then deletes both events again.
func TestADeletedEventIsNotTheNewestBehindADeletionThatFailed(t *testing.T) {
	files := faultfs.New()
	e := openTest(t, "data", Options{FS: files})
	mustAppend(t, e, testEvent("orders.a", "1"), testEvent("orders.a", "2"))
	if err := e.log("orders").log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, e, testEvent("orders.b", "3"))
	wantNewest(t, e, 4, 2, 3)
	written := 0
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "rename" && strings.HasSuffix(c.Path, ".log.tmp") && c.Path != "data/orders.log.tmp" {
			if written++; written == 2 {
				return syscall.EIO
			}
		}
		return nil
	})
	if _, _, err := e.Delete(t.Context(), "orders", []uint64{2, 3}); !errors.Is(err, bus.ErrStorage) {
		t.Fatalf("got %v of a deletion that was cut off, want %v", err, bus.ErrStorage)
	}
	files.Inject(nil)
	wantNewest(t, e, 4, 1, 3)
	if _, _, err := e.Delete(t.Context(), "orders", []uint64{2, 3}); err != nil {
		t.Fatal(err)
	}
	wantNewest(t, e, 4, 1)
}

// TestAConditionHoldsWhileAnEventThatWasPutOffIsDeleted asks for it while the commit in
// front is at its sync.
func TestAConditionHoldsWhileAnEventThatWasPutOffIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openTest(t, "data", Options{FS: slowFS{faultfs.New()}})
		wantNewest(t, e, 1)
		go e.Append(t.Context(), "orders", one("orders.a"))
		synctest.Wait()
		answered := make(chan error, 1)
		go func() { answered <- e.AppendIf(t.Context(), "orders", one("orders.a"), onSubject(1)) }()
		synctest.Wait()
		go e.log("orders").lasts.anew() // as the deletion does at its end
		if err := <-answered; err != nil {
			t.Errorf("got %v, want it stored", err)
		}
		mustClose(t, e)
	})
}
