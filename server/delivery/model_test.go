package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// model says what a stream with acknowledgement must do, in the plainest way.
type model struct {
	spec   AckSpec
	next   uint64 // first index that is not delivered
	tail   uint64 // one past the last published
	out    map[uint64]*modelFlight
	dead   []uint64       // in the order they were given up
	number map[uint64]int // deliveries in all, by index
}

type modelFlight struct {
	attempt   int
	sent, due time.Time
}

// collect returns what Next must return now, as show prints it.
func (m *model) collect(now time.Time) string {
	var due []uint64
	for index, fl := range m.out {
		if !fl.due.After(now) {
			due = append(due, index)
		}
	}
	slices.SortFunc(due, func(a, b uint64) int {
		if c := m.out[a].due.Compare(m.out[b].due); c != 0 {
			return c
		}
		return int(a) - int(b)
	})
	text, dead := "", ""
	for _, index := range due {
		fl := m.out[index]
		if m.spec.Attempts > 0 && fl.attempt >= m.spec.Attempts {
			delete(m.out, index)
			m.dead = append(m.dead, index)
			dead += fmt.Sprintf("dead %d(%d)\n", index, fl.attempt)
			continue
		}
		m.out[index] = &modelFlight{fl.attempt + 1, now, now.Add(m.spec.Redelivery)}
		m.number[index]++
		text += fmt.Sprintf("a.x %d(%d)\n", index, fl.attempt+1)
	}
	for ; m.next < m.tail && len(m.out) < m.spec.Inflight; m.next++ {
		m.out[m.next] = &modelFlight{1, now, now.Add(m.spec.Redelivery)}
		m.number[m.next]++
		text += fmt.Sprintf("a.x %d(1)\n", m.next)
	}
	return text + dead
}

// settle returns what Settle must answer, "" for a refusal.
func (m *model) settle(index uint64, v Verdict, upTo bool, now time.Time) string {
	if index >= m.next || slices.Contains(m.dead[max(0, len(m.dead)-recentSize):], index) {
		return ""
	}
	text := fmt.Sprintf(" %d!", index)
	if m.out[index] != nil {
		text = fmt.Sprintf(" %d", index)
		m.apply(index, v, now)
	}
	for below := uint64(1); upTo && below < index; below++ {
		if m.out[below] != nil {
			text += fmt.Sprintf(" %d", below)
			m.apply(below, v, now)
		}
	}
	return text
}

func (m *model) apply(index uint64, v Verdict, now time.Time) {
	fl := m.out[index]
	switch {
	case v.Kind == Wip:
		fl.due = now.Add(m.spec.Redelivery)
	case v.Kind != Nak:
		delete(m.out, index)
	case m.spec.Attempts > 0 && fl.attempt >= m.spec.Attempts:
		fl.due = now
	default:
		fl.due = now.Add(v.Delay)
		if soonest := fl.sent.Add(backoff(fl.attempt)); fl.due.Before(soonest) {
			fl.due = soonest
		}
	}
}

func (m *model) floor() uint64 {
	floor := m.next
	for index := range m.out {
		floor = min(floor, index)
	}
	return floor
}

func TestAcknowledgementDoesWhatTheModelSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Without the deadline, which means nothing in a bubble's time.
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) { compare(t, rt) })
	})
}

// compare runs random steps on a stream and the model.
func compare(t *testing.T, rt *rapid.T) {
	log := newMemory("a")
	h := NewHub(log, []string{"a"}, Options{Lookup: log.lookup, RingBytes: 1 + rapid.IntRange(0, 8).Draw(rt, "ring")*eventOverhead})
	defer h.Close()
	spec := AckSpec{
		Redelivery: time.Duration(rapid.IntRange(1, 50).Draw(rt, "redelivery")) * time.Millisecond,
		Attempts:   rapid.IntRange(0, 3).Draw(rt, "attempts"),
		Inflight:   rapid.IntRange(1, 6).Draw(rt, "inflight"),
	}
	m := &model{spec: spec, next: 1, tail: 1, out: map[uint64]*modelFlight{}, number: map[uint64]int{}}
	s, err := h.Open(Spec{ConsumerID: "c", Places: []Place{place(t, 1, "a.x")}, Ack: &spec})
	if err != nil {
		rt.Fatal(err)
	}
	defer s.Close()
	rt.Repeat(map[string]func(*rapid.T){
		"publish": func(rt *rapid.T) {
			n := rapid.IntRange(1, 4).Draw(rt, "n")
			publishMany(log, n, "a.x")
			m.tail += uint64(n)
		},
		"pass": func(rt *rapid.T) {
			<-time.After(time.Duration(rapid.IntRange(1, 30).Draw(rt, "ms")) * time.Millisecond)
		},
		"next": func(rt *rapid.T) {
			synctest.Wait()
			want, got := m.collect(time.Now()), drainNow(rt, s)
			if got != want {
				rt.Fatalf("Next: got %q, want %q", got, want)
			}
			if got, want := s.Positions()[0].Next, m.floor(); got != want {
				rt.Fatalf("got resume point %d, want %d", got, want)
			}
		},
		"settle": func(rt *rapid.T) {
			index := rapid.Uint64Range(1, m.tail).Draw(rt, "index")
			v := Verdict{Kind: Kind(rapid.IntRange(0, 3).Draw(rt, "kind")), Delay: time.Duration(rapid.IntRange(0, 40).Draw(rt, "delay")) * time.Millisecond}
			upTo := rapid.Bool().Draw(rt, "up_to")
			want := m.settle(index, v, upTo, time.Now())
			settled, err := h.Settle("c", []string{eventID("a", index)}, v, upTo)
			if got := answers(settled); got != want || (err != nil) != (want == "") {
				rt.Fatalf("Settle %d: got %q, %v, want %q", index, got, err, want)
			}
		},
		"": func(rt *rapid.T) {
			if got, want := s.Positions()[0].Next, m.floor(); got > want {
				rt.Fatalf("got resume point %d, want at most %d", got, want)
			}
			if got := s.flights.count(); got > spec.Inflight {
				rt.Fatalf("got %d in flight, want at most %d", got, spec.Inflight)
			}
		},
	})
}

func answers(settled []Settled) string {
	text := ""
	for _, s := range settled {
		text += " " + s.EventID[len("e_a-"):]
		if s.Already {
			text += "!"
		}
	}
	return text
}

// drainNow takes what Next returns without waiting.
func drainNow(rt *rapid.T, s *Stream) string {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var all Chunk
	for {
		c, err := s.Next(ctx)
		all.Deliveries = append(all.Deliveries, c.Deliveries...)
		all.Dead = append(all.Dead, c.Dead...)
		if errors.Is(err, context.Canceled) {
			// A place may have been one step from the feed: the last look decides.
			if c, err = s.Next(ctx); err != nil {
				return show(all)
			}
			all.Deliveries = append(all.Deliveries, c.Deliveries...)
			all.Dead = append(all.Dead, c.Dead...)
		} else if err != nil {
			rt.Fatalf("Next: %v", err)
		}
	}
}
