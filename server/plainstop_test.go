package server_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"example.com/bus/server"
)

// hold is an append that stands still until it is let go.
type hold struct{ begun, goOn chan struct{} }

func newHold() *hold { return &hold{make(chan struct{}, 16), make(chan struct{})} }

func (h *hold) append(_ context.Context, store func() error) error {
	h.begun <- struct{}{}
	<-h.goOn
	return store()
}

func TestAStopClosesIdlePublishersAtOnceAndAnswersThoseUnderWay(t *testing.T) {
	h := newHold()
	b, _ := openSlow(t, h.append)
	fresh, busy, half := b.plainPeer(), b.plainPeer(), b.plainPeer()
	busy.say(plainEvent + plainEvent) // the second is not begun any more
	half.say(plainEvent[:20])
	<-h.begun
	b.plainConns(2)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.stop()
	}()
	fresh.ended()
	select {
	case <-stopped:
		t.Error("the server has stopped while a publish is under way, want it to wait")
	default:
	}
	close(h.goOn)
	if r := busy.hear(http.StatusAccepted); !r.Close {
		t.Error("got an answer that keeps the connection, want Connection: close")
	}
	busy.ended()
	<-stopped
	half.ended()
}

func TestAStopWaitsForNoPublisherWhoseNextRequestHasNotCome(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.HeadTimeout = time.Hour })
	all := []*plainPeer{b.plainPeer()} // which has said nothing at all
	for _, said := range []string{"", "\r", "\r\n\r\n", "\r\nPO", "POS", "POST / HT", plainEvent[:40]} {
		p := b.plainPeer()
		p.say(plainEvent)
		p.hear(http.StatusAccepted)
		p.say(said)
		all = append(all, p)
	}
	b.plainConns(len(all))
	b.stop()
	for _, p := range all {
		p.ended()
	}
}

// failingClose is a listener whose Close fails, as of one that was closed before.
type failingClose struct{ net.Listener }

func (l failingClose) Close() error {
	return errors.Join(l.Listener.Close(), errors.New("closed already"))
}

// waitedFor is a context that says when somebody waits for its end.
type waitedFor struct {
	context.Context
	once   *sync.Once
	waited chan struct{}
}

func (w waitedFor) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waited) })
	return w.Context.Done()
}

func TestAStopWhoseListenerFailsToCloseAnswersThoseUnderWay(t *testing.T) {
	h := newHold()
	b, _ := openSlow(t, h.append)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(failingClose{l}) }()
	b.url = "http://" + l.Addr().String()
	p := b.plainPeer()
	p.say(plainEvent)
	<-h.begun
	ctx := waitedFor{t.Context(), new(sync.Once), make(chan struct{})}
	stopped := make(chan error, 1)
	go func() { stopped <- b.server.Shutdown(ctx) }()
	select {
	case <-ctx.waited:
	case err := <-stopped:
		t.Errorf("the server has stopped with %v while a publish is under way, want it to wait", err)
	}
	close(h.goOn)
	p.hear(http.StatusAccepted)
	if err := <-stopped; err == nil {
		t.Error("got nil, want the listener's error")
	}
	<-served
}

// Of a server with two listeners one ends: what came through it is served on.
func TestAConnectionOutlivesItsListener(t *testing.T) {
	b := openBus(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(l) }()
	p := (&testBus{t: t, url: "http://" + l.Addr().String()}).plainPeer()
	p.say(plainEvent)
	p.hear(http.StatusAccepted)
	l.Close()
	<-served
	p.say(plainEvent)
	p.hear(http.StatusAccepted)
	for range 2 { // by net/http
		p.say(post("/", `{"subject":"orders.x"}`, "X-Any: 1"))
		p.hear(http.StatusAccepted)
	}
	b.stop()
	p.ended()
}

func TestWithoutAHeadTimeoutAConnectionIsServed(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.HeadTimeout = -1 })
	p := b.plainPeer()
	for range 2 {
		b.plainConns(1)
		p.say(plainEvent)
		p.hear(http.StatusAccepted)
	}
}

func TestAStopWhoseTimeIsOverCutsPublishersOff(t *testing.T) {
	h := newHold()
	b, _ := openSlow(t, h.append)
	busy := b.plainPeer()
	busy.say(plainEvent)
	<-h.begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.server.Shutdown(ctx); err == nil {
		t.Error("got nil, want what the time did not suffice for")
	}
	busy.ended()
	close(h.goOn)
}
