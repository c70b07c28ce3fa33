package delivery

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// ackStream opens a stream on a.> with acknowledgement, as consumer c.
func ackStream(t *testing.T, h *Hub, a AckSpec) *Stream {
	t.Helper()
	return open(t, h, Spec{ConsumerID: "c", Sources: []Place{place(t, 1, "a.x")}, Ack: &a})
}

func publishMany(m *memory, n int, subject string) {
	subjects := make([]string, n)
	for i := range subjects {
		subjects[i] = subject
	}
	m.publish(subjects...)
}

// settle gives a verdict on events of namespace a by index, and returns
// "index" or "index!" for those that were settled already.
func settle(t *testing.T, h *Hub, v Verdict, upTo bool, indexes ...uint64) string {
	t.Helper()
	var ids []string
	for _, index := range indexes {
		ids = append(ids, eventID("a", index))
	}
	settled, err := h.Settle("c", ids, v, upTo)
	if err != nil {
		t.Fatalf("Settle %v: %v", indexes, err)
	}
	text := ""
	for _, s := range settled {
		text += " " + s.EventID[len("e_a-"):]
		if s.Already {
			text += "!"
		}
	}
	return text
}

func wantFloor(t *testing.T, s *Stream, want uint64) {
	t.Helper()
	if got := s.Positions()[0].Next; got != want {
		t.Fatalf("got resume point %d, want %d", got, want)
	}
}

func TestWindowLimitsWhatIsOut(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 5, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Minute, Inflight: 2})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\na.x 2(1)\n")
		nothing(t, s, time.Second)
		settle(t, h, Verdict{}, false, 2)
		wantFloor(t, s, 1)
		wantChunk(t, s, "a.x 3(1)\n")
		settle(t, h, Verdict{}, false, 1)
		wantFloor(t, s, 3)
		settle(t, h, Verdict{Kind: Term}, false, 3)
		wantChunk(t, s, "a.x 4(1)\na.x 5(1)\n")
		wantFloor(t, s, 4)
		settle(t, h, Verdict{}, false, 4, 5)
		wantFloor(t, s, 6)
	})
}

func TestWindowOfOneIsStrictOrder(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 3, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Second, Inflight: 1})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\n")
		wantChunk(t, s, "a.x 1(2)\n")
		settle(t, h, Verdict{}, false, 1)
		wantChunk(t, s, "a.x 2(1)\n")
		settle(t, h, Verdict{Kind: Nak}, false, 2)
		wantChunk(t, s, "a.x 2(2)\n")
	})
}

func TestSecondAckIsAlready(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.x", "a.y", "a.x", "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Minute, Inflight: 2})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\na.x 3(1)\n")
		if got, want := settle(t, h, Verdict{}, false, 3, 3), " 3 3!"; got != want {
			t.Errorf("got%s, want%s", got, want)
		}
		for _, kind := range []Kind{Ack, Nak, Term, Wip} {
			if got, want := settle(t, h, Verdict{Kind: kind}, false, 3), " 3!"; got != want {
				t.Errorf("kind %d: got%s, want%s", kind, got, want)
			}
		}
		for _, index := range []uint64{2, 4, 9} { // no match, not yet out, does not exist
			settled, err := h.Settle("c", []string{eventID("a", 1), eventID("a", index)}, Verdict{}, false)
			refusal, ok := bus.AsError(err)
			if !errors.Is(err, bus.ErrNotDelivered) || !ok || refusal.EventID != eventID("a", index) {
				t.Errorf("index %d: got %v, %v, want ErrNotDelivered naming it", index, settled, err)
			}
		}
		if got, want := settle(t, h, Verdict{}, false, 1), " 1"; got != want {
			t.Errorf("got%s, want%s: a refused request settles nothing", got, want)
		}
		if _, err := h.Settle("nobody", nil, Verdict{}, false); !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Errorf("got %v, want ErrUnknownConsumer", err)
		}
	})
}

func TestUpToTakesEverythingBelow(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 6, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Minute})
		defer s.Close()
		next(t, s)
		settle(t, h, Verdict{}, false, 2)
		settle(t, h, Verdict{Kind: Nak, Delay: time.Hour}, false, 3) // waits, and is taken all the same
		if got, want := settle(t, h, Verdict{}, true, 4), " 4 1 3"; got != want {
			t.Errorf("got%s, want%s", got, want)
		}
		wantFloor(t, s, 5)
		settle(t, h, Verdict{}, false, 6)
		if got, want := settle(t, h, Verdict{}, true, 6), " 6! 5"; got != want {
			t.Errorf("got%s, want%s", got, want)
		}
		wantFloor(t, s, 7)
	})
}

func TestSameIDTwiceIsTwoDeliveries(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 3, "a.x")
		for i := range m.logs["a"].events {
			m.logs["a"].events[i].Id = eventID("a", 1)
		}
		s := ackStream(t, h, AckSpec{Redelivery: time.Second})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\na.x 2(1)\na.x 3(1)\n")
		settle(t, h, Verdict{}, false, 1)
		wantFloor(t, s, 2)
		wantChunk(t, s, "a.x 2(2)\na.x 3(2)\n")
		settle(t, h, Verdict{}, false, 1, 1)
		wantFloor(t, s, 4)
	})
}

func TestBoundedStreamWithAcksEndsWhenAllAreSettled(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 2, "a.x")
		p := place(t, 1, "a.x")
		p.Until = 3
		s := open(t, h, Spec{ConsumerID: "c", Sources: []Place{p}, Ack: &AckSpec{Redelivery: time.Minute}})
		defer s.Close()
		next(t, s)
		nothing(t, s, time.Second)
		go h.Settle("c", []string{eventID("a", 2)}, Verdict{}, true)
		if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want io.EOF", err)
		}
	})
}

func TestWithoutAcksAnyCarriedEventMayBeAcknowledged(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.x", "a.x", "a.y")
		s := open(t, h, Spec{ConsumerID: "c", Sources: []Place{place(t, 2, "a.x")}, Format: lines, Shared: true})
		defer s.Close()
		next(t, s)
		nothing(t, s, time.Second)
		m.publish("a.x")
		synctest.Wait()
		for index, want := range map[uint64]error{1: bus.ErrNotDelivered, 2: nil, 3: bus.ErrNotDelivered, 4: bus.ErrNotDelivered} {
			if _, err := h.Settle("c", []string{eventID("a", index)}, Verdict{}, false); !errors.Is(err, want) {
				t.Errorf("index %d: got %v, want %v", index, err, want)
			}
		}
		next(t, s)
		settle(t, h, Verdict{}, false, 2, 4)
	})
}

func TestCloseForgetsTheConsumer(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 1, "a.x")
		s := ackStream(t, h, AckSpec{})
		next(t, s)
		s.Close()
		if _, err := h.Settle("c", []string{eventID("a", 1)}, Verdict{}, false); !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Errorf("got %v, want ErrUnknownConsumer", err)
		}
		wantFloor(t, s, 1)
		again := ackStream(t, h, AckSpec{})
		defer again.Close()
		wantChunk(t, again, "a.x 1(1)\n")
	})
}

func TestALogThatCannotBeReadIsNotARefusal(t *testing.T) {
	broken := errors.New("input/output error")
	lookup := func(string, string) (*bus.Event, error) { return nil, broken }
	bubble(t, Options{Lookup: lookup}, func(t *testing.T, m *memory, h *Hub) {
		s := ackStream(t, h, AckSpec{})
		defer s.Close()
		if _, err := h.Settle("c", []string{"e_1"}, Verdict{}, false); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
		if _, err := h.Settle("c", nil, Verdict{Kind: Wip + 1}, false); !errors.Is(err, bus.ErrInvalidParameter) {
			t.Errorf("got %v, want ErrInvalidParameter", err)
		}
	})
}
