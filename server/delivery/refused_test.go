package delivery

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Who said that an event is never to be taken has not taken it by a late Ack.
func TestAnAckBehindATermConfirmsNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{ConsumerID: "c", Places: []Place{place(t, 1, "a.x")}, Ack: &AckSpec{Redelivery: time.Hour}})
		defer s.Close()
		for _, test := range []struct {
			first Kind
			want  int
		}{{Term, 0}, {Ack, 1}} {
			id := m.publish("a.x")[0].Id
			next(t, s)
			if _, err := h.Settle("c", []string{id}, Verdict{Kind: test.first}, false); err != nil {
				t.Fatal(err)
			}
			c := h.Expect(1) // by who publishes the event again, with its key
			c.Bind(id)
			settled, err := h.Settle("c", []string{id}, Verdict{Kind: Ack}, false)
			if err != nil || len(settled) != 1 || !settled[0].Already || settled[0].Refused != (test.first == Term) {
				t.Errorf("an ack behind %d: got %+v and %v", test.first, settled, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if got, err := c.Wait(ctx); got != test.want || errors.Is(err, context.DeadlineExceeded) == (test.want > 0) {
				t.Errorf("an ack behind %d: got %d confirmations and %v, want %d", test.first, got, err, test.want)
			}
			cancel()
			c.Close()
		}
	})
}
