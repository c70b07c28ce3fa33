package delivery

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// TestADamagedEndIsSaidOnceToEveryStreamThatComesToIt has streams of every kind
// that begin at every index of a log whose end is damaged, alone and beside one
// that has started the feed.
func TestADamagedEndIsSaidOnceToEveryStreamThatComesToIt(t *testing.T) {
	const events = 3
	for name, spec := range map[string]Spec{
		"frames":     {Format: lines, Shared: true},
		"deliveries": {Format: lines},
		"acks":       {ConsumerID: "c", Ack: &AckSpec{Redelivery: time.Hour}},
	} {
		for start := uint64(1); start <= events+1; start++ {
			for _, until := range []uint64{0, events + 1} {
				for _, beside := range []bool{false, true} {
					bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
						publishMany(m, events, "a.x")
						m.logs["a"].spoilt = errors.New("rot")
						if beside {
							other := open(t, h, Spec{Places: []Place{place(t, events+1, "a.x")}})
							defer other.Close()
							wantChunk(t, other, "gap a 4-4 damage\n")
							nothing(t, other, time.Second)
						}
						spec := spec
						spec.Places = []Place{place(t, start, "a.x")}
						spec.Places[0].Until = until
						s := open(t, h, spec)
						defer s.Close()
						comesToTheEnd(t, h, s, fmt.Sprintf("%s from %d until %d", name, start, until), until > 0)
					})
				}
			}
		}
	}
}

// comesToTheEnd reads what there is, then the gap, then nothing more or io.EOF.
func comesToTheEnd(t *testing.T, h *Hub, s *Stream, name string, bounded bool) {
	t.Helper()
	got := 0
	for {
		chunk := next(t, s)
		for _, d := range chunk.Deliveries {
			if s.flights != nil {
				if _, err := h.Settle("c", []string{d.Event.Id}, Verdict{Kind: Ack}, false); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got += chunk.Count + len(chunk.Deliveries); len(chunk.Gaps) > 0 {
			if g := chunk.Gaps[0]; len(chunk.Gaps) != 1 || g.From != 4 || g.Next != 4 || g.Err == nil || g.Reason != ReasonDamage {
				t.Errorf("%s: got %+v, want one gap at 4", name, chunk.Gaps)
			}
			break
		}
	}
	if want := int(4 - s.cursors[0].from); got != want {
		t.Errorf("%s: got %d events before the gap, want %d", name, got, want)
	}
	if at := s.Positions()[0].Next; at != 4 {
		t.Errorf("%s: got position %d, want 4", name, at)
	}
	if !bounded {
		nothing(t, s, time.Minute)
		return
	}
	if chunk, err := s.Next(t.Context()); err != io.EOF {
		t.Errorf("%s: got %s and %v, want the end after the gap", name, show(chunk), err)
	}
}
