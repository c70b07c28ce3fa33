package server_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus/server"
)

// slowReader is a stream over a connection of its own, with a small buffer, whose
// reader takes its time. How it reads is up to the test.
type slowReader struct {
	b    *testBus
	body io.ReadCloser
	got  bytes.Buffer
}

func (b *testBus) slowReader(headers ...string) *slowReader {
	b.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return c, err
	}}}
	r, err := http.NewRequest("GET", b.url+"/?subject=orders.*&start=oldest", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	setHeaders(r, headers)
	resp, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	return &slowReader{b: b, body: resp.Body}
}

// indexes are those of all whole frames that arrived, and the last resume point.
func (s *slowReader) indexes() (all []int, last string) {
	frames := bytes.Split(s.got.Bytes(), []byte("\n\n"))
	for _, text := range frames[:len(frames)-1] { // the last one is cut, or empty
		var f frame
		for line := range strings.SplitSeq(string(text), "\n") {
			switch name, value, _ := strings.Cut(line, ": "); name {
			case "id":
				last = value
			case "event":
				f.event = value
			case "data":
				f.data = value
			}
		}
		if f.event == "msg" {
			index, _ := strconv.Atoi(f.field("index"))
			all = append(all, index)
		}
	}
	return all, last
}

// resume reads what is left behind what arrived, and returns all indexes.
func (s *slowReader) resume(until int) []int {
	s.b.t.Helper()
	all, last := s.indexes()
	if last == "" {
		s.b.t.Fatalf("got no resume point in %.200q", s.got.String())
	}
	next := s.b.open("subject=orders.*&start=oldest", "Last-Event-ID: "+last)
	for len(all) == 0 || all[len(all)-1] < until {
		index, _ := strconv.Atoi(next.next("msg").field("index"))
		all = append(all, index)
	}
	return all
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// Among 200 readers that keep up there are one that never reads and one that
// reads a kilobyte a second. Every event reaches all good ones before the next
// is published; the slow ones are let go, counted and logged, and miss nothing.
func TestSlowReadersHoldNobodyUpAreLetGoAndResumeWithoutAHole(t *testing.T) {
	t.Parallel() // it waits for deadlines
	log := &lockedBuffer{}
	b := openBus(t, func(c *server.Config) { c.WriteTimeout, c.Logger = 2*time.Second, log.logger() })
	never, dribbling := b.slowReader(), b.slowReader()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for b.slowEvictions() < 2 {
			<-tick.C
			io.CopyN(&dribbling.got, dribbling.body, 100)
		}
	}()
	const readers, events = 200, 36
	seen := make(chan string, readers)
	for i := range readers { // two of them get the large ones too
		s := b.open([]string{"subject=orders.*", "subject=orders.small"}[min(i/2, 1)])
		go func() {
			for f, ok := s.read(); ok; f, ok = s.read() {
				if f.field("subject") == "orders.small" {
					seen <- f.field("index")
				}
			}
		}()
	}
	for i := 0; i < events; i += 2 { // 9 MB, more than the kernel keeps for a reader
		b.publish(`[{"subject":"orders.large","payload":"` + megabyte[:500_000] + `"},{"subject":"orders.small"}]`)
		for range readers {
			select {
			case got := <-seen:
				if want := fmt.Sprint(i + 2); got != want {
					t.Fatalf("got index %s, want %s, at every reader", got, want)
				}
			case <-time.After(patience):
				t.Fatalf("event %d has not reached all readers", i+2)
			}
		}
	}
	<-ended
	if got := b.metric(`bus_streams{namespace="orders"}`); got != readers {
		t.Errorf("got %d streams, want the %d good ones", got, readers)
	}
	if got := strings.Count(log.String(), "a reader was let go because"); got < 1 || got > 2 {
		t.Errorf("got it said %d times, want once or, ten seconds later, again:\n%s", got, log)
	}
	for name, s := range map[string]*slowReader{"never read": never, "read slowly": dribbling} {
		io.Copy(&s.got, s.body) // what was on the way
		if got, want := s.resume(events), upTo(events); !slices.Equal(got, want) {
			t.Errorf("who %s: got %v, want %v", name, got, want)
		}
	}
}

func (b *testBus) slowEvictions() int { return b.metric("bus_slow_evictions_total") }

// What a reader has not taken is in the log, not in memory.
func TestReadersThatDoNotReadCostMemoryThatDoesNotGrowWithWhatTheyMiss(t *testing.T) {
	b := openBus(t)
	const slow = 50
	for range slow {
		b.slowReader()
	}
	before := heap()
	for range 40 {
		b.publish(`{"subject":"orders.1","payload":"` + megabyte + `"}`)
	}
	// Shared by all: ready frames 32 MiB, decoded events 4 MiB, the log's own. Of
	// each: what one write holds on to, and two buffers of 4 KiB.
	const shared, each = 64 << 20, 256 << 10
	if grown := heap() - before; grown > shared+slow*each {
		t.Errorf("%d readers that missed 40 MB each cost %d MiB, want at most %d", slow, grown>>20, (shared+slow*each)>>20)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An idle stream is a connection, two goroutines and small buffers. When all
// leave at once, all of it comes back.
func TestStreamsThatLeaveAtOnceLeaveNothingBehind(t *testing.T) {
	b := openBus(t)
	const streams = 1000
	goroutines, memory := runtime.NumGoroutine(), heap()
	conns := make([]net.Conn, streams)
	var hello sync.WaitGroup
	for i := range conns {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
		query := []string{"subject=orders.*", "subject=orders.*&ack=manual", "subject=orders.*&subject=app.*", fmt.Sprintf("subject=orders.own%d", i)}[i%4]
		hello.Go(func() {
			fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: x\r\n\r\n", query)
			c.SetReadDeadline(time.Now().Add(patience))
			for lines := bufio.NewScanner(c); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "data: ") {
					return
				}
			}
			t.Error("a stream did not begin")
		})
	}
	hello.Wait()
	b.publish(`{"subject":"orders.1"}`) // the feed runs
	held, running := heap(), runtime.NumGoroutine()
	if got, most := (held-memory)/streams, int64(40<<10); got > most {
		t.Errorf("an idle stream holds %d bytes, both ends counted, want at most %d", got, most)
	}
	if got := float64(running-goroutines) / streams; got > 2.1 {
		t.Errorf("an idle stream has %.1f goroutines, want 2: the connection's, and the one that sees the peer go", got)
	}
	t.Logf("an idle stream: %d bytes, %.2f goroutines", (held-memory)/streams, float64(running-goroutines)/streams)
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "goroutines are left of streams whose readers are gone", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	eventually(t, "streams are counted whose readers are gone", func() bool {
		return b.metric(limited("bus_limit_used", "streams"))+b.metric(limited("bus_limit_used", "streams_per_address")) == 0
	})
}
