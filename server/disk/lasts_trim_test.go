package disk

import (
	"fmt"
	"math"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

// Subjects that name an order come and go; only those that are kept take room.
func TestSubjectsOfDeletedEventsTakeNoRoomAmongTheLastOnes(t *testing.T) {
	e := retained(t, faultfs.New(), Retention{MaxBytes: 1 << 30}, Options{LastSubjects: 40})
	defer mustClose(t, e)
	for i := range 100 {
		event := []bus.Event{testEvent(fmt.Sprintf("orders.%d", i), "1")}
		if err := e.AppendIf(t.Context(), "orders", event, onSubject(0)); err != nil {
			t.Fatalf("subject %d: %v", i, err)
		}
		if i%10 != 9 {
			continue
		}
		if err := e.Purge(t.Context(), "orders", uint64(i)-2); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALogOfTooManySubjectsIsAskedAgainWhenSomeAreDeleted(t *testing.T) {
	e := retained(t, faultfs.New(), Retention{MaxBytes: 1 << 30}, Options{LastSubjects: 16})
	defer mustClose(t, e)
	for i := range 20 {
		mustAppend(t, e, testEvent(fmt.Sprintf("orders.%d", i), "1"))
	}
	all := []bus.Pattern{mustPattern(t, "orders.>")}
	if _, _, _, err := e.Newest(t.Context(), "orders", all, 100); err == nil {
		t.Fatal("got no error, want too many subjects")
	}
	if err := e.Purge(t.Context(), "orders", math.MaxUint64); err != nil {
		t.Fatal(err)
	}
	got := mustAppend(t, e, testEvent("orders.new", "1"))
	if newest, _, _, err := e.Newest(t.Context(), "orders", all, 100); err != nil || len(newest) != 1 || newest[0] != got[0].Index {
		t.Errorf("got %d and %v, want %d", newest, err, got[0].Index)
	}
}
