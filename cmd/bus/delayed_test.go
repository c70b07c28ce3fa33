package main

import (
	"testing"
	"time"

	"example.com/bus"
)

func TestWhatWasDeliveredDoesNotWaitAgainWhateverTheClockSaysHere(t *testing.T) {
	ahead := time.Now().Add(time.Hour).UTC()
	delivered := bus.Event{Index: 9, Timing: &bus.Timing{DeliverAt: ahead, ExpiresAt: ahead.Add(time.Hour), Published: 4}}
	got, err := timedAnew(delivered)
	if err != nil || got.Waits() || got.GivenIndex() != 9 || !got.Timing.ExpiresAt.Equal(ahead.Add(time.Hour)) {
		t.Errorf("got %+v and %v, want it to expire, and to wait no more", got.Timing, err)
	}
	waiting := bus.Event{Index: 4, Timing: &bus.Timing{DeliverAt: ahead}}
	if got, err := timedAnew(waiting); err != nil || !got.Waits() || !got.Timing.DeliverAt.Equal(ahead) {
		t.Errorf("got %+v and %v, want it to wait on", got.Timing, err)
	}
	if delivered.Timing.Published != 4 {
		t.Error("the event that was read was changed, want it left alone")
	}
}
