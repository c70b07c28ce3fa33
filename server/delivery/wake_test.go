package delivery

import (
	"fmt"
	"testing"

	"example.com/bus"
)

// waiters are live streams that rest until they are woken, as the server's do,
// all in the goroutine of the test.
type waiters struct {
	hub     *Hub
	feed    *feed
	streams []*Stream
	woken   int
	events  []bus.Event
}

func openWaiters(tb testing.TB, n, batch int) *waiters {
	w := &waiters{hub: NewHub(endless{}, []string{"a"}, Options{}), events: load(1, batch, "a.created")}
	w.feed = w.hub.feed("a")
	for range n {
		s := open(tb, w.hub, Spec{Places: []Place{place(tb, 1, "a.>")}, Format: message, Shared: true, Wake: func() { w.woken++ }})
		w.streams = append(w.streams, s)
	}
	w.rest(tb)
	return w
}

func (w *waiters) close() {
	for _, s := range w.streams {
		s.Close()
	}
	w.hub.Close()
}

// rest takes what there is, and returns how many events that were.
func (w *waiters) rest(tb testing.TB) (count int) {
	for _, s := range w.streams {
		for {
			c, _, err := s.Poll()
			if err != nil {
				tb.Fatal(err)
			}
			if c.Empty() {
				break
			}
			count += c.Count
		}
	}
	return count
}

// round publishes a batch, which wakes all, and has each take it.
func (w *waiters) round(tb testing.TB) {
	w.woken = 0
	for i := range w.events {
		w.events[i].Index += uint64(len(w.events))
	}
	w.feed.publish(w.feed.run, w.events)
	if got, want := w.rest(tb), len(w.streams)*len(w.events); got != want || w.woken != len(w.streams) {
		tb.Fatalf("got %d events for %d that were woken, want %d for %d", got, w.woken, want, len(w.streams))
	}
}

func TestWakingASubscriberAndHandingItTheFramesAllocatesNothing(t *testing.T) {
	const few, many = 1, 101
	for _, batch := range []int{1, 100} {
		perRound := func(n int) float64 {
			w := openWaiters(t, n, batch)
			defer w.close()
			return testing.AllocsPerRun(100, func() { w.round(t) })
		}
		if got := perRound(many) - perRound(few); got > 1 {
			t.Errorf("batches of %d: got %v allocations more for %d subscribers more, want none", batch, got, many-few)
		}
	}
}

// BenchmarkWake is one event to all that wait for it, each of which takes it and
// rests again.
func BenchmarkWake(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("waiters=%d", n), func(b *testing.B) {
			w := openWaiters(b, n, 1)
			defer w.close()
			b.ReportAllocs()
			for b.Loop() {
				w.round(b)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/waiter")
		})
	}
}

// BenchmarkSpread is what the feed does with a batch: the frame of each event,
// once, into the slab of each view that it matches.
func BenchmarkSpread(b *testing.B) {
	for _, views := range []int{1, 100} { // of other patterns: each has frames of its own
		b.Run(fmt.Sprintf("views=%d", views), func(b *testing.B) {
			h := NewHub(endless{}, []string{"a"}, Options{})
			defer h.Close()
			for i := range views {
				s := open(b, h, Spec{Places: []Place{place(b, 1, "a.>", fmt.Sprintf("a.x.%d", i))}, Format: message, Shared: true, Wake: func() {}})
				defer s.Close()
				s.Poll()
			}
			f, events := h.feed("a"), load(1, 100, "a.created")
			b.ReportAllocs()
			for b.Loop() {
				for i := range events {
					events[i].Index += uint64(len(events))
				}
				f.publish(f.run, events)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/event")
		})
	}
}
