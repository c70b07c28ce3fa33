package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"example.com/bus"
)

func TestARemovedEventIsRefusedByWhyItIsGone(t *testing.T) {
	for reason, want := range map[string]struct {
		refusal *bus.Error
		text    string
	}{
		bus.RemovedDeleted:   {bus.ErrEventDeleted, "event 7 of namespace orders: deleted"},
		bus.RemovedCompacted: {bus.ErrEventRemoved, "event 7 of namespace orders: removed, because a newer event has the same subject"},
		bus.RemovedExpired:   {bus.ErrEventRemoved, "event 7 of namespace orders: removed, because the time was over"},
	} {
		var err error = fmt.Errorf("read: %w", &bus.RemovedError{Namespace: "orders", From: 7, Next: 8, Reason: reason})
		removed, ok := bus.AsRemoved(err)
		if !ok || removed.Error() != want.text {
			t.Errorf("%s: got %v, want %q", reason, removed, want.text)
			continue
		}
		if got := removed.Refusal(); !errors.Is(got, want.refusal) || got.Status != 410 || got.Detail != want.text {
			t.Errorf("%s: got %+v, want %v", reason, got, want.refusal)
		}
	}
	if _, ok := bus.AsRemoved(bus.ErrEventLost); ok {
		t.Error("a lost event is no removed one")
	}
	many := &bus.RemovedError{Namespace: "orders", From: 3, Next: 9, Reason: bus.RemovedDeleted}
	if got, want := many.Error(), "events 3 to 8 of namespace orders: deleted"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
