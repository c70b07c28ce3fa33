package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bus/server"
)

// dribble opens a connection over which a request comes byte by byte. It never
// stands still for as long as the deadline is, and never ends either.
func (b *testBus) dribble(head string, gone *sync.WaitGroup, answered *atomic.Int64) {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, head)
	ended := make(chan struct{})
	gone.Go(func() { // until the server has had enough of it
		defer close(ended)
		answer, err := io.ReadAll(c)
		if strings.Contains(string(answer), " 408 ") {
			answered.Add(1)
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			b.t.Error("the server still holds a connection that says a byte at a time, want it ended")
		}
	})
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				c.Write([]byte("x"))
			}
		}
	}()
}

// 500 connections say a byte at a time, in the header or in the body. A byte
// does not start the time anew, so all of them are ended, and whoever behaves
// does not notice.
func TestSlowlorisIsEndedAtTheDeadlineAndHoldsNobodyUp(t *testing.T) {
	t.Parallel() // it waits for deadlines
	b := openBus(t, func(c *server.Config) { c.HeadTimeout, c.BodyTimeout = 2*time.Second, 2*time.Second })
	good := b.open("subject=orders.*")
	var gone sync.WaitGroup
	var inHead, inBody atomic.Int64
	for i := range 500 {
		switch i % 3 {
		case 0:
			b.dribble("POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", &gone, &inHead)
		case 1:
			b.dribble("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{\"", &gone, &inBody)
		case 2:
			b.dribble("PUT /?consumer_id=c_x&event_id=e_y HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n\"", &gone, &inBody)
		}
	}
	for i := range 20 {
		b.publish(fmt.Sprintf(`{"subject":"orders.%d"}`, i))
		if got, want := good.next("msg").field("index"), fmt.Sprint(i+1); got != want {
			t.Errorf("got index %s, want %s", got, want)
		}
	}
	gone.Wait()
	if got := inBody.Load(); got == 0 {
		t.Error("nobody was told 408, want those with a slow body")
	}
	if got := b.metric("bus_slow_evictions_total"); got != 0 {
		t.Errorf("got %d readers let go, want none", got)
	}
	eventually(t, "connections that were ended are still counted", func() bool {
		http.DefaultClient.CloseIdleConnections()
		return b.metric(limited("bus_limit_used", "connections")) <= 3
	})
	if got := b.publish(`{"subject":"orders.x"}`).field("index"); got != "21" {
		t.Errorf("next index is %s, want 21: nothing of the slow ones is stored", got)
	}
}
