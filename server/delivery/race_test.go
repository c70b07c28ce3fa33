package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// ledger counts what became of each event, by index.
type ledger struct {
	mu        sync.Mutex
	delivered map[uint64]int
	taken     map[uint64]int // by acknowledgement
	dead      map[uint64]int
	takenAt   map[uint64]time.Time
	failures  []string
}

func (l *ledger) fail(format string, args ...any) {
	l.failures = append(l.failures, fmt.Sprintf(format, args...))
}

// noteChunk checks each delivery against what was taken before.
func (l *ledger) noteChunk(c Chunk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range c.Deliveries {
		l.delivered[d.Event.Index]++
		if got := l.delivered[d.Event.Index]; got != d.Attempt {
			l.fail("event %d: attempt %d is delivery %d", d.Event.Index, d.Attempt, got)
		}
		if at, taken := l.takenAt[d.Event.Index]; taken && time.Now().After(at) {
			l.fail("event %d: delivered after it was acknowledged", d.Event.Index)
		}
		if l.dead[d.Event.Index] > 0 {
			l.fail("event %d: delivered after it was dead", d.Event.Index)
		}
	}
	for _, d := range c.Dead {
		l.dead[d.Event.Index]++
	}
}

func (l *ledger) noteSettled(settled []Settled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range settled {
		if !s.Already {
			l.taken[s.Event.Index]++
			l.takenAt[s.Event.Index] = time.Now()
		}
	}
}

// contest lets several acknowledgers, a reader whose deadlines pass, and Close
// fight for the same flights.
func contest(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	m := newMemory("a")
	h := NewHub(m, []string{"a"}, Options{Lookup: m.lookup})
	const events = 30
	publishMany(m, events, "a.x")
	attempts := 1 + r.IntN(4)
	s := ackStream(t, h, AckSpec{Redelivery: time.Millisecond, Attempts: attempts, Inflight: 1 + r.IntN(events)})
	l := &ledger{delivered: map[uint64]int{}, taken: map[uint64]int{}, dead: map[uint64]int{}, takenAt: map[uint64]time.Time{}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := s.Next(ctx)
			if err != nil {
				return
			}
			l.noteChunk(c)
		}
	})
	for w := range 3 {
		r := rand.New(rand.NewPCG(seed, uint64(10+w)))
		all.Go(func() { acknowledge(ctx, h, l, r, events) })
	}
	early := r.IntN(2) == 0
	if early {
		<-time.After(time.Duration(r.Int64N(int64(5 * time.Millisecond))))
		go h.Close()
	} else {
		<-time.After(time.Second)
	}
	floor := s.Positions()[0].Next
	s.Close()
	cancel()
	all.Wait()
	h.Close()
	for index := uint64(1); index <= events; index++ {
		taken, dead := l.taken[index], l.dead[index]
		if taken+dead > 1 || !early && taken+dead != 1 {
			l.fail("event %d: taken %d times by acknowledgement, %d times by time-out", index, taken, dead)
		}
		if l.delivered[index] > attempts {
			l.fail("event %d: delivered %d times of %d", index, l.delivered[index], attempts)
		}
		if index < floor && taken+dead == 0 && l.delivered[index] == 0 {
			l.fail("event %d: below the resume point %d and never delivered", index, floor)
		}
	}
	for _, failure := range l.failures {
		t.Errorf("seed %d: %s", seed, failure)
	}
	wantEmpty(t, h, m)
}

func acknowledge(ctx context.Context, h *Hub, l *ledger, r *rand.Rand, events uint64) {
	for ctx.Err() == nil {
		ids := []string{eventID("a", 1+r.Uint64N(events))}
		v := Verdict{Kind: []Kind{Ack, Ack, Term, Nak, Wip}[r.IntN(5)]}
		settled, err := h.Settle("c", ids, v, r.IntN(8) == 0)
		switch {
		case errors.Is(err, bus.ErrUnknownConsumer):
			return
		case err == nil && (v.Kind == Ack || v.Kind == Term):
			l.noteSettled(settled)
		}
		if r.IntN(3) > 0 {
			<-time.After(time.Duration(r.Int64N(int64(2 * time.Millisecond))))
		}
	}
}

func TestExactlyOneTakerOfAFlight(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) { contest(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func TestCloseOfManyStreamsLeaksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory("a", "b")
		h := NewHub(m, []string{"a", "b"}, Options{})
		var all sync.WaitGroup
		var streams []*Stream
		for i := range 300 {
			spec := Spec{ConsumerID: fmt.Sprint("c_", i), Places: []Place{place(t, 1, fmt.Sprintf("a.%d.>", i%50), "a.x")}, Format: lines, Shared: i%2 == 0}
			if i%3 == 0 {
				spec.Places = append(spec.Places, place(t, 1, "b.>"))
			}
			if i%5 == 0 {
				spec.Inboxes = []string{mailbox}
				spec.Ack = &AckSpec{Redelivery: time.Millisecond}
			}
			s := open(t, h, spec)
			streams = append(streams, s)
			all.Go(func() {
				for {
					if _, err := s.Next(context.Background()); err != nil {
						return
					}
				}
			})
		}
		all.Go(func() {
			for i := range 200 {
				m.publish("a.x", fmt.Sprintf("a.%d.y", i%50))
				m.publish("b.x")
				h.Deliver(mailbox, letter(i))
				<-time.After(time.Microsecond)
			}
		})
		for i, s := range streams {
			if i%2 == 0 {
				all.Go(s.Close)
			}
		}
		all.Go(h.Close)
		for i, s := range streams {
			if i%2 == 1 {
				all.Go(s.Close)
			}
		}
		all.Wait()
		h.Close()
		wantEmpty(t, h, m)
	})
}

func TestAnUpToThatMeetsAnotherAckSettlesAllBelow(t *testing.T) {
	for range 300 {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			m.publish("a.1", "a.2", "a.3", "a.4", "a.5")
			s := open(t, h, Spec{ConsumerID: "c", Places: []Place{place(t, 1, "a.>")}, Ack: &AckSpec{}})
			defer s.Close()
			next(t, s)
			var acks sync.WaitGroup
			for _, upTo := range []bool{true, false} {
				acks.Go(func() { settle(t, h, Verdict{Kind: Ack}, upTo, 5) })
			}
			acks.Wait()
			if got := s.Positions()[0].Next; got != 6 {
				t.Fatalf("resume point: got %d, want 6", got)
			}
		})
	}
}
