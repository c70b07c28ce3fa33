package server_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bus/server"
)

// stallConn is a connection whose reader can stop reading: then the peer's
// window closes, and nothing that it writes arrives.
type stallConn struct {
	net.Conn
	stalled atomic.Bool
	closed  chan struct{}
}

func (c *stallConn) Read(p []byte) (int, error) {
	if c.stalled.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
}

// overHTTP2 is a client with one connection, which it returns when it is made.
func overHTTP2(t *testing.T) (*http.Client, func() *stallConn) {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	made := make(chan *stallConn, 10)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		s := &stallConn{Conn: c, closed: make(chan struct{})}
		t.Cleanup(func() { close(s.closed); c.Close() })
		made <- s
		return s, nil
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, func() *stallConn { return <-made }
}

// beginOver opens a stream over a client and reads its hello.
func (b *testBus) beginOver(c *http.Client, query string) io.ReadCloser {
	b.t.Helper()
	resp, err := c.Get(b.url + "/?" + query)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			b.t.Fatal(err)
		}
		if strings.HasPrefix(line, "event: hello") {
			return resp.Body
		}
	}
}

var megabyte = strings.Repeat("x", 1_000_000)

func TestAReaderOverHTTP2ThatDoesNotReadIsLetGoAndCounted(t *testing.T) {
	t.Parallel() // it waits for deadlines
	b := openBus(t, func(c *server.Config) { c.WriteTimeout = 200 * time.Millisecond })
	client, _ := overHTTP2(t)
	b.beginOver(client, "subject=orders.*") // its body is not read any more
	for range 8 {
		b.publish(`{"subject":"orders.1","payload":"` + megabyte + `"}`)
	}
	eventually(t, "the stream is not let go", func() bool { return b.metric(`bus_streams{namespace="orders"}`) == 0 })
	if got := b.metric("bus_slow_evictions_total"); got != 1 {
		t.Errorf("got %d slow evictions, want 1", got)
	}
}

func TestAnHTTP2PeerWhoseWindowStaysClosedIsLetGo(t *testing.T) {
	t.Parallel() // it waits for deadlines
	b := openBus(t, func(c *server.Config) { c.WriteTimeout = 200 * time.Millisecond })
	client, conn := overHTTP2(t)
	const streams = 4
	for range streams {
		b.beginOver(client, "subject=orders.*")
	}
	conn().stalled.Store(true)
	for range 8 {
		b.publish(`{"subject":"orders.1","payload":"` + megabyte + `"}`)
	}
	eventually(t, "the streams of a peer that takes nothing are still held", func() bool {
		return b.metric(`bus_streams{namespace="orders"}`) == 0 && b.metric(limited("bus_limit_used", "connections")) <= 2
	})
	if got := b.metric("bus_slow_evictions_total"); got < 1 || got > streams {
		t.Errorf("got %d slow evictions of %d streams, want them counted", got, streams)
	}
}
