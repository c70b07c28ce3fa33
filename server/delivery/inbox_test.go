package delivery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/bus"
)

const mailbox = "_bus_.me"

func letter(i int) bus.Event {
	return bus.Event{Id: fmt.Sprint("e_", i), Subject: mailbox, Payload: []byte("1"), ResponseSubject: "_bus_.you"}
}

func TestInboxReachesStreamsAndWaiters(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		if got := h.Deliver(mailbox, letter(0)); got != 0 {
			t.Errorf("got %d receivers, want 0", got)
		}
		s := open(t, h, Spec{ConsumerID: "c", Inboxes: []string{mailbox}})
		defer s.Close()
		i := h.Inbox(mailbox)
		defer i.Close()
		if got := h.Deliver(mailbox, letter(1)); got != 2 {
			t.Errorf("got %d receivers, want 2", got)
		}
		h.Deliver("_bus_.other", letter(2))
		c := next(t, s)
		if len(c.Deliveries) != 1 || c.Deliveries[0].Event.Id != "e_1" || c.Deliveries[0].Namespace != bus.InboxNamespace {
			t.Errorf("got %+v, want e_1", c.Deliveries)
		}
		if e, err := i.Wait(t.Context()); err != nil || e.Id != "e_1" {
			t.Errorf("got %v, %v, want e_1", e.Id, err)
		}
		settled, err := h.Settle("c", []string{"e_1"}, Verdict{}, false)
		if err != nil || settled[0].Event.ResponseSubject != "_bus_.you" {
			t.Errorf("got %v, %v, want the event with its response subject", settled, err)
		}
		if _, err := h.Settle("c", []string{"e_2"}, Verdict{}, false); !errors.Is(err, bus.ErrNotDelivered) {
			t.Errorf("got %v, want ErrNotDelivered", err)
		}
	})
}

func TestInboxEventsAreRedelivered(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{ConsumerID: "c", Inboxes: []string{mailbox}, Ack: &AckSpec{Redelivery: time.Second, Inflight: 2}})
		defer s.Close()
		for i := range 3 {
			h.Deliver(mailbox, letter(i))
		}
		if got := len(next(t, s).Deliveries); got != 2 {
			t.Errorf("got %d deliveries, want 2: the window", got)
		}
		c := next(t, s)
		if len(c.Deliveries) != 2 || c.Deliveries[1].Attempt != 2 {
			t.Errorf("got %s, want two second attempts", show(c))
		}
		for _, already := range []bool{false, true} {
			settled, err := h.Settle("c", []string{"e_1"}, Verdict{}, true)
			if err != nil || len(settled) != 1 || settled[0].Already != already {
				t.Errorf("got %v, %v, want one, already %v", settled, err, already)
			}
		}
		if c := next(t, s); len(c.Deliveries) != 1 || c.Deliveries[0].Event.Id != "e_2" {
			t.Errorf("got %s, want e_2", show(c))
		}
	})
}

func TestFullInboxEndsTheStreamByName(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Inboxes: []string{mailbox}})
		defer s.Close()
		i := h.Inbox(mailbox)
		defer i.Close()
		for n := range inboxEvents + 1 {
			if got, want := h.Deliver(mailbox, letter(n)), 2; n < inboxEvents && got != want {
				t.Fatalf("event %d: got %d receivers, want %d", n, got, want)
			}
		}
		if got := h.Deliver(mailbox, letter(0)); got != 0 {
			t.Errorf("got %d receivers after the overflow, want 0", got)
		}
		if got := len(next(t, s).Deliveries); got != inboxEvents {
			t.Errorf("got %d deliveries, want %d", got, inboxEvents)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrSlowInbox) {
			t.Errorf("got %v, want ErrSlowInbox", err)
		}
		for range inboxEvents {
			if _, err := i.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := i.Wait(t.Context()); !errors.Is(err, ErrSlowInbox) {
			t.Errorf("got %v, want ErrSlowInbox", err)
		}
	})
}

func TestClosedInboxHearsNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		i, other := h.Inbox(mailbox), h.Inbox(mailbox)
		i.Close()
		i.Close()
		if _, err := i.Wait(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := other.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline's error", err)
		}
		h.Close()
		for _, i := range []*Inbox{other, h.Inbox(mailbox)} {
			if _, err := i.Wait(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
			i.Close()
		}
		if got := len(h.inboxes.listeners); got != 0 {
			t.Errorf("got %d listeners left, want 0", got)
		}
	})
}
