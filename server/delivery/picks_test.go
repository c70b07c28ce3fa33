package delivery

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bus"
)

// pick begins a subscriber with some events of those there are, and then everything.
func (m *memory) pick(r *rand.Rand, s *subscriber) Place {
	_, next := m.Bounds("a")
	s.from, s.picks.seam = next, next
	for index := uint64(1); index < next; index++ {
		if r.IntN(10) == 0 {
			s.picks.only = append(s.picks.only, index)
		}
	}
	if len(s.picks.only) > 0 {
		s.from = s.picks.only[0]
	}
	return Place{Namespace: "a", Patterns: s.patterns, From: s.from, Seam: next, Only: slices.Clone(s.picks.only)}
}

// picked is a place of namespace a that begins with these events, of which there are
// fewer than seam.
func picked(t *testing.T, seam uint64, only ...uint64) Place {
	p := place(t, seam, "a.>")
	p.Seam, p.Only = seam, only
	if len(only) > 0 {
		p.From = only[0]
	}
	return p
}

func TestAStreamBeginsWithItsPicksAndGoesOnWithEverything(t *testing.T) {
	for _, shared := range []bool{true, false} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			m.step = 3
			publishMany(m, 20, "a.x")
			s := open(t, h, Spec{Places: []Place{picked(t, 16, 2, 9, 15)}, Format: lines, Shared: shared})
			defer s.Close()
			publishMany(m, 1, "a.y")
			var got []uint64
			reader := subscriber{stream: s}
			for s.Positions()[0].Next < 22 {
				if err := reader.take(h, next(t, s)); err != nil {
					t.Fatal(err)
				}
			}
			if got = reader.got; fmt.Sprint(got) != "[2 9 15 16 17 18 19 20 21]" {
				t.Errorf("shared %v: got %v, want the picks 2 9 15 and all from 16 on", shared, got)
			}
		})
	}
}

// The position among the picks is behind the last that was handed on, so that who
// resumes there misses none of the others.
func TestAPositionAmongThePicksIsBehindTheLastHandedOn(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 20, "a.x")
		s := open(t, h, Spec{ConsumerID: "c", Places: []Place{picked(t, 21, 2, 9, 15)}, Ack: &AckSpec{Redelivery: time.Hour, Inflight: 1}})
		defer s.Close()
		for i, want := range []uint64{2, 9, 15} {
			wantChunk(t, s, fmt.Sprintf("a.x %d(1)\n", want))
			if got := s.Positions()[0].Next; got != want {
				t.Errorf("with %d in flight: got position %d, want it", want, got)
			}
			settle(t, h, Verdict{}, false, want)
			if got := s.Positions()[0].Next; got <= want || i < 2 && got > []uint64{9, 15}[i] {
				t.Errorf("with %d settled: got position %d, want it behind that and not behind the next", want, got)
			}
		}
	})
}

func TestPicksEndWithABoundAndALimitAndTellDamage(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 20, "a.x")
		bounded := picked(t, 16, 2, 9, 15)
		bounded.Until = 16
		none := picked(t, 21)
		none.Until = 21
		for want, spec := range map[string]Spec{
			"[2 9 15]": {Places: []Place{bounded}},
			"[2 9]":    {Places: []Place{picked(t, 16, 2, 9, 15)}, Limit: 2},
			"[]":       {Places: []Place{none}},
		} {
			s := open(t, h, spec)
			reader := subscriber{stream: s}
			for {
				chunk, err := s.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				if err == nil {
					err = reader.take(h, chunk)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := append([]uint64{}, reader.got...); fmt.Sprint(got) != want {
				t.Errorf("got %v, want %s", got, want)
			}
			s.Close()
		}
		m.logs["a"].damage = []DamageError{{Namespace: "a", From: 8, Next: 11}}
		s := open(t, h, Spec{Places: []Place{picked(t, 16, 2, 9, 15)}})
		defer s.Close()
		wantChunk(t, s, "a.x 2(1)\n")
		wantChunk(t, s, "gap a 9-11 damage\n")
		if got := show(next(t, s)); !strings.HasPrefix(got, "a.x 15(1)\n") {
			t.Errorf("got %q behind the gap, want the next pick", got)
		}
	})
}

// What was passed over was never delivered: nobody can acknowledge it, nor confirm it.
func TestWhatLiesBetweenPicksWasNotCarried(t *testing.T) {
	for _, seam := range []uint64{21, 3000} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			publishMany(m, int(seam)-1, "a.x")
			s := open(t, h, Spec{ConsumerID: "c", Places: []Place{picked(t, seam, 2, 9, 15)}})
			defer s.Close()
			next(t, s)
			nothing(t, s, time.Second)
			for index, carried := range map[uint64]bool{2: true, 3: false, 14: false, 15: true, 1: false, 16: false} {
				_, err := h.Settle("c", []string{eventID("a", index)}, Verdict{}, false)
				if carried != (err == nil) || !carried && !errors.Is(err, bus.ErrNotDelivered) {
					t.Errorf("acknowledging %d: got %v, want it taken: %v", index, err, carried)
				}
			}
		})
	}
}

// What the list takes is given back when it was carried, and when the stream ends
// before that, once.
func TestPicksAreReleasedOnceAtTheSeamOrAtTheEnd(t *testing.T) {
	for _, read := range []bool{true, false} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			publishMany(m, 20, "a.x")
			p, released := picked(t, 21, 2, 9, 15), 0
			p.Release = func() { released++ }
			s := open(t, h, Spec{Places: []Place{p}})
			if read {
				next(t, s)
				nothing(t, s, time.Second)
			}
			if got, want := released, map[bool]int{true: 1, false: 0}[read]; got != want {
				t.Errorf("before the end: got it released %d times, want %d", got, want)
			}
			s.Close()
			s.Close()
			if released != 1 {
				t.Errorf("got it released %d times, want once", released)
			}
		})
	}
}
