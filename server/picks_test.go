package server

import (
	"errors"
	"testing"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// What streams hold of indexes that they begin with counts to what all requests may
// hold, from some 1024 on, until they give it back.
func TestWhatStreamsBeginWithIsBoundedOverAllOfThem(t *testing.T) {
	s := &Server{}
	s.budget.most = 100_000
	s.budget.refused = func(err error) error { return err }
	begin := func(lengths ...int) (places []delivery.Place, err error) {
		for _, n := range lengths {
			places = append(places, delivery.Place{Only: make([]uint64, n)})
		}
		return places, s.holdPicks(places)
	}
	first, err := begin(5000, 0, 5000)
	if err != nil || s.budget.held.Load() == 0 {
		t.Fatalf("got %v, and %d bytes held, want more than none", err, s.budget.held.Load())
	}
	held := s.budget.held.Load()
	if _, err := begin(2000, 5000, 5000); !errors.Is(err, bus.ErrUnavailable) || s.budget.held.Load() != held {
		t.Errorf("got %v, and %d bytes held, want %v and %d", err, s.budget.held.Load(), bus.ErrUnavailable, held)
	}
	if _, err := begin(1000, 1000, 1000); err != nil || s.budget.held.Load() != held {
		t.Errorf("small ones: got %v, and %d bytes held, want them free", err, s.budget.held.Load())
	}
	releasePicks(first)
	if got := s.budget.held.Load(); got != 0 {
		t.Errorf("got %d bytes held at the end, want none", got)
	}
}
