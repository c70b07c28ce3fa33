//go:build e2e

package e2e

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"
)

// sightings are the events that a subscriber has seen, in its order.
type sightings struct {
	t     *testing.T
	mu    sync.Mutex
	order []int64        // indexes as they came, repeats included
	first []int64        // without the repeats
	known map[int64]bool // what first holds
	acked map[int64]bool // acknowledged, and told so by a 202
}

func newSightings(t *testing.T) *sightings {
	return &sightings{t: t, known: make(map[int64]bool), acked: make(map[int64]bool)}
}

// line takes what a subscriber in another process reports: an event as it came,
// or {"acked":index}. Everything else that it says on stdout is a failure.
func (s *sightings) line(text string) {
	var said struct {
		Index   int64
		Payload payload
		Acked   int64
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil || said.Index == 0 && said.Acked == 0 {
		s.t.Errorf("got %q from the subscriber, want an event", text)
		return
	}
	if said.Acked != 0 {
		s.ack(said.Acked)
		return
	}
	if said.Payload.N != said.Index {
		s.t.Errorf("payload of the event at index %d: got %d", said.Index, said.Payload.N)
	}
	s.see(said.Index)
}

func (s *sightings) see(index int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = append(s.order, index)
	if !s.known[index] {
		s.known[index] = true
		s.first = append(s.first, index)
	}
}

func (s *sightings) ack(index int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked[index] = true
}

func (s *sightings) count() (seen, acked int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.first)), int64(len(s.acked))
}

// reach waits until so many different events have been seen.
func (s *sightings) reach(t *testing.T, total int64) {
	t.Helper()
	until(t, "the subscriber to see all events", func() bool { seen, _ := s.count(); return seen >= total })
}

// reachAcked waits until so many different events have been acknowledged.
func (s *sightings) reachAcked(t *testing.T, total int64) {
	t.Helper()
	until(t, "the subscriber to acknowledge all events", func() bool { _, acked := s.count(); return acked >= total })
}

// wantOnceInOrder fails unless the subscriber saw 1, 2, … total and nothing
// else.
func (s *sightings) wantOnceInOrder(t *testing.T, total int64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	wantCounting(t, "the events as they came", s.order, total)
}

// wantAllAcked fails unless each event was seen, for the first time in order,
// and acknowledged. Some may have come again.
func (s *sightings) wantAllAcked(t *testing.T, total int64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	wantCounting(t, "the events when they first came", s.first, total)
	for n := range total {
		if !s.acked[n+1] {
			t.Errorf("event %d was never acknowledged", n+1)
		}
	}
	t.Logf("%d events, %d deliveries", total, len(s.order))
}

func wantCounting(t *testing.T, what string, got []int64, total int64) {
	t.Helper()
	want := make([]int64, total)
	for i := range want {
		want[i] = int64(i) + 1
	}
	if slices.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s: number %d: got index %d, want %d; around it %v", what, i+1, got[i], want[i], got[max(0, i-3):min(len(got), i+4)])
			return
		}
	}
	t.Errorf("%s: got %d, want %d", what, len(got), len(want))
}
