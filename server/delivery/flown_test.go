package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// ids of the events of "a" from one index to another.
func ids(from, to uint64) (all []string) {
	for i := from; i <= to; i++ {
		all = append(all, eventID("a", i))
	}
	return all
}

func wantFlown(t *testing.T, h *Hub, want int) {
	t.Helper()
	if got, most := h.InflightBytes(); got != int64(want) || most != h.flown.most {
		t.Errorf("got %d of %d bytes in flight, want %d", got, most, want)
	}
}

func TestWhatAllConsumersHaveInFlightIsBoundedAndEverybodyGoesOn(t *testing.T) {
	m := newMemory("a")
	m.payload = []byte(strings.Repeat("x", 1000))
	size := weigh(&m.publish("a.x")[0])
	bubble(t, Options{FlightBytes: 4 * size}, func(t *testing.T, m *memory, h *Hub) {
		m.payload = []byte(strings.Repeat("x", 1000))
		publishMany(m, 10, "a.x")
		var streams []*Stream
		for i := range 3 {
			s := open(t, h, Spec{ConsumerID: fmt.Sprint("c", i), Places: []Place{place(t, 1, "a.x")}, Ack: &AckSpec{Redelivery: time.Hour}})
			defer s.Close()
			streams = append(streams, s)
		}
		take := func(s *Stream, want ...uint64) {
			t.Helper()
			var got []uint64
			for len(got) < len(want) {
				for _, d := range next(t, s).Deliveries {
					got = append(got, d.Event.Index)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			nothing(t, s, time.Minute)
		}
		settle := func(consumer string, ids []string) {
			t.Helper()
			if _, err := h.Settle(consumer, ids, Verdict{Kind: Ack}, false); err != nil {
				t.Fatal(err)
			}
		}
		take(streams[0], 1, 2, 3, 4)
		take(streams[1], 1) // the room is used up, but nobody stands still
		take(streams[2], 1)
		wantFlown(t, h, 6*size)
		settle("c1", ids(1, 1))
		take(streams[1], 2)
		wantFlown(t, h, 6*size)
		settle("c0", ids(1, 4)) // 2 left: it wakes the others, who have settled nothing
		take(streams[1], 3, 4)
		take(streams[2])
		wantFlown(t, h, 4*size)
		streams[1].Close() // gives back 3
		take(streams[2], 2, 3, 4)
		wantFlown(t, h, 4*size)
		for _, s := range streams {
			s.Close()
		}
		wantFlown(t, h, 0)
		if len(h.flown.waiting) > 0 {
			t.Errorf("got %d streams waiting, want none after all are closed", len(h.flown.waiting))
		}
	})
}
