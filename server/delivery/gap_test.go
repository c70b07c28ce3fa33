package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// loseForGood makes events of "a" lost, in a log that was repaired.
func loseForGood(m *memory, from, next uint64) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := time.Now().Add(-time.Hour)
	m.logs["a"].damage = append(m.logs["a"].damage, DamageError{Namespace: "a", From: from, Next: next, Repaired: at, Err: errors.New("gap")})
	return at
}

// heard is what one stream was told, in order.
type heard struct {
	events map[uint64]int
	gaps   []Gap
	next   uint64
}

// listen reads until everything below next is considered.
func (g *heard) listen(t *testing.T, h *Hub, s *Stream, next uint64) {
	t.Helper()
	for g.next = 0; ; {
		if g.next = max(g.next, s.Positions()[0].Next); g.next >= next {
			return
		}
		chunk, err := s.Next(t.Context())
		if err != nil {
			t.Fatalf("at %d of %d: %v", g.next, next, err)
		}
		g.take(t, h, s, chunk)
	}
}

// listenFor reads all that comes within d of the bubble's time.
func (g *heard) listenFor(t *testing.T, h *Hub, s *Stream, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for {
		chunk, err := s.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		g.take(t, h, s, chunk)
	}
}

// take notes a chunk, and acknowledges what is in it.
func (g *heard) take(t *testing.T, h *Hub, s *Stream, chunk Chunk) {
	t.Helper()
	g.gaps = append(g.gaps, chunk.Gaps...)
	var ids []string
	for _, d := range chunk.Deliveries {
		g.events[d.Event.Index]++
		ids = append(ids, d.Event.Id)
	}
	var index uint64
	for line := range linesOf(chunk.Frames) {
		if _, err := fmt.Sscanf(line, "a.x %d", &index); err != nil {
			t.Fatalf("frame %q: %v", line, err)
		}
		g.events[index]++
	}
	if s.flights != nil && len(ids) > 0 {
		if _, err := h.Settle(s.id, ids, Verdict{Kind: Ack}, false); err != nil {
			t.Fatal(err)
		}
	}
}

func linesOf(frames []byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i, c := range frames {
			if c == '\n' {
				if !yield(string(frames[start:i])) {
					return
				}
				start = i + 1
			}
		}
	}
}

// TestAGapIsSaidOnceAndEverythingElseOnceWhereverTheSeamIs has a repaired gap at
// every place of a log, readers that begin at every index, and events that come
// before they have caught up and after.
func TestAGapIsSaidOnceAndEverythingElseOnceWhereverTheSeamIs(t *testing.T) {
	const old, fresh = 6, 4
	kinds := map[string]Spec{
		"frames":     {Format: lines, Shared: true},
		"deliveries": {Format: lines},
		"acks":       {ConsumerID: "c", Ack: &AckSpec{Redelivery: time.Hour, Inflight: 2}},
	}
	for kind, spec := range kinds {
		for from := uint64(1); from <= old; from++ {
			for size := uint64(1); from+size <= old+1; size++ {
				for start := uint64(1); start <= old+1; start++ {
					bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
						m.step = 2
						publishMany(m, old, "a.x")
						repaired := loseForGood(m, from, from+size)
						spec := spec
						spec.Places = []Place{place(t, start, "a.x")}
						s := open(t, h, spec)
						defer s.Close()
						g := heard{events: map[uint64]int{}}
						if (from+start)%2 == 0 {
							g.listen(t, h, s, old+1)
							nothing(t, s, time.Second)
						}
						for i := range fresh {
							publishMany(m, 1, "a.x")
							if i%2 == 0 {
								g.listen(t, h, s, uint64(old+i+2))
							}
						}
						g.listen(t, h, s, old+fresh+1)
						g.check(t, kind, start, from, from+size, old+fresh, repaired)
					})
				}
			}
		}
	}
}

func (g *heard) check(t *testing.T, kind string, start, from, next, last uint64, repaired time.Time) {
	t.Helper()
	for index := start; index <= last; index++ {
		want := 1
		if index >= from && index < next {
			want = 0
		}
		if got := g.events[index]; got != want {
			t.Errorf("%s from %d over the gap %d to %d: got event %d %d times, want %d", kind, start, from, next, index, got, want)
		}
	}
	want := 0
	if start < next {
		want = 1
	}
	if len(g.gaps) != want {
		t.Fatalf("%s from %d over the gap %d to %d: got gaps %+v, want %d", kind, start, from, next, g.gaps, want)
	}
	if want > 0 && (g.gaps[0].From != max(from, start) || g.gaps[0].Next != next || g.gaps[0].Reason != ReasonDamage || !g.gaps[0].Repaired.Equal(repaired)) {
		t.Errorf("%s from %d: got %+v, want the gap %d to %d", kind, start, g.gaps[0], from, next)
	}
}

func TestNothingWaitsForAnEventThatIsLost(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 6, "a.x")
		loseForGood(m, 3, 5)
		loseForGood(m, 6, 7)
		p := place(t, 1, "a.x")
		p.Until = 7
		s := open(t, h, Spec{ConsumerID: "c", Places: []Place{p}, Ack: &AckSpec{Redelivery: time.Minute, Inflight: 10}})
		defer s.Close()
		var got string
		for range 4 {
			got += show(next(t, s))
		}
		if want := "a.x 1(1)\na.x 2(1)\ngap a 3-5 damage\na.x 5(1)\ngap a 6-7 damage\n"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		if at := s.Positions()[0].Next; at != 1 {
			t.Errorf("got position %d, want 1: nothing is acknowledged", at)
		}
		if settled, err := h.Settle("c", []string{eventID("a", 5)}, Verdict{Kind: Ack}, true); err != nil || len(settled) != 3 {
			t.Errorf("everything up to 5: got %v and %v, want the three that are there", settled, err)
		}
		if chunk, err := s.Next(t.Context()); err != io.EOF {
			t.Errorf("got %s and %v, want the end: nothing more is in flight", show(chunk), err)
		}
		if at := s.Positions()[0].Next; at != 7 {
			t.Errorf("got position %d, want 7, behind the gap at the end", at)
		}
	})
}
