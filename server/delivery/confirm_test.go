package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// acked is what Settle notes for consumers that acknowledge an event.
func acked(h *Hub, event string, consumers ...string) {
	for _, consumer := range consumers {
		h.confirms.note(consumer, []Settled{{EventID: event}})
	}
}

func TestConfirmationCountsDistinctConsumers(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		c := h.Expect(2)
		defer c.Close()
		c.Bind("e_1")
		acked(h, "e_1", "c_1", "c_1")
		acked(h, "e_2", "c_2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if count, err := c.Wait(ctx); count != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %d, %v, want 1 and the deadline's error", count, err)
		}
		go acked(h, "e_1", "c_3")
		if count, err := c.Wait(t.Context()); count != 2 || err != nil {
			t.Errorf("got %d, %v, want 2", count, err)
		}
	})
}

func TestAcksBeforeBindCount(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		acked(h, "e_1", "c_0") // before Expect: another event's
		c, other := h.Expect(2), h.Expect(1)
		defer c.Close()
		acked(h, "e_1", "c_1", "c_2", "c_2")
		c.Bind("e_1")
		c.Bind("e_2")
		if count, err := c.Wait(t.Context()); count != 2 || err != nil {
			t.Errorf("got %d, %v, want 2", count, err)
		}
		other.Close()
		other.Close()
		other.Bind("e_1")
		if got := h.confirms.early; got != nil {
			t.Errorf("got %d acknowledgements kept, want none while nothing is unbound", len(got))
		}
	})
}

func TestManyEarlyAcksStayBounded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		c := h.Expect(3)
		defer c.Close()
		for i := range 3 * earlyAcks {
			acked(h, fmt.Sprint("e_", i), "c_1")
		}
		if got := len(h.confirms.early); got > 2*earlyAcks {
			t.Errorf("got %d early acknowledgements, want at most %d", got, 2*earlyAcks)
		}
		acked(h, "e_x", "c_1", "c_2", "c_3")
		c.Bind("e_x")
		if count, err := c.Wait(t.Context()); count != 3 || err != nil {
			t.Errorf("got %d, %v, want 3", count, err)
		}
	})
}

func TestConfirmationOfNobodyIsThereAtOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		c := h.Expect(0)
		defer c.Close()
		if count, err := c.Wait(t.Context()); count != 0 || err != nil {
			t.Errorf("got %d, %v, want 0", count, err)
		}
	})
}

func TestAcksRacingWithBindAreNeverLost(t *testing.T) {
	h := NewHub(newMemory(), nil, Options{})
	defer h.Close()
	var all sync.WaitGroup
	for i := range 500 {
		event := fmt.Sprint("e_", i)
		c := h.Expect(3)
		for k := range 3 {
			all.Go(func() { acked(h, event, fmt.Sprint("c_", k)) })
		}
		all.Go(func() {
			defer c.Close()
			c.Bind(event)
			if count, err := c.Wait(t.Context()); count != 3 || err != nil {
				t.Errorf("got %d, %v, want 3", count, err)
			}
		})
	}
	all.Wait()
	if got := len(h.confirms.waiting) + len(h.confirms.early) + h.confirms.unbound; got != 0 {
		t.Errorf("got %d leftovers, want 0", got)
	}
}

func TestSettleConfirmsFromTheStream(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		manual := ackStream(t, h, AckSpec{})
		defer manual.Close()
		none := open(t, h, Spec{ConsumerID: "n", Places: []Place{place(t, 1, "a.>")}, Format: lines, Shared: true})
		defer none.Close()
		c := h.Expect(2)
		defer c.Close()
		m.publish("a.x")
		next(t, manual)
		next(t, none)
		settle(t, h, Verdict{}, false, 1)
		if _, err := h.Settle("n", []string{eventID("a", 1)}, Verdict{}, false); err != nil {
			t.Fatal(err)
		}
		c.Bind(eventID("a", 1))
		synctest.Wait()
		if count, err := c.Wait(t.Context()); count != 2 || err != nil {
			t.Errorf("got %d, %v, want 2", count, err)
		}
		d := h.Expect(1)
		defer d.Close()
		d.Bind(eventID("a", 1))
		settle(t, h, Verdict{Kind: Nak}, false, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if count, _ := d.Wait(ctx); count != 0 {
			t.Errorf("got %d confirmations from a nak, want 0", count)
		}
	})
}
