package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

// slowEngine appends when it is told to.
type slowEngine struct {
	server.Engine
	append func(ctx context.Context, store func() error) error
}

func (e *slowEngine) Append(ctx context.Context, namespace string, events []bus.Event) error {
	return e.append(ctx, func() error { return e.Engine.Append(context.WithoutCancel(ctx), namespace, events) })
}

// openSlow opens a bus whose engine appends as it is told to.
func openSlow(t *testing.T, append func(ctx context.Context, store func() error) error, change ...func(*server.Config)) (*testBus, *said) {
	return openHeard(t, func(c *server.Config) {
		c.Engine = &slowEngine{c.Engine, append}
		for _, each := range change {
			each(c)
		}
	})
}

// plainPeer is a peer whose connection has seen plain publishes only.
type plainPeer struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (b *testBus) plainPeer() *plainPeer {
	c := b.dial()
	return &plainPeer{c, b.t, bufio.NewReader(c)}
}

func (p *plainPeer) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// hear reads an answer, of the status that is wanted.
func (p *plainPeer) hear(want int) *http.Response {
	p.t.Helper()
	r, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != want {
		p.t.Fatalf("got %d %s %v, want %d", r.StatusCode, body, err, want)
	}
	return r
}

// ended wants the connection to be closed, with nothing more said.
func (p *plainPeer) ended() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.in); len(rest) > 0 || isTimeout(err) {
		p.t.Errorf("got %q %v, want the end of the connection", rest, err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// byNetHTTP has the bus served by net/http alone as well.
func (b *testBus) byNetHTTP(h *http.Server) *testBus {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	h.Handler = b.server.Handler()
	done := make(chan struct{})
	go func() { defer close(done); h.Serve(l) }()
	b.t.Cleanup(func() { h.Close(); <-done })
	return &testBus{t: b.t, url: "http://" + l.Addr().String()}
}

var plainEvent = post("/", `{"subject":"orders.plain"}`)

// plainConns waits until so many connections are here.
func (b *testBus) plainConns(want int) {
	b.t.Helper()
	eventually(b.t, "connections that have seen plain publishes only", func() bool { return b.server.PlainConns() == want })
}

func TestOnlyPlainPublishesKeepAConnectionFromNetHTTP(t *testing.T) {
	b := openBus(t)
	p := b.plainPeer()
	for range 3 {
		p.say(plainEvent)
		p.hear(http.StatusAccepted)
	}
	if got := b.server.PlainConns(); got != 1 {
		t.Errorf("got %d connections after plain publishes, want 1", got)
	}
	p.say(post("/", `{"subject":"orders.other"}`, "X-Any-Thing: 1"))
	p.hear(http.StatusAccepted)
	b.plainConns(0) // it is with net/http
	p.say(plainEvent)
	p.hear(http.StatusAccepted)
}

// A body may come behind its head, soon or late: only the first keeps the
// connection here, and none is lost.
func TestABodyMayFollowItsHead(t *testing.T) {
	b := openBus(t)
	head, body, _ := strings.Cut(plainEvent, "\r\n\r\n")
	p := b.plainPeer()
	p.say(plainEvent)
	p.hear(http.StatusAccepted)
	p.say(head + "\r\n\r\n")
	b.plainConns(0) // it has been waited for
	p.say(body)
	p.hear(http.StatusAccepted)
}

func TestWhatComesOverTLSIsForNetHTTP(t *testing.T) {
	b := openBus(t)
	secret := httptest.NewTLSServer(nil) // for its certificate
	defer secret.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: secret.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(l) }()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := &plainPeer{c, t, bufio.NewReader(c)}
	p.say(plainEvent)
	p.hear(http.StatusAccepted)
	if got := b.server.PlainConns(); got != 0 {
		t.Errorf("got %d connections that are not with net/http, want 0", got)
	}
	b.stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: got %v, want nil", err)
	}
}

// A publish that waits, here for a place, is given up when its peer leaves.
func TestAPublisherThatLeavesWhileItsEventWaitsIsNoticed(t *testing.T) {
	begun, left := make(chan struct{}, 1), make(chan error, 1)
	b, _ := openSlow(t, func(ctx context.Context, store func() error) error {
		begun <- struct{}{}
		<-ctx.Done()
		left <- ctx.Err()
		return ctx.Err()
	})
	p := b.plainPeer()
	p.say(plainEvent)
	<-begun
	p.Close()
	select {
	case err := <-left:
		if err != context.Canceled {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	case <-time.After(patience):
		t.Fatal("nobody has noticed that the peer left")
	}
	b.plainConns(0)
}

// Looking for a peer that leaves may find its next request: it is not lost, byte
// by byte or whole, and the connection's time begins anew.
func TestWhatComesWhileAPublishWaitsIsAnsweredNext(t *testing.T) {
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	b, _ := openSlow(t, func(ctx context.Context, store func() error) error {
		done := ctx.Done()
		begun <- struct{}{}
		select {
		case <-goOn:
		case <-done:
			return ctx.Err()
		}
		return store()
	})
	p := b.plainPeer()
	for _, next := range []string{"", plainEvent, plainEvent[:1], plainEvent[:30], "\r", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"} {
		p.say(plainEvent)
		<-begun
		p.say(next)
		goOn <- struct{}{}
		p.hear(http.StatusAccepted)
		switch {
		case strings.HasPrefix(next, "GET"):
			p.hear(http.StatusOK)
		case len(next) > 1:
			p.say(plainEvent[len(next):])
			<-begun
			goOn <- struct{}{}
			p.hear(http.StatusAccepted)
			if len(next) < len(plainEvent) { // it is with net/http now
				p.Close()
				p = b.plainPeer()
			}
		case next == "\r":
			p.say("\n")
		case next == "P":
			p.say(plainEvent[1:])
			<-begun
			goOn <- struct{}{}
			p.hear(http.StatusAccepted)
		}
	}
}

func TestAPublishThatBreaksEndsItsConnectionAloneAndIsLogged(t *testing.T) {
	var broken atomic.Bool
	b, log := openSlow(t, func(_ context.Context, store func() error) error {
		if broken.CompareAndSwap(false, true) {
			panic("something is wrong with it")
		}
		return store()
	})
	p := b.plainPeer()
	p.say(plainEvent)
	p.ended()
	b.plainConns(0)
	log.mu.Lock()
	text := log.text.String()
	log.mu.Unlock()
	if !strings.Contains(text, "panic serving") || !strings.Contains(text, "something is wrong with it") {
		t.Errorf("got log %s, want the panic in it", text)
	}
	b.publish(`{"subject":"orders.fine"}`)
}

// Where a connection begins, HTTP/2 may; behind a publish it may not, as with
// net/http, which would answer such a line with 400.
func TestHTTP2BeginsOnlyWhereItsConnectionDoes(t *testing.T) {
	b := openBus(t)
	for _, before := range []string{"", "\r\n", "\r\n\r\n"} {
		p := b.plainPeer()
		p.say(plainEvent)
		p.hear(http.StatusAccepted)
		p.say(before + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		p.ended()
	}
}

func TestASlowRequestBehindAPublishIsEndedAtItsDeadline(t *testing.T) {
	b, log := openHostile(t)
	other := b.byNetHTTP(&http.Server{ReadHeaderTimeout: 300 * time.Millisecond})
	head := plainEvent[:len(plainEvent)-5]
	for said, want := range map[string]int{
		"POST / HT":     http.StatusBadRequest,
		"\r\nPO":        http.StatusBadRequest,
		"\r\n\r\n":      0,
		"\r\n\r\nPOST":  http.StatusBadRequest,
		head:            http.StatusRequestTimeout,
		"\r\n" + head:   http.StatusRequestTimeout,
		plainEvent[:30]: http.StatusBadRequest,
	} {
		for _, each := range []*testBus{b, other} {
			p := each.plainPeer()
			p.say(plainEvent)
			p.hear(http.StatusAccepted)
			p.say(said)
			if want != 0 {
				p.hear(want)
			}
			p.ended()
		}
	}
	log.wantNoPanic(b)
}

// A peer that publishes and reads no answer meets the deadline of a write, and
// what it holds comes back.
func TestAPublisherThatReadsNoAnswerIsLetGo(t *testing.T) {
	b, _ := openHostile(t)
	p := b.plainPeer()
	p.say(plainEvent)
	p.hear(http.StatusAccepted)
	b.plainConns(1)
	many, done := bytes.Repeat([]byte(post("/", "{")), 1000), make(chan struct{}) // which asks nothing of the disk
	go func() {
		defer close(done)
		for err := error(nil); err == nil; {
			_, err = p.Write(many)
		}
	}()
	b.plainConns(0)
	p.Close() // the end may be stuck behind what it has not read
	<-done
	b.publish(`{"subject":"orders.fine"}`)
}

func TestAnIdlePublisherIsLetGoAfterTwoMinutesAndASilentOneAfterItsHead(t *testing.T) {
	b := openBus(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := server.New(server.Config{Engine: b.engine})
		if err != nil {
			t.Fatal(err)
		}
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		for _, c := range []struct {
			said        string
			least, most time.Duration
		}{{"", 5 * time.Second, 5 * time.Second}, {post("/", "{"), 2 * time.Minute, 2*time.Minute + 8*time.Second}} {
			ours, theirs := net.Pipe()
			l.conns <- theirs
			in := bufio.NewReader(ours)
			began := time.Now()
			if c.said != "" {
				io.WriteString(ours, c.said)
				if _, err := http.ReadResponse(in, nil); err != nil {
					t.Fatal(err)
				}
			}
			io.Copy(io.Discard, in)
			if got := time.Since(began); got < c.least || got > c.most {
				t.Errorf("%q: got the end after %v, want it from %v to %v", c.said, got, c.least, c.most)
			}
			ours.Close()
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: got %v, want nil", err)
		}
	})
}

// Ten thousand publishers leave at once, some between requests and some within
// one: nothing of them is left.
func TestTenThousandPublishersMayLeaveAtOnce(t *testing.T) {
	m := openMemBus(t)
	before := runtime.NumGoroutine()
	var all []*memConn
	answered := make(chan struct{}, 10_000)
	for i := range 10_000 {
		c := m.dial(func(p []byte) { answered <- struct{}{} })
		c.send([]byte(plainEvent))
		if i%2 == 0 {
			c.send([]byte(plainEvent[:10+i%50]))
		}
		all = append(all, c)
	}
	for range all {
		<-answered
	}
	for _, c := range all {
		c.Close()
	}
	eventually(t, "goroutines of connections that have ended", func() bool {
		return m.server.PlainConns() == 0 && runtime.NumGoroutine() < before+100 // of the server, which begins
	})
	m.client().do(t, []byte(plainEvent))
}
