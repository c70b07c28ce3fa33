package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	root "example.com/bus"
	bus "example.com/bus/client"
)

// flaky is a way to a server whose connections a test can break, all at once.
type flaky struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (f *flaky) client(url string, opts ...bus.ClientOption) *bus.Client {
	return bus.NewClient(url, append(opts, bus.WithHTTPClient(&http.Client{Transport: &http.Transport{DialContext: f.dial}}))...)
}

func (f *flaky) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, conn)
	return conn, nil
}

func (f *flaky) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		conn.Close()
	}
	f.conns = nil
}

// billing is how the tests read as one consumer, which nothing is repeated to within a test.
func billing(more ...bus.GetOption) []bus.GetOption {
	return append(more, bus.WithSubject("orders.>"), bus.WithConsumer("billing"), bus.WithStartFrom(bus.StartOldest), bus.WithDelivery(time.Hour, 3))
}

// tally counts deliveries and durable acknowledgements by index.
type tally struct {
	mu     sync.Mutex
	acked  map[uint64]int
	behind []uint64 // delivered although an acknowledgement was answered
}

func (y *tally) work(ctx context.Context, e *bus.Event) {
	y.mu.Lock()
	if y.acked[e.Index] > 0 {
		y.behind = append(y.behind, e.Index)
	}
	y.mu.Unlock()
	if e.Ack(ctx) == nil {
		y.mu.Lock()
		y.acked[e.Index]++
		y.mu.Unlock()
	}
}

func (y *tally) done() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.acked)
}

func TestTwoClientsOfOneNameShareTheWork(t *testing.T) {
	url, ctx := realBus(t)
	const events = 400
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	y := &tally{acked: make(map[uint64]int)}
	var workers sync.WaitGroup
	var counts [2]int
	for i := range counts {
		workers.Go(func() {
			c := bus.NewClient(url, bus.WithAckGrouping(0))
			for event, err := range c.Get(ctx, billing(bus.WithInflight(8))...) {
				if err != nil {
					t.Error(err)
					return
				}
				counts[i]++
				if y.work(ctx, event); y.done() == events {
					stop()
				}
			}
		})
	}
	connected(t, ctx, bus.NewClient(url), len(counts)) // a first one alone would have the whole window
	publish(t, ctx, url, events)
	workers.Wait()
	if counts[0]+counts[1] != events || counts[0] == 0 || counts[1] == 0 || len(y.behind) > 0 {
		t.Errorf("got %d and %d deliveries, %v after their acknowledgement, want %d in all, some each", counts[0], counts[1], y.behind, events)
	}
}

// connected waits until the consumer has so many connections.
func connected(t *testing.T, ctx context.Context, c *bus.Client, wanted int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		info, err := c.Consumer(ctx, "orders", "billing")
		if err == nil && info.Connections == wanted {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("got %d connections, %v, want %d", info.Connections, err, wanted)
		}
		<-tick.C
	}
}

func TestWhenConnectionsBreakInMidWorkNothingIsLostAndNothingComesAfterADurableAck(t *testing.T) {
	for name, opts := range map[string][]bus.ClientOption{"one by one": nil, "grouped": {bus.WithAckGrouping(0)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, ctx := realBus(t)
			const events = 300
			publish(t, ctx, url, events)
			ctx, stop := context.WithCancel(ctx)
			defer stop()
			y := &tally{acked: make(map[uint64]int)}
			way, n := &flaky{}, 0
			for event, err := range way.client(url, opts...).Get(ctx, billing(bus.WithInflight(16))...) {
				if err != nil {
					t.Error(err)
					return
				}
				if n++; n%100 == 0 {
					way.cut()
				}
				if y.work(ctx, event); y.done() == events {
					stop()
				}
			}
			if y.done() != events || len(y.behind) > 0 {
				t.Errorf("got %d events done and %v after their acknowledgement, want %d and none", y.done(), y.behind, events)
			}
		})
	}
}

func TestAnEventIsAcknowledgedByTheNameAfterAReconnect(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 2)
	way := &flaky{}
	c := way.client(url)
	var first *bus.Event
	for event, err := range c.Get(ctx, billing(bus.WithInflight(1))...) {
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = event
			way.cut()
			continue // it comes again, on another connection
		}
		if event.Index != first.Index || event.Attempt != 2 || event.ConsumerId == first.ConsumerId {
			t.Fatalf("got event %d, attempt %d, of %s; want the first one again, on another connection", event.Index, event.Attempt, event.ConsumerId)
		}
		if err := first.Ack(ctx); err != nil {
			t.Fatalf("an event of the connection before: %v", err)
		}
		break
	}
	info, err := c.Consumer(ctx, "orders", "billing")
	if err != nil || info.AckFloor != 1 {
		t.Errorf("got a floor of %d, %v, want 1", info.AckFloor, err)
	}
	if err := first.Ack(ctx); err != nil {
		t.Errorf("a second time, with no stream open: %v", err)
	}
}

func TestAPullLeasesWhatItReturnsUntilItIsAcknowledged(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 5)
	c, pull := bus.NewClient(url), billing(bus.WithLimit(3))
	one, err := c.Pull(ctx, pull...)
	if err != nil || len(one) != 3 {
		t.Fatalf("got %d events, %v, want 3", len(one), err)
	}
	two, err := c.Pull(ctx, pull...)
	if err != nil || len(two) != 2 || two[0].Index != 4 {
		t.Fatalf("got %d events, %v, want the other 2", len(two), err)
	}
	if none, err := c.Pull(ctx, pull...); err != nil || none == nil || len(none) != 0 {
		t.Fatalf("got %d events, %v, want none", len(none), err)
	}
	if err := two[0].Ack(ctx, bus.WithVerdict(bus.Nak), bus.WithDelay(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	again, err := c.Pull(ctx, billing(bus.WithLimit(1), bus.WithWait(time.Minute))...)
	if err != nil || len(again) != 1 || again[0].Index != 4 || again[0].Attempt != 2 {
		t.Fatalf("got %v, %v, want the refused one again", again, err)
	}
	if err := c.AckAll(ctx, slices.Concat(one, two)); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Consumer(ctx, "orders", "billing"); err != nil || info.AckFloor != 5 || info.Unacked != 0 {
		t.Errorf("got %+v, %v, want all settled", info, err)
	}
	if err := c.AckAll(ctx, slices.Concat(one, again)); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestAckTakesANameFromAnywhere(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 3)
	c := bus.NewClient(url)
	events, err := c.Pull(ctx, billing()...)
	if err != nil {
		t.Fatal(err)
	}
	other := bus.NewClient(url, bus.WithAckGrouping(0))
	name, namespace := bus.WithConsumer("billing"), bus.WithNamespace("orders")
	for i, err := range []error{
		other.Ack(ctx, "", events[0].Id, name),
		other.AckBatch(ctx, "", []string{events[1].Id}, name, namespace),
		other.AckAsync("", events[2].Id, name, namespace).Get(ctx),
	} {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	for want, err := range map[*root.Error]error{
		root.ErrUnknownConsumer:  other.Ack(ctx, "", events[0].Id, bus.WithConsumer("nobody")),
		root.ErrInvalidParameter: other.Ack(ctx, "c_1", events[0].Id, name),
	} {
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %s", err, want.Code)
		}
	}
	if err := other.Ack(ctx, "", events[0].Id, namespace); !errors.Is(err, root.ErrInvalidParameter) {
		t.Errorf("a namespace without a name: got %v", err)
	}
	if info, err := c.Consumer(ctx, "orders", "billing"); err != nil || info.AckFloor != 3 {
		t.Errorf("got %+v, %v, want all settled", info, err)
	}
}

func TestOtherSettingsEndTheLoopWithOneError(t *testing.T) {
	url, ctx := realBus(t)
	c := bus.NewClient(url)
	if _, err := c.Pull(ctx, billing()...); err != nil {
		t.Fatal(err)
	}
	var got []string
	for event, err := range c.Get(ctx, bus.WithSubject("orders.>"), bus.WithConsumer("billing"), bus.WithInflight(7)) {
		got = append(got, fmt.Sprint(event, errors.Is(err, root.ErrConsumerDiffers)))
	}
	if want := []string{"<nil> true"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestADeletedConsumerEndsItsLoopsAndIsNotMadeAgain(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 1)
	c := bus.NewClient(url)
	var last error
	for event, err := range c.Get(ctx, billing()...) {
		if last = err; err != nil {
			continue
		}
		if err := event.Ack(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.DeleteConsumer(ctx, "orders", "billing"); err != nil {
			t.Fatal(err)
		}
	}
	if !errors.Is(last, root.ErrUnknownConsumer) || ctx.Err() != nil {
		t.Errorf("the loop ended with %v, want unknown_consumer", last)
	}
	if _, err := c.Consumer(ctx, "orders", "billing"); !errors.Is(err, root.ErrUnknownConsumer) {
		t.Errorf("got %v, want that it is not there", err)
	}
}

func TestAReconnectTakesTheSettingsThatWereChangedMeanwhile(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 2)
	way := &flaky{}
	c, n := way.client(url), 0
	for event, err := range c.Get(ctx, billing(bus.WithInflight(1))...) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			break
		}
		if _, err := c.ChangeConsumer(ctx, "orders", "billing", bus.ConsumerSettings{Inflight: 9, Redelivery: time.Minute}); err != nil {
			t.Fatal(err)
		}
		way.cut()
		if err := event.Ack(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n != 2 || ctx.Err() != nil {
		t.Errorf("got %d events, %v, want 2 over two connections", n, ctx.Err())
	}
}
