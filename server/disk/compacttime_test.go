package disk

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

func timed(subject string, t bus.Timing) bus.Event {
	e := testEvent(subject, "1")
	e.Timing = &t
	return e
}

func TestEventsWhoseTimeIsOverGoFromACompactedNamespaceAndTheirSubjectsWithThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := retained(t, faultfs.New(), Retention{Compact: true}, Options{closeAt: 1})
		for i := range 200 { // each a subject of its own, as sessions are
			mustAppend(t, e, timed(fmt.Sprintf("orders.s%d", i), bus.Timing{ExpiresAt: time.Now().Add(time.Hour)}))
		}
		mustAppend(t, e, testEvent("orders.kept", "1"), testEvent("orders.kept", "2"))
		if err := e.log("orders").log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if events, removed := left(t, e); len(events) != 202 || removed != 0 {
			t.Errorf("before it is over: got %d events and %d removed, want all", len(events), removed)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		events, removed := left(t, e)
		info := e.Inspect("orders")
		if len(events) != 1 || removed != 201 || info.Removed.Expired != 200 || info.Removed.Compacted != 1 || info.Subjects != 1 {
			t.Errorf("behind it: got %d events and %d removed, %+v, want one that is kept", len(events), removed, info)
		}
		mustClose(t, e)
	})
}

func TestEventsThatWerePutOffGoWhenTheirTimeIsOverAndTheirSubjectsWithThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := retained(t, faultfs.New(), Retention{Compact: true}, Options{closeAt: 1})
		roll := func() {
			if err := e.log("orders").log.Roll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		at := time.Now().Add(time.Minute)
		for i := range 20 { // each a subject of its own, as reminders are
			mustAppend(t, e, timed(fmt.Sprintf("orders.s%d", i), bus.Timing{DeliverAt: at, ExpiresAt: at.Add(time.Minute)}))
		}
		roll()
		time.Sleep(time.Minute)
		if released, _, err := e.Release(t.Context(), "orders", at, 100); err != nil || len(released) != 20 {
			t.Fatalf("got %d delivered and %v, want 20", len(released), err)
		}
		roll()
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		events, removed := left(t, e)
		if info := e.Inspect("orders"); len(events) != 0 || removed != 40 || info.Removed.Expired != 40 || info.Subjects != 0 {
			t.Errorf("got %d events and %d removed, %+v, want none left at either place", len(events), removed, info)
		}
		mustClose(t, e)
	})
}
