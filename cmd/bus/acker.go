package main

import (
	"context"
	"sync"
	"time"

	"example.com/bus/client"
)

// What the server does unless told.
const (
	defaultRedelivery = 5 * time.Second
	defaultInflight   = 64
)

// acker acknowledges what get has printed, beside the loop that prints. A
// request for each event would make reading as slow as the network is far, so
// one request covers all that was printed since the last: events come in index
// order, so that the newest one of a namespace stands for those before it.
type acker struct {
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	newest  map[string]*client.Event // by namespace; the highest index printed
	singles []*client.Event          // inbox events
	over    bool
}

// newAcker starts the goroutine that acknowledges. It ends with stop or ctx.
func newAcker(ctx context.Context) *acker {
	a := &acker{wake: make(chan struct{}, 1), done: make(chan struct{}), newest: make(map[string]*client.Event)}
	go a.run(ctx)
	return a
}

// printed takes an event that has left this process.
func (a *acker) printed(e *client.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	namespace := eventNamespace(e)
	if namespace == "" {
		a.singles = append(a.singles, e)
	} else if last := a.newest[namespace]; last == nil || last.Index < e.Index || last.ConsumerId != e.ConsumerId {
		a.newest[namespace] = e
	}
	a.notify()
}

// stop waits until everything printed is acknowledged, or the stream is gone. A
// second call does nothing.
func (a *acker) stop() {
	a.mu.Lock()
	a.over = true
	a.notify()
	a.mu.Unlock()
	<-a.done
}

// notify wakes the goroutine and never blocks: one wake-up covers all that was
// printed before it.
func (a *acker) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run sends whenever something was printed, so that a slow network makes the
// requests fewer and not the reading slower.
func (a *acker) run(ctx context.Context) {
	defer close(a.done)
	for {
		select {
		case <-a.wake:
		case <-ctx.Done():
			return
		}
		if a.send(ctx) {
			return
		}
	}
}

// send acknowledges what has been printed, and reports whether that was all.
// An acknowledgement that fails is no error of get's: the server delivers
// again, and the reader sees the event twice, marked as such.
func (a *acker) send(ctx context.Context) (over bool) {
	a.mu.Lock()
	newest, singles := a.newest, a.singles
	a.newest, a.singles, over = make(map[string]*client.Event), nil, a.over
	a.mu.Unlock()
	for _, e := range newest {
		_ = e.Ack(ctx, client.WithUpTo(), client.WithTimeout(putTimeout))
	}
	for _, e := range singles {
		_ = e.Ack(ctx, client.WithTimeout(putTimeout))
	}
	return over
}
