package server_test

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// memConn is the server's end of a connection in memory, so that what is
// measured is the server and not the kernel. Nothing it does allocates.
type memConn struct {
	took func(p []byte) // what the server writes; it may not keep p

	mu     sync.Mutex // guards the rest
	moved  *sync.Cond
	in     []byte
	late   bool // a read deadline has passed
	closed bool
}

func newMemConn(took func(p []byte)) *memConn {
	c := &memConn{took: took, in: make([]byte, 0, 64<<10)}
	c.moved = sync.NewCond(&c.mu)
	return c
}

// send is what the peer does.
func (c *memConn) send(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = append(c.in, p...)
	c.moved.Broadcast()
}

func (c *memConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 {
		switch {
		case c.closed:
			return 0, io.EOF
		case c.late:
			return 0, os.ErrDeadlineExceeded
		}
		c.moved.Wait()
	}
	n := copy(p, c.in)
	c.in = c.in[:copy(c.in, c.in[n:])]
	return n, nil
}

func (c *memConn) Write(p []byte) (int, error) {
	c.took(p)
	return len(p), nil
}

// SetReadDeadline knows only what net/http does to stop a read: a time that has
// passed. Others are not waited for.
func (c *memConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = !t.IsZero() && t.Before(time.Now())
	c.moved.Broadcast()
	return nil
}

func (c *memConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.moved.Broadcast()
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memConn) LocalAddr() net.Addr              { return memAddr }
func (c *memConn) RemoteAddr() net.Addr             { return memAddr }

var memAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}

// memListener hands out what is dialed.
type memListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr }

// memBus is a server on connections in memory, over a real engine that syncs
// nothing.
type memBus struct {
	server   *server.Server
	engine   *disk.Engine
	listener *memListener
}

func openMemBus(tb testing.TB) *memBus {
	tb.Helper()
	durability, err := disk.ParseDurability("os")
	if err != nil {
		tb.Fatal(err)
	}
	engine, err := disk.Open(tb.TempDir(), disk.Options{Namespaces: []string{"orders"}, Durability: durability})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := server.New(server.Config{Engine: engine, Heartbeat: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	b := &memBus{server: s, engine: engine, listener: &memListener{conns: make(chan net.Conn), done: make(chan struct{})}}
	served := make(chan error, 1)
	go func() { served <- s.Serve(b.listener) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			tb.Errorf("Serve: %v", err)
		}
		if err := engine.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return b
}

func (b *memBus) dial(took func(p []byte)) *memConn {
	c := newMemConn(took)
	b.listener.conns <- c
	return c
}
