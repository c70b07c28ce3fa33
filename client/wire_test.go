package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// wire is a server that speaks as design and HTTP_API say, as far as a test scripts it. Its
// connections are in memory, so that it works in a bubble of testing/synctest.
type wire struct {
	t      *testing.T
	client *Client
	ln     *memoryListener

	mu       sync.Mutex
	requests []request
}

type request struct {
	method, query, body string
	header              http.Header
}

// stream is the answer to one GET, being written.
type stream struct {
	w http.ResponseWriter
	r *http.Request
}

// newWire serves every request with answer, which gets its number, from 1.
func newWire(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request), opts ...ClientOption) *wire {
	t.Helper()
	ln := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := &wire{t: t, ln: ln}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(s.note(r), w, r)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(ln) })
	transport := &http.Transport{DialContext: ln.dial}
	s.client = NewClient("http://bus.test", append(opts, WithHTTPClient(&http.Client{Transport: transport}))...)
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_ = server.Close()
		wg.Wait()
	})
	return s
}

func (s *wire) note(r *http.Request) int {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request{r.Method, r.URL.RawQuery, string(body), r.Header})
	return len(s.requests)
}

// seen returns the requests so far.
func (s *wire) seen() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

// newStreams is newWire for GETs: headers and hello are sent before script is asked for more.
func newStreams(t *testing.T, script func(n int, s *stream), opts ...ClientOption) *wire {
	t.Helper()
	return newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
		s := &stream{w, r}
		s.head()
		s.hello(fmt.Sprintf("c_%d", n), 0)
		script(n, s)
	}, opts...)
}

func (s *stream) head() {
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.send("retry: 2000\n\n")
}

func (s *stream) hello(consumer string, tail int) {
	s.send("event: hello\ndata: {\"consumer_id\":%q,\"heartbeat\":\"15s\",\"now\":\"2026-01-31T12:00:00Z\",\"tail\":{\"app\":%d}}\n\n", consumer, tail)
}

func (s *stream) send(format string, args ...any) {
	fmt.Fprintf(s.w, format, args...)
	_ = http.NewResponseController(s.w).Flush()
}

// events sends the events with these indexes.
func (s *stream) events(indexes ...int) {
	for _, i := range indexes {
		s.send("id: e_%d\nevent: msg\ndata: {\"id\":\"e_%d\",\"subject\":\"app.users.created\",\"index\":%d,\"created_at\":\"2026-01-31T12:00:00Z\",\"payload\":{\"n\":%d}}\n\n", i, i, i, i)
	}
}

// idle keeps the stream alive for d, a multiple of the heartbeat.
func (s *stream) idle(d time.Duration) {
	for range d / defaultHeartbeat {
		sleep(s.r.Context(), defaultHeartbeat)
		s.send("event: ping\ndata: {\"tail\":{\"app\":7}}\n\n")
	}
}

// hold keeps the stream open until the client lets it go.
func (s *stream) hold() { <-s.r.Context().Done() }

// end says that the stream has come to a bound. Without it the end of a script is what a
// proxy makes of a server that died.
func (s *stream) end(reason string) {
	s.send("event: end\ndata: {\"reason\":%q}\n\n", reason)
}

// breakOff ends the connection in the middle of the answer.
func (s *stream) breakOff() { panic(http.ErrAbortHandler) }

type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	down   time.Time // until then connections are refused
}

func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if time.Now().Before(l.down) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2021} }

// problem answers a refusal.
func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"about:blank","title":"refused","status":%d,"code":%q,"detail":%q,"later":"field"}`, status, code, detail)
}

// collect ranges to the end and notes what came: indexes, and errors as text. A loop that
// would go on for ever is left after a day of the bubble's time.
func collect(s *wire, opts ...GetOption) []string {
	var got []string
	ctx, cancel := context.WithTimeout(s.t.Context(), 24*time.Hour)
	defer cancel()
	for e, err := range s.client.Get(ctx, append(opts, WithSubject("app.>"))...) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, fmt.Sprint(e.Index))
	}
	if ctx.Err() != nil {
		s.t.Errorf("the loop went on for a day, over %d connections", len(s.seen()))
	}
	return got
}

// indexes is what collect returns for events first to last.
func indexes(first, last int) []string {
	var out []string
	for i := first; i <= last; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}
