package delivery

import (
	"errors"
	"testing"
	"time"

	"example.com/bus"
)

// publishTimed appends an event that is delivered until a time from now, and one
// that waits when it is put off.
func publishTimed(m *memory, subject string, ttl, delay time.Duration) {
	t := bus.Timing{}
	if ttl != 0 {
		t.ExpiresAt = time.Now().Add(ttl)
	}
	if delay > 0 {
		t.DeliverAt = time.Now().Add(delay)
	}
	m.timing = &t
	m.publish(subject)
	m.timing = nil
}

func TestAnEventThatHasExpiredIsDeliveredToNobodyWhoComesLater(t *testing.T) {
	for name, spec := range map[string]Spec{
		"shared frames":  {Format: lines, Shared: true},
		"deliveries":     {},
		"with a bound":   {Limit: 2},
		"acknowledgment": {ConsumerID: "c", Ack: &AckSpec{}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
				publishTimed(m, "a.x", time.Minute, 0)
				publishTimed(m, "a.x", time.Hour, 0)
				m.publish("a.x")
				<-time.After(time.Minute)
				spec.Places = []Place{place(t, 1, "a.x")}
				s := open(t, h, spec)
				defer s.Close()
				want := "a.x 2(1)\na.x 3(1)\n"
				if spec.Shared {
					want = "a.x 2\na.x 3\n"
				}
				wantChunk(t, s, want)
				if got := h.Expired(); got != 1 {
					t.Errorf("got %d events counted as expired, want 1", got)
				}
			})
		})
	}
}

func TestALiveStreamGetsAnEventBeforeItExpires(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Places: []Place{place(t, 0, "a.x")}, Format: lines, Shared: true})
		defer s.Close()
		nothing(t, s, time.Second)
		publishTimed(m, "a.x", time.Minute, 0)
		wantChunk(t, s, "a.x 1\n")
		publishTimed(m, "a.x", -time.Second, 0)
		m.publish("a.x")
		wantChunk(t, s, "a.x 3\n")
	})
}

func TestAnExpiredEventIsNotDeliveredAgainAndHoldsNoPlace(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishTimed(m, "a.x", 8*time.Second, 0)
		m.publish("a.x")
		s := ackStream(t, h, AckSpec{Redelivery: 5 * time.Second, Inflight: 1})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\n")
		wantChunk(t, s, "a.x 1(2)\n")
		start := time.Now()
		wantChunk(t, s, "a.x 2(1)\n")
		if got, want := time.Since(start), 5*time.Second; got != want {
			t.Errorf("the next one came %v later, want %v: when the one that has expired was due", got, want)
		}
		if got := settle(t, h, Verdict{}, false, 2); got != " 2" {
			t.Errorf("got%s, want 2", got)
		}
		wantFloor(t, s, 3)
		nothing(t, s, time.Minute)
	})
}

func TestANamedConsumerIsDoneWithWhatHasExpired(t *testing.T) {
	for _, how := range []string{"connected", "restart"} {
		t.Run(how, func(t *testing.T) {
			withNamed(t, AckSpec{Redelivery: 5 * time.Second}, func(t *testing.T, n *named) {
				publishTimed(n.m, "a.x", time.Minute, 0)
				m := n.join(MemberSpec{})
				wantChunk(t, m, "a.x 1(1)\n")
				n.settle(Verdict{Kind: Nak, Delay: 2 * time.Minute}, false, 1)
				if how == "restart" {
					m.Close()
					n.kill()
					m = n.join(MemberSpec{})
				}
				defer m.Close()
				nothing(t, m, 3*time.Minute)
				if state := n.c.State(); state.Unacked != 0 || state.Floor != 1 || len(n.book.dead) != 0 {
					t.Errorf("got %+v and %d dead letters, want a floor of 1 and none", state, len(n.book.dead))
				}
			})
		})
	}
}

func TestAnEventThatWaitsIsDeliveredWhereItComesDue(t *testing.T) {
	for name, spec := range map[string]Spec{"shared frames": {Format: lines, Shared: true}, "deliveries": {}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
				spec.Places = []Place{place(t, 1, "a.x")}
				s := open(t, h, spec)
				defer s.Close()
				publishTimed(m, "a.x", 0, time.Minute)
				nothing(t, s, 2*time.Minute)
				m.timing = &bus.Timing{DeliverAt: time.Now(), Published: 1}
				m.publish("a.x")
				want := "a.x 2(1)\n"
				if spec.Shared {
					want = "a.x 2\n"
				}
				wantChunk(t, s, want)
			})
		})
	}
}

func TestAnEventThatWaitsCannotBeAcknowledged(t *testing.T) {
	withNamed(t, AckSpec{}, func(t *testing.T, n *named) {
		publishTimed(n.m, "a.x", 0, time.Minute)
		n.m.publish("a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 2(1)\n")
		if _, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false); !errors.Is(err, bus.ErrNotDelivered) {
			t.Errorf("got %v, want %v", err, bus.ErrNotDelivered)
		}
	})
}
