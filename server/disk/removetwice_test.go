package disk

import (
	"slices"
	"testing"
	"time"

	"example.com/bus/immuta"
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

