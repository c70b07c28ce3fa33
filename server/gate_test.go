package server_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus/server"
)

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *lockedBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// connect opens a connection and has one request answered on it, so that the
// server has counted it.
func (b *testBus) connect() net.Conn {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if a := b.on(c, "GET", "/livez", ""); a.status != http.StatusOK {
		b.t.Fatalf("got %d %s, want 200", a.status, a.body)
	}
	return c
}

// on sends a request over a connection that is open, and reads the answer.
func (b *testBus) on(c net.Conn, method, path, body string, headers ...string) answer {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	setHeaders(r, headers)
	if err := r.Write(c); err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.Close {
		resp.Header.Set("Connection", "close")
	}
	return answer{resp.StatusCode, resp.Header, string(read)}
}

// fullBus is one with all its connections taken but the one that is held back.
// do opens a new connection for each request there.
func fullBus(t *testing.T, wait time.Duration) (b *testBus, open []net.Conn, log *lockedBuffer) {
	t.Helper()
	log = &lockedBuffer{}
	b = openBus(t, func(c *server.Config) { c.MaxConnections, c.HeadTimeout, c.Logger = 8, wait, log.logger() })
	for range 7 {
		open = append(open, b.connect())
	}
	return b, open, log
}

func TestAFullServerAnswersProbesAndTellsEverybodyElse(t *testing.T) {
	b, open, _ := fullBus(t, patience)
	for range 3 { // each leaves room for the next
		for _, path := range []string{"/livez", "/readyz", "/metrics", "/version", "/v1/namespaces"} {
			if a := b.do("GET", path, ""); a.status != http.StatusOK {
				t.Errorf("%s: got %d %s, want 200", path, a.status, a.body)
			}
		}
		for _, method := range []string{"POST", "PUT", "HEAD"} {
			a := b.do(method, "/", `{"subject":"orders.1"}`)
			if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || method != "HEAD" && a.field("code") != "server_full" {
				t.Errorf("%s: got %d %v %s, want server_full with Retry-After", method, a.status, a.header, a.body)
			}
		}
		b.turnedAway("server_full")
		b.refused(503, "server_full", "GET", "/?subject=orders.*&until=newest", "", "Accept: application/json")
	}
	if got := b.metric(limited("bus_limit_refusals_total", "connections")); got != 3*5 {
		t.Errorf("got %d refusals, want 15", got)
	}
	b.checkLimitOpen("connections", 7, 8) // the eighth is held back
	// Who is in publishes as ever.
	if a := b.on(open[0], "POST", "/", `{"subject":"orders.1"}`); a.status != http.StatusAccepted || a.header.Get("Connection") != "" {
		t.Errorf("over an open connection: got %d %v, want 202 and the connection kept", a.status, a.header)
	}
}

func TestConnectionsThatEndMakeRoomAtOnce(t *testing.T) {
	b, open, _ := fullBus(t, patience)
	for _, c := range open[:2] {
		c.Close()
	}
	eventually(t, "the connections that ended are still counted", func() bool {
		return b.do("POST", "/", `{"subject":"orders.1"}`).status == http.StatusAccepted
	})
}

func TestAConnectionThatIsHeldBackBecomesOneLikeAnyOtherOnceThereIsRoom(t *testing.T) {
	b, open, _ := fullBus(t, patience)
	late, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	late.SetDeadline(time.Now().Add(patience))
	for _, c := range open {
		c.Close()
	}
	eventually(t, "the connections that ended are still counted", func() bool { return b.metric(limited("bus_limit_used", "connections")) <= 2 })
	for range 3 { // on one connection
		if a := b.on(late, "POST", "/", `{"subject":"orders.1"}`); a.status != http.StatusAccepted {
			t.Fatalf("got %d %s, want 202", a.status, a.body)
		}
	}
}

func TestAnIdleConnectionDoesNotKeepProbesOut(t *testing.T) {
	t.Parallel() // it waits for deadlines
	b, _, log := fullBus(t, time.Second)
	for range 3 { // one takes the place that is held back, two wait behind it
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if a := b.do("GET", "/livez", ""); a.status != http.StatusOK {
		t.Errorf("got %d %s, want 200", a.status, a.body)
	}
	if got := strings.Count(log.String(), "no more connections are accepted"); got != 1 {
		t.Errorf("got it said %d times, want once:\n%s", got, log)
	}
}

// poorListener lacks descriptors for a while.
type poorListener struct {
	net.Listener
	mu    sync.Mutex
	fails int
	tries []time.Time
}

func (l *poorListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.tries = append(l.tries, time.Now())
	poor := l.fails > 0
	l.fails--
	l.mu.Unlock()
	if poor {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: &osError{syscall.EMFILE}}
	}
	return l.Listener.Accept()
}

type osError struct{ error }

func (e *osError) Unwrap() error { return e.error }

// pipes is a listener without a network, so that a bubble has all of the time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestAWantOfDescriptorsIsOutlastedWithoutSpinningAndSaidOnce(t *testing.T) {
	b := openBus(t) // its engine alone is used
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		s, err := server.New(server.Config{Engine: b.engine, Logger: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		behind := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		l := &poorListener{Listener: behind, fails: 20}
		served := make(chan error, 1)
		began := time.Now()
		go func() { served <- s.Serve(l) }()
		ours, theirs := net.Pipe()
		behind.conns <- theirs
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}}
		resp, err := client.Get("http://bus/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := "bus_accept_errors_total 20"; !strings.Contains(string(text), want) {
			t.Errorf("got no %s", want)
		}
		if got := time.Since(began); got < 10*time.Second || got > 20*time.Second {
			t.Errorf("twenty failures took %v, want pauses that grow to a second", got)
		}
		if got := strings.Count(log.String(), "cannot be accepted"); got != 1 {
			t.Errorf("got it said %d times within a minute, want once", got)
		}
		client.CloseIdleConnections()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: got %v, want nil", err)
		}
	})
}

func TestAListenerThatFailsForGoodEndsTheServer(t *testing.T) {
	b := openBus(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := b.server.Serve(l); err == nil {
		t.Error("got nil, want what the listener failed with")
	}
}
