package server_test

import (
	"context"
	"net/http"
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
	for _, said := range []string{"", "\r", "\r\n\r\n", "\r\nPO", "POS"} {
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
