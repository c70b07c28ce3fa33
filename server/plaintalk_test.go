package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// script is a peer that says what it has to say piece by piece, a piece a read,
// ends, and listens. Nothing of it waits, so that two servers are told the same.
type script struct {
	mu     sync.Mutex // guards the rest
	pieces [][]byte
	heard  bytes.Buffer
	late   bool // a read deadline has passed
	closed chan struct{}
	once   sync.Once
}

func newScript(pieces [][]byte) *script {
	return &script{pieces: slices.Clone(pieces), closed: make(chan struct{})}
}

func (c *script) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.late:
		return 0, os.ErrDeadlineExceeded
	case len(c.pieces) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *script) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard.Write(p)
}

func (c *script) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = !t.IsZero() && t.Before(time.Now())
	return nil
}

func (c *script) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *script) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *script) SetWriteDeadline(time.Time) error { return nil }
func (c *script) LocalAddr() net.Addr              { return memAddr }
func (c *script) RemoteAddr() net.Addr             { return memAddr }

// deaf is an engine that stores also for who has left: whether net/http sees that
// in time is chance.
type deaf struct{ *disk.Engine }

func (e deaf) AppendIf(ctx context.Context, namespace string, events []bus.Event, when bus.Condition) error {
	return e.Engine.AppendIf(context.WithoutCancel(ctx), namespace, events, when)
}

func (e deaf) Append(ctx context.Context, namespace string, events []bus.Event) error {
	return e.Engine.Append(context.WithoutCancel(ctx), namespace, events)
}

// twin is one of two servers that are to answer alike.
type twin struct {
	engine   *disk.Engine
	listener *memListener
}

// openTwin serves with plain publishes of its own, or all by net/http.
func openTwin(tb testing.TB, plain bool) *twin {
	tb.Helper()
	unsynced, err := disk.ParseDurability("os")
	if err != nil {
		tb.Fatal(err)
	}
	engine, err := disk.Open(tb.TempDir(), disk.Options{Namespaces: []string{"app", "orders"}, Durability: unsynced})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := server.New(server.Config{Engine: deaf{engine}, MaxEvent: 2 << 10, DedupKeys: 1000, WriteTimeout: patience})
	if err != nil {
		tb.Fatal(err)
	}
	w := &twin{engine: engine, listener: &memListener{conns: make(chan net.Conn), done: make(chan struct{})}}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	other := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, Protocols: &protocols}
	served := make(chan error, 1)
	go func() {
		if plain {
			served <- s.Serve(w.listener)
		} else {
			served <- other.Serve(w.listener)
		}
	}()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(other.Shutdown(ctx), s.Shutdown(ctx)); err != nil {
			tb.Error(err)
		}
		if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// hear says the pieces on a connection of their own, and returns all answers.
func (w *twin) hear(tb testing.TB, pieces [][]byte) string {
	tb.Helper()
	c := newScript(pieces)
	w.listener.conns <- c
	select {
	case <-c.closed:
	case <-time.After(patience):
		tb.Fatalf("%q: got no end of the connection", pieces)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard.String()
}

// chance is what differs from server to server and from time to time: ids, times,
// and which of several unknown parameters is told.
var chance = regexp.MustCompile(`\b[ec]_[A-Za-z0-9_.-]+|\d{4}-\d\d-\d\dT[0-9:.]+Z|"detail":".*; wanted one of`)

// told writes answers down so that those that mean the same are the same.
func told(answers string) string {
	var b strings.Builder
	in := bufio.NewReader(strings.NewReader(answers))
	for {
		if _, err := in.Peek(1); err != nil {
			return b.String()
		}
		r, err := http.ReadResponse(in, &http.Request{Method: "POST"})
		if err != nil {
			fmt.Fprintf(&b, "no answer: %v\n", err)
			return b.String()
		}
		body, err := io.ReadAll(r.Body)
		r.Header.Del("Date")
		r.Header.Del("Content-Length") // a time in it may be shorter
		fmt.Fprintf(&b, "%s %s close=%v length=%v %v\n", r.Proto, r.Status, r.Close, r.ContentLength >= 0, r.TransferEncoding)
		if strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
			fmt.Fprintln(&b, "a stream") // of which chance decides how far it came
			return b.String()
		}
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			fmt.Fprintf(&b, "%s: %q\n", name, chance.ReplaceAllString(strings.Join(r.Header[name], "\n"), "*"))
		}
		fmt.Fprintf(&b, "%s %v\n", chance.ReplaceAllString(string(body), "*"), err)
	}
}

// cut cuts bytes into pieces of the given sizes, round and round.
func cut(b []byte, sizes ...int) (pieces [][]byte) {
	for i := 0; len(b) > 0; i++ {
		n := min(max(sizes[i%len(sizes)], 1), len(b))
		pieces, b = append(pieces, b[:n]), b[n:]
	}
	return pieces
}

// twins are a server with plain publishes of its own and one without.
type twins struct{ plain, other *twin }

func openTwins(tb testing.TB) *twins { return &twins{openTwin(tb, true), openTwin(tb, false)} }

// compare says the same to both.
func (w *twins) compare(tb testing.TB, pieces [][]byte) {
	tb.Helper()
	got, want := told(w.plain.hear(tb, pieces)), told(w.other.hear(tb, pieces))
	if got != want {
		tb.Fatalf("%q:\ngot  %s\nwant %s", pieces, got, want)
	}
	if got, want := stored(w.plain.engine), stored(w.other.engine); got != want {
		tb.Fatalf("%q: got %d events stored, want %d", pieces, got, want)
	}
}
