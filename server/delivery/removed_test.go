package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// TestADeletedEventIsAGapAndWhatWasCompactedIsPassedOverInSilence has a run of
// removed events at every place of a log, readers that begin at every index, and
// events that come before they have caught up and after.
func TestADeletedEventIsAGapAndWhatWasCompactedIsPassedOverInSilence(t *testing.T) {
	const old, fresh = 5, 3
	kinds := map[string]Spec{
		"frames":     {Format: lines, Shared: true},
		"deliveries": {Format: lines},
		"acks":       {ConsumerID: "c", Ack: &AckSpec{Redelivery: time.Hour, Inflight: 2}},
	}
	for kind, spec := range kinds {
		for _, reason := range []string{bus.RemovedDeleted, bus.RemovedCompacted, bus.RemovedExpired} {
			for from := uint64(1); from <= old; from++ {
				for size := uint64(1); from+size <= old+1; size++ {
					for start := uint64(1); start <= old+1; start++ {
						bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
							m.step = 2
							publishMany(m, old, "a.x")
							m.remove(from, from+size, reason)
							spec := spec
							spec.Places = []Place{place(t, start, "a.x")}
							s := open(t, h, spec)
							defer s.Close()
							g := heard{events: map[uint64]int{}}
							if (from+start)%2 == 0 {
								g.listenFor(t, h, s, time.Second)
							}
							publishMany(m, fresh, "a.x")
							g.listen(t, h, s, old+fresh+1)
							g.checkRemoved(t, fmt.Sprintf("%s from %d over %d to %d, %s", kind, start, from, from+size, reason), start, from, from+size, old+fresh, reason)
						})
					}
				}
			}
		}
	}
}

func (g *heard) checkRemoved(t *testing.T, what string, start, from, next, last uint64, reason string) {
	t.Helper()
	for index := start; index <= last; index++ {
		want := 1
		if index >= from && index < next {
			want = 0
		}
		if got := g.events[index]; got != want {
			t.Errorf("%s: got event %d %d times, want %d", what, index, got, want)
		}
	}
	want := ""
	if start < next && reason == bus.RemovedDeleted {
		want = fmt.Sprintf("gap a %d-%d deleted\n", max(from, start), next)
	}
	if got := show(Chunk{Gaps: g.gaps}); got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestABoundedReadEndsBehindWhatWasRemovedAtItsEnd(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 6, "a.x")
		m.remove(3, 4, bus.RemovedCompacted)
		m.remove(5, 7, bus.RemovedExpired)
		p := place(t, 1, "a.x")
		p.Until = 7
		s := open(t, h, Spec{Places: []Place{p}, Format: lines})
		defer s.Close()
		got := ""
		for {
			chunk, err := s.Next(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got += show(chunk)
		}
		if want := "a.x 1(1)\na.x 2(1)\na.x 4(1)\n"; got != want || s.Positions()[0].Next != 7 {
			t.Errorf("got %q and position %d, want %q and 7", got, s.Positions()[0].Next, want)
		}
	})
}

// TestWhatWaitsInMemoryIsNotSentOnceItIsDeleted deletes an event that streams of
// each kind have read and not sent yet.
func TestWhatWaitsInMemoryIsNotSentOnceItIsDeleted(t *testing.T) {
	for kind, spec := range map[string]Spec{
		"frames":     {Format: lines, Shared: true},
		"deliveries": {Format: lines},
		"window":     {ConsumerID: "c", Ack: &AckSpec{Redelivery: time.Hour, Inflight: 1}},
	} {
		for _, begun := range []bool{false, true} { // before it was live, and after
			bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
				other := open(t, h, Spec{Places: []Place{place(t, 1, "a.>")}, Format: lines, Shared: true}) // the feed runs
				defer other.Close()
				nothing(t, other, time.Second)
				publishMany(m, 2, "a.x")
				spec := spec
				spec.Places = []Place{place(t, 1, "a.x")}
				s := open(t, h, spec)
				defer s.Close()
				got := ""
				take := func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					for {
						chunk, err := s.Next(ctx)
						if errors.Is(err, context.DeadlineExceeded) {
							return
						}
						if err != nil {
							t.Fatal(err)
						}
						got += strings.ReplaceAll(show(chunk), "(1)", "")
						for _, d := range chunk.Deliveries {
							if s.flights != nil && d.Event.Index != 2 {
								settle(t, h, Verdict{Kind: Ack}, false, d.Event.Index)
							}
						}
					}
				}
				if begun {
					take()
				}
				publishMany(m, 3, "a.x")
				synctest.Wait()
				m.remove(4, 5, bus.RemovedDeleted)
				if err := h.Removed("a", []uint64{4}); err != nil {
					t.Fatal(err)
				}
				take()
				if s.flights != nil { // it was stuck behind the second
					settle(t, h, Verdict{Kind: Ack}, false, 2)
					take()
				}
				if want := "a.x 1\na.x 2\na.x 3\ngap a 4-5 deleted\na.x 5\n"; got != want {
					t.Errorf("%s, begun %v: got %q, want %q", kind, begun, got, want)
				}
				publishMany(m, 1, "a.x")
				wantBegins(t, s, "a.x 6")
			})
		}
	}
}

func TestAQueuedEventThatIsDeletedIsAGapInItsPlace(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.x")}, Format: lines})
		defer s.Close()
		nothing(t, s, time.Second)
		m.publish("a.y", "a.x", "a.x", "a.y", "a.x")
		synctest.Wait()
		m.remove(3, 4, bus.RemovedDeleted)
		if err := h.Removed("a", []uint64{3}); err != nil {
			t.Fatal(err)
		}
		got := ""
		for range 3 {
			got += show(next(t, s))
		}
		if want := "a.x 2(1)\ngap a 3-4 deleted\na.x 5(1)\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestAStreamThatNothingMatchesHearsOfNoGapOfTheRetentionAfterADeletion: it stands at
// the tail, though the last that it looked at is long gone.
func TestAStreamThatNothingMatchesHearsOfNoGapOfTheRetentionAfterADeletion(t *testing.T) {
	for _, shared := range []bool{false, true} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			s := open(t, h, Spec{Places: []Place{place(t, 1, "a.rare")}, Format: lines, Shared: shared})
			defer s.Close()
			nothing(t, s, time.Second)
			publishMany(m, 20, "a.x")
			synctest.Wait()
			m.retain("a", 15)
			m.remove(17, 18, bus.RemovedDeleted)
			if err := h.Removed("a", []uint64{17}); err != nil {
				t.Fatal(err)
			}
			nothing(t, s, time.Second)
			m.publish("a.rare")
			wantBegins(t, s, "a.rare 21")
		})
	}
}

func wantBegins(t *testing.T, s *Stream, want string) {
	t.Helper()
	if got := show(next(t, s)); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestADeletedEventThatIsOutIsNotDeliveredAgainAndItsAckCounts(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 3, "a.x")
		s := ackStream(t, h, AckSpec{Redelivery: time.Minute})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\na.x 2(1)\na.x 3(1)\n")
		m.remove(2, 3, bus.RemovedDeleted)
		if err := h.Removed("a", []uint64{2}); err != nil {
			t.Fatal(err)
		}
		settle(t, h, Verdict{Kind: Ack}, false, 1)
		wantFloor(t, s, 3)
		settled, err := h.Settle("c", []string{eventID("a", 2)}, Verdict{Kind: Ack}, false)
		if err != nil || len(settled) != 1 || !settled[0].Already {
			t.Errorf("got %+v and %v, want it to be settled already", settled, err)
		}
		wantChunk(t, s, "a.x 3(2)\n")
	})
}

func TestADeletedEventIsSettledForANamedConsumerAlsoAfterACrash(t *testing.T) {
	for _, connected := range []bool{true, false} {
		withNamed(t, AckSpec{Redelivery: time.Minute, Inflight: 10}, func(t *testing.T, n *named) {
			publishMany(n.m, 4, "a.x")
			m := n.join(MemberSpec{})
			wantChunk(t, m, "a.x 1(1)\na.x 2(1)\na.x 3(1)\na.x 4(1)\n")
			n.settle(Verdict{Kind: Nak, Delay: time.Hour}, false, 2)
			if !connected {
				m.Close()
			}
			n.m.remove(2, 3, bus.RemovedDeleted)
			if err := n.h.Removed("a", []uint64{2}); err != nil {
				t.Fatal(err)
			}
			if got := n.settle(Verdict{}, false, 2); got != " 2!" {
				t.Errorf("connected %v: got %q, want it to be settled already", connected, got)
			}
			n.kill()
			if got := n.settle(Verdict{}, false, 2); got != " 2!" {
				t.Errorf("connected %v: got %q after a crash, want it to be settled already", connected, got)
			}
			n.settle(Verdict{}, false, 1, 3, 4)
			if got := n.c.floor(); got != 5 {
				t.Errorf("connected %v: got the floor %d, want 5", connected, got)
			}
			again := n.join(MemberSpec{})
			defer again.Close()
			nothing(t, again, 2*time.Hour)
		})
	}
}

func TestADeletedEventThatWasOwedIsSaidOnceToANamedConsumer(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Inflight: 10}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		n.m.remove(2, 3, bus.RemovedDeleted)
		m := n.join(MemberSpec{})
		wantChunk(t, m, "a.x 1(1)\n")
		wantChunk(t, m, "gap a 2-3 deleted\n")
		wantChunk(t, m, "a.x 3(1)\n")
		n.settle(Verdict{}, true, 3)
		m.Close()
		n.kill()
		again := n.join(MemberSpec{})
		defer again.Close()
		nothing(t, again, time.Hour)
		if got := n.c.floor(); got != 4 {
			t.Errorf("got the floor %d, want 4", got)
		}
	})
}

func TestTheFloorOfANamedConsumerPassesOverWhatWasCompacted(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Inflight: 10}, func(t *testing.T, n *named) {
		publishMany(n.m, 6, "a.x")
		m := n.join(MemberSpec{})
		next(t, m)
		n.settle(Verdict{}, false, 1, 5, 6)
		m.Close()
		n.m.remove(2, 5, bus.RemovedCompacted) // three that are owed
		again := n.join(MemberSpec{})
		nothing(t, again, time.Hour)
		if got := n.c.floor(); got != 7 {
			t.Errorf("got the floor %d, want 7", got)
		}
		again.Close()
	})
}
