package delivery

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/bus"
)

func TestTimeoutRedeliversUntilTheAttemptsAreSpent(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 2, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: 5 * time.Second, Attempts: 3})
		defer s.Close()
		start := time.Now()
		wantChunk(t, s, "a.x 1(1)\na.x 2(1)\n")
		settle(t, h, Verdict{}, false, 2)
		wantChunk(t, s, "a.x 1(2)\n")
		wantChunk(t, s, "a.x 1(3)\n")
		wantFloor(t, s, 1)
		wantChunk(t, s, "dead 1(3)\n")
		if got, want := time.Since(start), 15*time.Second; got != want {
			t.Errorf("got dead after %v, want %v", got, want)
		}
		wantFloor(t, s, 3)
		nothing(t, s, time.Minute)
		if _, err := h.Settle("c", []string{eventID("a", 1)}, Verdict{}, false); !errors.Is(err, bus.ErrNotDelivered) {
			t.Errorf("ack of a dead event: got %v, want ErrNotDelivered", err)
		}
	})
}

func TestAckOfATimedOutEventTakesItOut(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 1, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Second})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\n")
		<-time.After(2 * time.Second) // nobody calls Next meanwhile
		if got, want := settle(t, h, Verdict{}, false, 1), " 1"; got != want {
			t.Errorf("got%s, want%s", got, want)
		}
		nothing(t, s, time.Minute)
	})
}

func TestNakWaitsForItsDelayAndBacksOff(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 1, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Hour})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\n")
		for i, want := range []time.Duration{10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
			start := time.Now()
			settle(t, h, Verdict{Kind: Nak}, false, 1)
			wantChunk(t, s, fmt.Sprintf("a.x 1(%d)\n", i+2))
			if got := time.Since(start); got != want*time.Millisecond {
				t.Errorf("nak %d: redelivered after %v, want %v", i, got, want*time.Millisecond)
			}
		}
		start := time.Now()
		settle(t, h, Verdict{Kind: Nak, Delay: 30 * time.Second}, false, 1)
		wantChunk(t, s, "a.x 1(11)\n")
		if got, want := time.Since(start), 30*time.Second; got != want {
			t.Errorf("redelivered after %v, want %v", got, want)
		}
	})
}

func TestNakOfTheLastAttemptIsDeadAtOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 1, "a.x")
		s := ackStream(t, h, AckSpec{Attempts: 1})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\n")
		start := time.Now()
		settle(t, h, Verdict{Kind: Nak, Delay: time.Hour}, false, 1)
		wantChunk(t, s, "dead 1(1)\n")
		if got := time.Since(start); got != 0 {
			t.Errorf("dead after %v, want at once", got)
		}
	})
}

func TestWipRestartsTheDeadline(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 1, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: 5 * time.Second})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\n")
		for range 3 {
			nothing(t, s, 4*time.Second)
			settle(t, h, Verdict{Kind: Wip}, false, 1)
		}
		nothing(t, s, 4*time.Second)
		wantChunk(t, s, "a.x 1(2)\n")
	})
}

func TestRedeliveriesGoBeforeNewEvents(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 2, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Second})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\na.x 2(1)\n")
		nothing(t, s, time.Second/2)
		publishMany(m, 1, "a.x")
		<-time.After(time.Second)
		wantChunk(t, s, "a.x 1(2)\na.x 2(2)\na.x 3(1)\n")
	})
}

// A wip may bring a deadline forward: behind a nak with a long delay it does.
func TestAWipBehindALongNakIsRedeliveredAfterTheRedeliveryTime(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Second})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\n")
		settle(t, h, Verdict{Kind: Nak, Delay: time.Hour}, false, 1)
		begin := time.Now()
		go func() {
			<-time.After(time.Minute) // Next sleeps by now, until the nak's hour has passed
			settle(t, h, Verdict{Kind: Wip}, false, 1)
		}()
		wantChunk(t, s, "a.x 1(2)\n")
		if got, want := time.Since(begin), time.Minute+time.Second; got != want {
			t.Errorf("delivered again after %s, want %s", got, want)
		}
	})
}

// Deadlines are by the monotonic clock, so that an hour that is put back or
// forward redelivers nothing early and holds nothing up.
func TestDeadlinesDoNotFollowTheWallClock(t *testing.T) {
	fs := newFlights(&Stream{hub: &Hub{flown: flown{most: 1 << 40}}}, AckSpec{Redelivery: time.Second, Attempts: 3, Inflight: 3})
	e := &bus.Event{Id: "e", Subject: "a.x", Index: 1}
	fs.launch(nil, e, time.Now())
	fl := fs.byID["e"]
	s := &Stream{flights: fs}
	for _, v := range []Verdict{{Kind: Wip}, {Kind: Nak}, {Kind: Nak, Delay: time.Hour}, {Kind: Wip}} {
		s.apply(fl, v)
		if got := fl.due.String(); !strings.Contains(got, "m=+") {
			t.Errorf("after %+v: got the deadline %s, wanted one with a monotonic reading", v, got)
		}
	}
	if got := fl.sentAt.String(); !strings.Contains(got, "m=+") {
		t.Errorf("got a delivery at %s, wanted a monotonic reading", got)
	}
}
