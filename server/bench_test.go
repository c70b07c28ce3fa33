package server_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/bus"
)

const benchPayload = `{"order":12345,"customer":"c-778","items":[{"sku":"A-1","n":2},{"sku":"B-7","n":1}],"total":119.90}`

// tally counts what arrives, and tells when it is all that was waited for.
type tally struct {
	arrived, wanted atomic.Int64
	full            chan struct{}
}

func newTally() *tally { return &tally{full: make(chan struct{}, 1)} }

var msgFrame = []byte("event: msg\n")

// frames is what a stream's connection does with what it gets.
func (y *tally) frames(p []byte) {
	if n := int64(bytes.Count(p, msgFrame)); n > 0 && y.arrived.Add(n) == y.wanted.Load() {
		y.full <- struct{}{}
	}
}

// expect is to stand before what makes n more arrive.
func (y *tally) expect(n int) { y.wanted.Add(int64(n)) }

// perEvent reports what a loop cost for each of n events, time and allocations.
type perEvent struct{ before uint64 }

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func startPerEvent() perEvent { return perEvent{mallocs()} }

func (p perEvent) report(b *testing.B, n int, unit string) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/"+unit)
	b.ReportMetric(float64(mallocs()-p.before)/float64(n), "allocs/"+unit)
}

// memClient sends requests one after another on a connection.
type memClient struct {
	*memConn
	answered chan bool // whether with 202
}

// tail is the end of what comes in pieces, which may be cut anywhere.
type tail struct {
	last [5]byte
	n    int
}

func (t *tail) add(piece []byte) []byte {
	var both [2 * len(t.last)]byte
	n := copy(both[:], t.last[:t.n])
	n += copy(both[n:], piece[max(0, len(piece)-len(t.last)):])
	t.n = copy(t.last[:], both[max(0, n-len(t.last)):n])
	return t.last[:t.n]
}

var lastChunk = []byte("0\r\n\r\n")

func (b *memBus) client() *memClient {
	c := &memClient{answered: make(chan bool, 1)}
	good, end := false, tail{}
	c.memConn = b.dial(func(p []byte) {
		good = good || bytes.HasPrefix(p, []byte("HTTP/1.1 202 "))
		if last := end.add(p); bytes.HasSuffix(last, []byte("}\n")) || bytes.Equal(last, lastChunk) {
			c.answered <- good
			good = false
		}
	})
	return c
}

func (c *memClient) do(tb testing.TB, request []byte) {
	c.send(request)
	if !<-c.answered {
		tb.Fatal("got another answer than 202")
	}
}

func request(verb, target, body string) []byte {
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: bus\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", verb, target, len(body), body)
}

// BenchmarkPublish is a request to its answer, one after another.
func BenchmarkPublish(b *testing.B) {
	event := `{"subject":"orders.eu.created","payload":` + benchPayload + `}`
	batch := "[" + strings.Repeat(event+",", 99) + event + "]"
	for _, c := range []struct {
		name    string
		request []byte
		events  int
	}{
		{"event", request("POST", "/", event), 1},
		{"event by net/http", bytes.Replace(request("POST", "/", event), []byte("\r\n"), []byte("\r\nX-Not-Plain: 1\r\n"), 1), 1},
		{"payload", request("POST", "/?subject=orders.eu.created", benchPayload), 1},
		{"batch=100", request("POST", "/", batch), 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			client := openMemBus(b).client()
			b.ReportAllocs()
			cost := startPerEvent()
			for b.Loop() {
				client.do(b, c.request)
			}
			cost.report(b, b.N*c.events, "event")
		})
	}
}

// fanOut is streams that all get every event.
type fanOut struct {
	*memBus
	*tally
	streams int
	event   []bus.Event
}

func openFanOut(tb testing.TB, streams, batch int) *fanOut {
	f := &fanOut{openMemBus(tb), newTally(), streams, make([]bus.Event, batch)}
	for range streams {
		greeted, said := make(chan struct{}, 1), false
		f.dial(func(p []byte) {
			if !said && bytes.Contains(p, []byte("event: hello\n")) {
				said = true
				greeted <- struct{}{}
			}
			f.frames(p)
		}).send([]byte("GET /?subject=orders.%3E HTTP/1.1\r\nHost: bus\r\n\r\n"))
		<-greeted
	}
	for range 3 { // by then all of them share the live frames
		f.publish(tb)
	}
	return f
}

// publish stores a batch and returns when all have it.
func (f *fanOut) publish(tb testing.TB) {
	f.expect(f.streams * len(f.event))
	for i := range f.event {
		f.event[i] = bus.Event{Subject: "orders.eu.created", Payload: []byte(benchPayload)}
	}
	if err := f.engine.Append(context.Background(), "orders", f.event); err != nil {
		tb.Fatal(err)
	}
	<-f.full
}

// BenchmarkFanOut is an append until all streams have written it. Counting what
// arrives is a part of the figure.
func BenchmarkFanOut(b *testing.B) {
	for _, streams := range []int{1, 100, 1000} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("streams=%d/batch=%d", streams, batch), func(b *testing.B) {
				f := openFanOut(b, streams, batch)
				b.ReportAllocs()
				cost := startPerEvent()
				for b.Loop() {
					f.publish(b)
				}
				cost.report(b, b.N*batch*streams, "delivery")
			})
		}
	}
}

// A stream costs what it holds, not what passes: one event more to a hundred
// streams more is nothing more for the garbage collector.
func TestFanOutAllocatesNothingPerEventAndSubscriber(t *testing.T) {
	const few, many = 1, 101
	for _, batch := range []int{1, 100} {
		perRound := func(streams int) float64 {
			f := openFanOut(t, streams, batch)
			return testing.AllocsPerRun(100, func() { f.publish(t) })
		}
		got := (perRound(many) - perRound(few)) / (many - few)
		if got > allocsPerWake {
			t.Errorf("batches of %d: got %.2f allocations a wake-up of a subscriber, want at most %.2f", batch, got, allocsPerWake)
		}
	}
}

// BenchmarkReplay is one stream from the oldest event to the newest, of frames
// that hold nothing of its own, and with acknowledgement until its window is full.
func BenchmarkReplay(b *testing.B) {
	for _, c := range []struct {
		name, query string
		events      int
	}{
		{"plain", "&until=newest", 50_000},
		{"ack", "&ack=manual&inflight=10000&wait=1ms", 10_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, ended := openMemBus(b), make(chan struct{}, 1)
			m.fill(b, 50_000)
			end := tail{}
			conn := m.dial(func(p []byte) {
				if bytes.Equal(end.add(p), lastChunk) {
					ended <- struct{}{}
				}
			})
			request := []byte("GET /?subject=orders.%3E&start=oldest" + c.query + " HTTP/1.1\r\nHost: bus\r\n\r\n")
			b.ReportAllocs()
			cost := startPerEvent()
			for b.Loop() {
				conn.send(request)
				<-ended
			}
			cost.report(b, b.N*c.events, "event")
		})
	}
}

// fill stores n events, and returns the index of the last.
func (b *memBus) fill(tb testing.TB, n int) uint64 {
	tb.Helper()
	events := make([]bus.Event, min(n, 1000))
	for range n / len(events) {
		for i := range events {
			events[i] = bus.Event{Subject: "orders.eu.created", Payload: []byte(benchPayload)}
		}
		if err := b.engine.Append(context.Background(), "orders", events); err != nil {
			tb.Fatal(err)
		}
	}
	return events[len(events)-1].Index
}

// BenchmarkAck is a request to its answer, for one event and for 256 at once;
// what is acknowledged is published and delivered beside the clock.
func BenchmarkAck(b *testing.B) {
	const window = 256
	for _, group := range []int{1, window} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			m, y, consumer := openMemBus(b), newTally(), make(chan string, 1)
			m.dial(func(p []byte) {
				if id := regexp.MustCompile(`"consumer_id":"([^"]+)"`).FindSubmatch(p); id != nil {
					consumer <- string(id[1])
				}
				y.frames(p)
			}).send([]byte(fmt.Sprintf("GET /?subject=orders.%%3E&ack=manual&redelivery=1h&inflight=%d HTTP/1.1\r\nHost: bus\r\n\r\n", window)))
			client, id := m.client(), <-consumer
			var requests [][]byte
			b.ReportAllocs()
			for b.Loop() {
				if len(requests) == 0 {
					b.StopTimer()
					y.expect(window)
					last := m.fill(b, window)
					<-y.full
					for index := last - window + uint64(group); index <= last; index += uint64(group) {
						event := bus.FormatID(bus.Position{Incarnation: m.engine.Incarnation("orders"), Index: index})
						requests = append(requests, request("PUT", fmt.Sprintf("/?consumer_id=%s&event_id=%s&up_to=%v", id, event, group > 1), ""))
					}
					b.StartTimer()
				}
				client.do(b, requests[0])
				requests = requests[1:]
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*group), "ns/event")
		})
	}
}
