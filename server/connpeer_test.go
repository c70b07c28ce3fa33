package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
	"example.com/bus/server/delivery"
)

// wireStream is a stream as it comes from the socket.
type wireStream struct {
	net.Conn
	t    *testing.T
	in   *bufio.Reader
	head string
}

// wire asks for a stream by hand and reads its head and its hello.
func (b *testBus) wire(request string) *wireStream {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		b.t.Fatal(err)
	}
	s := &wireStream{Conn: c, t: b.t, in: bufio.NewReader(c)}
	s.head = s.until("\r\n\r\n")
	s.until("event: hello\n")
	return s
}

// until reads up to a text, and returns what was read.
func (s *wireStream) until(text string) string {
	s.t.Helper()
	var got strings.Builder
	for !strings.HasSuffix(got.String(), text) {
		b, err := s.in.ReadByte()
		if err != nil {
			s.t.Fatalf("%v after %q, want %q", err, got.String(), text)
		}
		got.WriteByte(b)
	}
	return got.String()
}

// rest reads to the end, and returns the error that stands for a reset.
func (s *wireStream) rest() (string, error) {
	b, err := io.ReadAll(s.in)
	return string(b), err
}

const endless = "GET /?subject=orders.* HTTP/1.1\r\nHost: bus\r\nOrigin: http://localhost:3000\r\n"

var changing = regexp.MustCompile(`(?m)^(Date|X-Bus-Consumer-Id): [^\r]*`)

func sortedHead(head string) string {
	lines := strings.Split(strings.TrimSpace(changing.ReplaceAllString(head, "$1")), "\r\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

func TestTheHeadOfAnEndlessStreamIsThatOfAnyAnswerThatEndsItsConnection(t *testing.T) {
	b := openBus(t)
	got := sortedHead(b.wire(endless + "\r\n").head)
	bounded := strings.Replace(endless, " HTTP", "&wait=1h HTTP", 1) + "Connection: close\r\n\r\n"
	want := sortedHead(b.wire(bounded).head) // net/http writes all of it
	if got != want || !strings.Contains(got, "Transfer-Encoding: chunked") || !strings.Contains(got, "Access-Control-Allow-Origin") {
		t.Errorf("got head %s\nwant %s", got, want)
	}
}

func TestABoundedReadKeepsItsConnection(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if a := b.on(c, "GET", "/?subject=orders.*&start=oldest&until=newest", ""); a.status != http.StatusOK || !strings.Contains(a.body, "event: end") {
			t.Fatalf("got %d %q, want a whole answer on the same connection", a.status, a.body)
		}
	}
}

func TestAStreamWhoseRequestHasABodyStaysWithIt(t *testing.T) {
	b := openBus(t)
	s := b.wire(endless + "Content-Length: 5\r\n\r\nhello")
	if strings.Contains(s.head, "Connection: close") {
		t.Errorf("got head %s, want a connection that is kept", s.head)
	}
	b.publish(`{"subject":"orders.1"}`)
	s.until("event: msg\n")
}

func TestACleanEndIsToldByTheLastChunkAndEndsTheConnection(t *testing.T) {
	b := openBus(t)
	s := b.wire(endless + "\r\n")
	b.publish(`{"subject":"orders.1"}`)
	s.until("event: msg\n")
	b.stop()
	got, err := s.rest()
	if err != nil || !strings.HasSuffix(got, "\r\n0\r\n\r\n") || !strings.Contains(got, "\r\nretry: ") {
		t.Errorf("got %q, %v, want a retry and the last chunk", got, err)
	}
}

func TestOverHTTP10AStreamIsPlainAndEndsWithItsConnection(t *testing.T) {
	b := openBus(t)
	s := b.wire(strings.Replace(endless, "1.1", "1.0", 1) + "\r\n")
	if strings.Contains(s.head, "chunked") || !strings.HasPrefix(s.head, "HTTP/1.0 200 OK\r\n") {
		t.Errorf("got head %s, want one of HTTP/1.0", s.head)
	}
	b.publish(`{"subject":"orders.1"}`)
	if got := s.until("event: msg\n"); strings.Contains(got, "\r") {
		t.Errorf("got %q, want frames and nothing else", got)
	}
	b.stop()
	if got, err := s.rest(); err != nil || strings.Contains(got, "\r") || !strings.Contains(got, "\nretry: ") {
		t.Errorf("got %q, %v, want a retry at the end", got, err)
	}
}

func TestWhatComesBehindTheRequestOfAnEndlessStreamIsNeverCarriedOut(t *testing.T) {
	b := openBus(t)
	const body = `{"subject":"orders.smuggled"}`
	post := fmt.Sprintf("POST / HTTP/1.1\r\nHost: bus\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	s := b.wire(endless + "\r\n" + post)               // with the request
	if _, err := io.WriteString(s, post); err != nil { // and later
		t.Fatal(err)
	}
	b.publish(`{"subject":"orders.1"}`)
	if got := s.until("\"index\":"); !strings.Contains(got, "orders.1") {
		t.Errorf("got %q, want the published event alone", got)
	}
	io.WriteString(s, post)
	b.stop()
	if got, err := s.rest(); err != nil || !strings.HasSuffix(got, "\r\n0\r\n\r\n") || strings.Contains(got, "HTTP/1.1") {
		t.Errorf("got %q, %v, want a clean end and no other answer", got, err)
	}
}

func TestAPeerThatTalksOnAnEndlessStreamIsLetGo(t *testing.T) {
	b := openBus(t)
	s := b.wire(endless + "\r\n")
	for range 64 {
		if _, err := io.WriteString(s, strings.Repeat("x", 1000)); err != nil {
			break // it was let go
		}
	}
	s.rest()
	eventually(t, "the stream is still there", func() bool {
		return b.metric(`bus_streams{namespace="orders"}`) == 0 && b.metric(limited("bus_limit_used", "connections")) <= 2
	})
}

func TestAnEndlessStreamThatRestsHoldsNoGoroutineAndGivesAllBack(t *testing.T) {
	b := openBus(t)
	const streams, spare = 200, 20
	resting := spare
	if runtime.GOOS != "linux" {
		resting += streams // one that sees the peer leave
	}
	before := runtime.NumGoroutine()
	var all []*wireStream
	for range streams {
		all = append(all, b.wire(endless+"\r\n"))
	}
	eventually(t, "streams that rest hold goroutines", func() bool { return runtime.NumGoroutine()-before <= resting })
	b.publish(`{"subject":"orders.1"}`)
	for i, s := range all {
		s.until("event: msg\n")
		if i%2 == 0 {
			s.Conn.(*net.TCPConn).SetLinger(0) // a reset
		}
		s.Close()
	}
	eventually(t, "something is left of streams whose peers have gone", func() bool {
		return runtime.NumGoroutine()-before <= spare && b.metric(limited("bus_limit_used", "streams")) == 0 &&
			b.metric(limited("bus_limit_used", "connections")) <= 2 && b.metric(`bus_streams{namespace="orders"}`) == 0
	})
}

func TestAStreamThatCannotEndInTimeIsCutByTheStop(t *testing.T) {
	b := openBus(t)
	s := b.wire(endless + "\r\n")
	for range 8 { // more than the buffers between the two hold
		b.publish(`{"subject":"orders.1","payload":"` + megabyte + `"}`)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.server.Shutdown(ctx); err == nil {
		t.Error("got nil from Shutdown, want to be told that a stream did not end")
	}
	if got, _ := s.rest(); strings.HasSuffix(got, "\r\n0\r\n\r\n") {
		t.Error("a stream that was cut looks like one with a clean end")
	}
}

// trapEngine panics when the log of app is read.
type trapEngine struct {
	server.Engine
	armed atomic.Bool
}

func (e *trapEngine) Reader(namespace string, from uint64) delivery.Reader {
	r := e.Engine.Reader(namespace, from)
	if namespace == "app" {
		return &trapReader{r, e}
	}
	return r
}

type trapReader struct {
	delivery.Reader
	engine *trapEngine
}

func (r *trapReader) Next() ([]bus.Event, error) {
	if r.engine.armed.Load() {
		panic("a trap")
	}
	return r.Reader.Next()
}

func TestAPanicEndsItsStreamAloneAndIsLogged(t *testing.T) {
	log := &lockedBuffer{}
	trap := &trapEngine{}
	b := openBus(t, func(c *server.Config) {
		trap.Engine, c.Engine, c.Logger = c.Engine, trap, log.logger()
	})
	b.publish(`{"subject":"app.1"}`)
	fine := b.wire(endless + "\r\n")
	trap.armed.Store(true)
	broken := b.wire("GET /?subject=app.*&start=oldest HTTP/1.1\r\nHost: bus\r\n\r\n")
	if got, _ := broken.rest(); strings.HasSuffix(got, "0\r\n\r\n") {
		t.Error("the stream that broke off has a clean end")
	}
	trap.armed.Store(false)
	b.publish(`{"subject":"orders.1"}`)
	fine.until("event: msg\n")
	eventually(t, "the stream that broke off is still counted", func() bool { return b.metric(limited("bus_limit_used", "streams")) == 1 })
	if got := log.String(); strings.Count(got, "broken off by a panic") != 1 || !strings.Contains(got, "a trap") {
		t.Errorf("got log %s, want the panic in it once", got)
	}
}

// plainWriter is a ResponseWriter without anything beside it.
type plainWriter struct {
	header http.Header
	wrote  chan string
}

func (w *plainWriter) Header() http.Header { return w.header }

func (w *plainWriter) WriteHeader(int) {}

func (w *plainWriter) Write(p []byte) (int, error) { w.wrote <- string(p); return len(p), nil }

func (w *plainWriter) Flush() {}

func TestAStreamWhoseConnectionIsNotToBeHadStaysWithItsRequest(t *testing.T) {
	b := openBus(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", "/?subject=orders.*", nil)
	if err != nil {
		t.Fatal(err)
	}
	w, over := &plainWriter{header: make(http.Header), wrote: make(chan string, 10)}, make(chan struct{})
	go func() { defer close(over); b.server.Handler().ServeHTTP(w, r) }()
	if got := <-w.wrote; !strings.Contains(got, "event: hello") {
		t.Errorf("got %q first, want a hello", got)
	}
	b.publish(`{"subject":"orders.1"}`)
	if got := <-w.wrote; !strings.Contains(got, "event: msg") {
		t.Errorf("got %q, want the event", got)
	}
	cancel()
	<-over
}
