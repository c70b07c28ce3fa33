package disk

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"example.com/bus"
)

// refusedByDisk appends what a full disk has no room for.
func refusedByDisk(t *testing.T, e *Engine, f *failFS, events ...bus.Event) {
	t.Helper()
	var full error = syscall.ENOSPC
	f.write.Store(&full)
	defer f.write.Store(nil)
	if err := e.Append(t.Context(), "orders", events); !errors.Is(err, bus.ErrInsufficientSpace) {
		t.Errorf("got %v, want %v", err, bus.ErrInsufficientSpace)
	}
}

func TestSubjectsOfWhatAFullDiskRefusedTakeNoRoomAmongTheLastOnes(t *testing.T) {
	for name, commits := range map[string]int{"one by one": 4, "as one": 1} {
		t.Run(name, func(t *testing.T) {
			e, f, dir := openFailing(t)
			mustClose(t, e)
			e = openTest(t, dir, Options{FS: f, LastSubjects: 3})
			mustAppend(t, e, testEvent("orders.a", "1"), testEvent("orders.b", "2"))
			wantNewest(t, e, 3, 1, 2)
			for c := range commits {
				var events []bus.Event
				for i := range 4 / commits {
					events = append(events, testEvent(fmt.Sprintf("orders.new%d", 4*c+i), "1"))
				}
				refusedByDisk(t, e, f, events...)
			}
			wantNewest(t, e, 3, 1, 2)
			if got := e.Inspect("orders").Subjects; got != 2 {
				t.Errorf("got %d subjects kept, want 2", got)
			}
			for _, subject := range []string{"orders.c", "orders.c"} {
				last := uint64(0)
				if _, next := e.Bounds("orders"); next > 3 {
					last = next - 1
				}
				if err := e.AppendIf(t.Context(), "orders", one(subject), onSubject(last)); err != nil {
					t.Errorf("on %d: got %v, want it stored: it is the third subject", last, err)
				}
			}
			wantNewest(t, e, 5, 1, 2, 4)
		})
	}
}
