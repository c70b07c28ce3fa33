package delivery

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/bus"
)

var message = &Format{Name: "message", Encode: func(dst []byte, e *bus.Event) []byte {
	dst = append(dst, "id: "...)
	dst = append(dst, e.Id...)
	dst = append(dst, "\nevent: msg\ndata: "...)
	dst = e.AppendJSON(dst)
	return append(dst, '\n', '\n')
}}

// load makes events of 256 bytes of payload, as a reader would return them.
func load(from uint64, n int, subject string) []bus.Event {
	payload := make([]byte, 256)
	for i := range payload {
		payload[i] = '1'
	}
	events := make([]bus.Event, n)
	for i := range events {
		index := from + uint64(i)
		events[i] = bus.Event{Id: bus.FormatID(bus.Position{Incarnation: 1, Index: index}), Subject: subject, Index: index, CreatedAt: time.Unix(1e9, 0), Payload: payload}
	}
	return events
}

// endless is a Source of events that never come by themselves.
type endless struct{}

func (endless) Bounds(string) (first, next uint64) { return 1, 1 }
func (endless) Wait(ctx context.Context, _ string, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}
func (endless) Skip(_ string, from uint64, _ []bus.Pattern) (at, until uint64) {
	return from, math.MaxUint64
}
func (endless) Reader(string, uint64) Reader {
	return &memoryReader{m: &memory{}, l: &memoryLog{first: 1}, at: 1}
}

// fanOut measures deliveries through the feed to streams that are read by a
// goroutine each. A round is one batch that all of them get.
func fanOut(b *testing.B, streams, batch int) {
	h := NewHub(endless{}, []string{"a"}, Options{})
	defer h.Close()
	var readers, round sync.WaitGroup
	for range streams {
		s := open(b, h, Spec{Places: []Place{place(b, 1, "a.>")}, Format: message, Shared: true})
		readers.Go(func() {
			defer s.Close()
			for {
				c, err := s.Next(context.Background())
				if err != nil {
					return
				}
				round.Add(-c.Count)
			}
		})
	}
	f := h.feed("a")
	for live := 0; live < streams; { // all of them have joined
		f.mu.Lock()
		if v := f.views[keyOf(message, patterns(b, "a.>"))]; v != nil {
			v.mu.Lock()
			live = len(v.waiters)
			v.mu.Unlock()
		}
		f.mu.Unlock()
	}
	events := load(1, batch, "a.created")
	b.ReportAllocs()
	for b.Loop() {
		round.Add(streams * batch)
		for i := range events {
			events[i].Index += uint64(batch)
		}
		f.publish(f.run, events)
		round.Wait()
	}
	b.ReportMetric(float64(b.N*streams*batch)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*streams*batch), "ns/delivery")
	b.StopTimer()
	h.Close()
	readers.Wait()
}

func BenchmarkFanOut(b *testing.B) {
	for _, streams := range []int{100, 1000} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("streams=%d/batch=%d", streams, batch), func(b *testing.B) { fanOut(b, streams, batch) })
		}
	}
}

// BenchmarkPublishBesideStrangers shows that streams that do not match cost a
// publish nothing.
func BenchmarkPublishBesideStrangers(b *testing.B) {
	for _, strangers := range []int{10, 10_000} {
		b.Run(strconv.Itoa(strangers), func(b *testing.B) {
			h := NewHub(endless{}, []string{"a"}, Options{})
			defer h.Close()
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			for i := range strangers {
				s := open(b, h, Spec{Places: []Place{place(b, 1, fmt.Sprintf("a.stranger.%d", i))}, Format: message, Shared: i%2 == 0})
				defer s.Close()
				s.Next(ctx)
			}
			f := h.feed("a")
			if got := len(f.views) + len(f.cursors); got != strangers {
				b.Fatalf("got %d listeners, want %d", got, strangers)
			}
			events := load(1, 100, "a.created")
			for i := range events { // each its own look-up
				events[i].Subject = fmt.Sprintf("a.created.%d", i)
			}
			b.ReportAllocs()
			for b.Loop() {
				f.publish(f.run, events)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/event")
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	const total = 200_000
	m := newMemory("a")
	m.logs["a"].events = load(1, total, "a.created")
	for _, shared := range []bool{true, false} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			sent := 0
			b.ReportAllocs()
			for b.Loop() {
				h := NewHub(m, []string{"a"}, Options{})
				p := place(b, 1, "a.>")
				p.Until = total + 1
				s := open(b, h, Spec{Places: []Place{p}, Format: message, Shared: shared})
				for n := 0; n < total; {
					c := next(b, s)
					n += c.Count + len(c.Deliveries)
					sent += len(c.Frames)
				}
				s.Close()
				h.Close()
			}
			b.ReportMetric(float64(b.N*total)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(sent)/float64(b.N*total), "frame-bytes/event")
		})
	}
}

// BenchmarkSettle delivers and acknowledges, one event a call and 64 with up_to.
func BenchmarkSettle(b *testing.B) {
	for _, upTo := range []bool{false, true} {
		b.Run(fmt.Sprintf("up_to=%v", upTo), func(b *testing.B) {
			const total = 100_000
			m := newMemory("a")
			m.logs["a"].events = load(1, total, "a.created")
			b.ReportAllocs()
			for b.Loop() {
				h := NewHub(m, []string{"a"}, Options{})
				p := place(b, 1, "a.>")
				p.Until = total + 1
				s := open(b, h, Spec{ConsumerID: "c", Places: []Place{p}, Ack: &AckSpec{Redelivery: time.Hour}})
				for n := 0; n < total; {
					c := next(b, s)
					n += len(c.Deliveries)
					if upTo {
						c.Deliveries = c.Deliveries[len(c.Deliveries)-1:]
					}
					for _, d := range c.Deliveries {
						if _, err := h.Settle("c", []string{d.Event.Id}, Verdict{}, upTo); err != nil {
							b.Fatal(err)
						}
					}
				}
				s.Close()
				h.Close()
			}
			b.ReportMetric(float64(b.N*total)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkInflight(b *testing.B) {
	for _, window := range []int{64, 10_000} {
		b.Run(strconv.Itoa(window), func(b *testing.B) {
			fs := newFlights(&Stream{hub: &Hub{flown: flown{most: 1 << 40}}}, AckSpec{Redelivery: time.Hour, Inflight: window})
			c := &cursor{}
			events := load(1, 2*window, "a.created")
			now, i := time.Now(), 0
			for ; i < window-1; i++ {
				fs.launch(c, &events[i], now.Add(time.Duration(i)))
			}
			b.ReportAllocs()
			for b.Loop() {
				i++
				fs.launch(c, &events[i%len(events)], now.Add(time.Duration(i)))
				fs.remove(c.unacked.first)
			}
		})
	}
}

func BenchmarkDedup(b *testing.B) {
	d := NewDedup(time.Hour, 100_000)
	ctx := context.Background()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		r, _, err := d.Begin(ctx, "a", strconv.Itoa(i), printOne)
		if err != nil {
			b.Fatal(err)
		}
		r.Commit(Receipt{Index: uint64(i), ID: bus.FormatID(bus.Position{Incarnation: 1, Index: uint64(i)}), CreatedAt: time.Unix(1, 0)})
	}
}
