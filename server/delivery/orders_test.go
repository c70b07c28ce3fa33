package delivery

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	orderSeeds = flag.Uint64("delivery.seeds", 10_000, "how many orders of acks, deadlines, disconnects and shutdowns to try")
	orderFrom  = flag.Uint64("delivery.from", 1, "the first of these seeds")
)

// A step is one verdict of a consumer, at a time of its own.
type step struct {
	at    time.Duration
	actor int
	index uint64
	v     Verdict
	upTo  bool
}

// An order is what happens to the events of one stream, drawn from a seed: who
// settles what and when, and when and how the stream is cut.
type order struct {
	seed   uint64
	events int
	spec   AckSpec
	steps  []step
	cut    string // "", "disconnect" or "shutdown"
	cutAt  time.Duration
	tied   bool // several things happen at one instant: which is first is the scheduler's to say
}

func drawOrder(seed uint64) order {
	r := rand.New(rand.NewPCG(seed, 77))
	o := order{seed: seed, events: 1 + r.IntN(4), tied: seed%2 == 0}
	o.spec = AckSpec{Redelivery: time.Duration(1+r.IntN(4)) * time.Millisecond, Attempts: 1 + r.IntN(3), Inflight: 1 + r.IntN(4)}
	o.cut = []string{"", "disconnect", "shutdown"}[r.IntN(3)]
	if o.cut != "" && r.IntN(3) == 0 {
		o.spec.Attempts = 0 // without end
	}
	instant := func() time.Duration {
		at := time.Duration(r.IntN(13)) * time.Millisecond
		if !o.tied {
			at += time.Duration(1 + r.IntN(999_998)) // beside every deadline
		}
		return at
	}
	for range 1 + r.IntN(6) {
		kind := []Kind{Ack, Ack, Ack, Term, Nak, Wip}[r.IntN(6)]
		o.steps = append(o.steps, step{
			at: instant(), actor: r.IntN(3), index: 1 + r.Uint64N(uint64(o.events)), upTo: r.IntN(5) == 0,
			v: Verdict{Kind: kind, Delay: time.Duration(r.IntN(3)) * time.Millisecond},
		})
	}
	slices.SortStableFunc(o.steps, func(a, b step) int { return int(a.at - b.at) })
	o.cutAt = instant()
	return o
}

// outcome is what became of the events: in a run, or by the model.
type outcome struct {
	answers   []string // of each step; "" is a refusal
	delivered map[uint64]int
	dead      map[uint64]int
	floor     uint64 // the resume point at the cut
}

// expect lets the model live through the order. sure is false when two things
// fall on one instant by chance.
func (o *order) expect(begin time.Time) (want outcome, sure bool) {
	m := &model{spec: o.spec, next: 1, tail: uint64(o.events + 1), out: map[uint64]*modelFlight{}, number: map[uint64]int{}}
	want = outcome{dead: map[uint64]int{}, answers: make([]string, len(o.steps))}
	until, steps := begin.Add(time.Hour), 0
	if o.cut != "" {
		until = begin.Add(o.cutAt)
	}
	m.collect(begin)
	for {
		at := until
		if steps < len(o.steps) {
			at = earlier(at, begin.Add(o.steps[steps].at))
		}
		for _, fl := range m.out {
			at = earlier(at, fl.due)
		}
		due := slices.ContainsFunc(flightsOf(m), func(fl *modelFlight) bool { return fl.due.Equal(at) })
		if at.Equal(until) {
			if due || steps < len(o.steps) && begin.Add(o.steps[steps].at).Equal(at) {
				return want, false
			}
			break
		}
		m.collect(at)
		for n := 0; steps < len(o.steps) && begin.Add(o.steps[steps].at).Equal(at); n++ {
			if due || n > 0 {
				return want, false
			}
			st := o.steps[steps]
			want.answers[steps] = m.settle(st.index, st.v, st.upTo, at)
			m.collect(at)
			steps++
		}
	}
	want.delivered, want.floor = m.number, m.floor()
	for _, index := range m.dead {
		want.dead[index]++
	}
	return want, true
}

func flightsOf(m *model) (all []*modelFlight) {
	for _, fl := range m.out {
		all = append(all, fl)
	}
	return all
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// run lives through the order with a real hub.
func (o *order) run(t *testing.T, l *ledger, begin time.Time) (got outcome) {
	m := newMemory("a")
	h := NewHub(m, []string{"a"}, Options{Lookup: m.lookup})
	publishMany(m, o.events, "a.x")
	spec := o.spec
	s := ackStream(t, h, spec)
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		for {
			c, err := s.Next(ctx)
			if err != nil {
				return
			}
			l.noteChunk(c)
		}
	})
	got.answers = make([]string, len(o.steps))
	for actor := range 3 {
		all.Go(func() {
			for i, st := range o.steps {
				if st.actor == actor {
					<-time.After(time.Until(begin.Add(st.at)))
					got.answers[i] = o.settle(h, l, st)
				}
			}
		})
	}
	if o.cut == "" {
		<-time.After(time.Second) // all deadlines and all attempts
	} else {
		<-time.After(time.Until(begin.Add(o.cutAt)))
	}
	if !o.tied {
		synctest.Wait()
	}
	got.floor = s.Positions()[0].Next
	if o.cut == "shutdown" {
		h.Close()
	}
	s.Close()
	all.Wait()
	cancel()
	h.Close()
	wantEmpty(t, h, m)
	got.delivered, got.dead = l.delivered, l.dead
	return got
}

func (o *order) settle(h *Hub, l *ledger, st step) string {
	settled, err := h.Settle("c", []string{eventID("a", st.index)}, st.v, st.upTo)
	if err != nil {
		return ""
	}
	if st.v.Kind == Ack || st.v.Kind == Term {
		l.noteSettled(settled)
	}
	return answers(settled)
}

// tryOrder runs an order and checks it: exactly one taker of each event, as
// many deliveries as the model says, none after an acknowledgement.
func tryOrder(t *testing.T, seed uint64) bool {
	o := drawOrder(seed)
	l := &ledger{delivered: map[uint64]int{}, taken: map[uint64]int{}, dead: map[uint64]int{}, takenAt: map[uint64]time.Time{}}
	begin := time.Now()
	want, sure := o.expect(begin)
	got := o.run(t, l, begin)
	for index := uint64(1); index <= uint64(o.events); index++ {
		taken, dead := l.taken[index], l.dead[index]
		if taken+dead > 1 || o.cut == "" && taken+dead != 1 {
			l.fail("event %d: taken %d times by acknowledgement, %d times by time-out", index, taken, dead)
		}
		if o.spec.Attempts > 0 && l.delivered[index] > o.spec.Attempts {
			l.fail("event %d: delivered %d times of %d", index, l.delivered[index], o.spec.Attempts)
		}
		if got.floor > index && taken+dead == 0 {
			l.fail("event %d: below the resume point %d and neither acknowledged nor dead", index, got.floor)
		}
	}
	if got, want := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); sure && !o.tied && got != want {
		l.fail("got %s, want %s", got, want)
	}
	for _, failure := range l.failures {
		t.Errorf("seed %d (%+v): %s", seed, o, failure)
	}
	return len(l.failures) == 0 && !t.Failed()
}

// Half of the orders have all times apart: there the model knows how often each
// event is delivered, and what each verdict is answered. The other half have
// acknowledgement, deadline, disconnect and shutdown at the very same instants.
func TestAckTimeoutDisconnectAndShutdownHaveOneTakerInEveryOrder(t *testing.T) {
	const bubbleful = 500 // a bubble costs more than an order
	end := *orderFrom + *orderSeeds
	for from := *orderFrom; from < end && !t.Failed(); from += bubbleful {
		synctest.Test(t, func(t *testing.T) {
			for seed := from; seed < min(end, from+bubbleful); seed++ {
				if !tryOrder(t, seed) {
					return
				}
			}
		})
	}
}
