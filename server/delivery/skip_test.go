package delivery

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"
)

// longLog has one event of a.rare, at index 5000, among 10,000 of others, and
// counts what is read of it.
func longLog(t *testing.T) (m *memory, h *Hub, reads *atomic.Int64) {
	t.Helper()
	m, reads = newMemory("a"), new(atomic.Int64)
	m.group = 100
	publishMany(m, 4999, "a.common")
	m.publish("a.rare")
	publishMany(m, 5000, "a.common")
	m.reading = func() { reads.Add(1) }
	h = NewHub(m, []string{"a"}, Options{})
	t.Cleanup(h.Close)
	return m, h, reads
}

func TestARareEventOfALongLogIsReadWithoutTheRest(t *testing.T) {
	for name, spec := range map[string]Spec{
		"shared frames": {Format: lines, Shared: true},
		"deliveries":    {},
		"acknowledged":  {ConsumerID: "c", Ack: &AckSpec{Inflight: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			m, h, reads := longLog(t)
			spec.Places = []Place{place(t, 1, "a.rare", "a.rarer.>")}
			s := open(t, h, spec)
			defer s.Close()
			chunk := next(t, s)
			if len(chunk.Deliveries)+chunk.Count != 1 || len(chunk.Gaps) != 0 {
				t.Fatalf("got %s, want one event", show(chunk))
			}
			if m.asked > 4 || reads.Load() > 4 {
				t.Errorf("got %d reads and %d questions, want a few", reads.Load(), m.asked)
			}
		})
	}
}

func TestAStreamThatWantsMostIsNotAskedForAtEveryBatch(t *testing.T) {
	m, h, reads := longLog(t)
	m.step = 1
	s := open(t, h, Spec{Places: []Place{{Namespace: "a", Patterns: patterns(t, "a.common"), From: 1, Until: 1001}}})
	defer s.Close()
	for {
		if _, err := s.Next(t.Context()); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if reads.Load() < 1000 || m.asked > 11 {
		t.Errorf("got %d questions in %d reads, want one a group of 100 events", m.asked, reads.Load())
	}
}

func TestABoundedStreamWithoutAMatchEndsAtItsBound(t *testing.T) {
	_, h, reads := longLog(t)
	s := open(t, h, Spec{Places: []Place{{Namespace: "a", Patterns: patterns(t, "a.none"), From: 1, Until: 9000}}})
	defer s.Close()
	if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want %v", err, io.EOF)
	}
	if got := s.Positions()[0].Next; got != 9000 || reads.Load() > 2 {
		t.Errorf("got position %d after %d reads, want 9000 after hardly any", got, reads.Load())
	}
}

func TestAStreamThatWasLedToTheEndGetsWhatComesThen(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 300, "a.common")
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.rare")}, Format: lines, Shared: true})
		defer s.Close()
		nothing(t, s, time.Second)
		if got := s.Positions()[0].Next; got != 301 {
			t.Errorf("got position %d, want the end, 301", got)
		}
		m.publish("a.rare")
		wantChunk(t, s, "a.rare 301\n")
	})
}

func TestAGapInWhatCouldHaveMatchedIsSaid(t *testing.T) {
	m, h, _ := longLog(t)
	loseForGood(m, 2050, 2060)
	m.retain("a", 500)
	s := open(t, h, Spec{Places: []Place{place(t, 1, "a.rare")}})
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for got, done := "", false; !done; {
		chunk, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, done = got+show(chunk), len(chunk.Deliveries) > 0
		if want := "gap a 1-500 retention\ngap a 2050-2060 damage\na.rare 5000(1)\n"; done && got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
