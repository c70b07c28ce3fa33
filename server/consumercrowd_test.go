package server_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTwoHundredStreamsOfOneNameComeAndGoAndLeaveNothingBehind is on real
// sockets, of both protocols and all formats; what is left over fails TestMain.
func TestTwoHundredStreamsOfOneNameComeAndGoAndLeaveNothingBehind(t *testing.T) {
	const streams, events = 200, 1000
	b := openBus(t)
	b.want(201, "PUT", "/v1/namespaces/orders/consumers/crowd", `{"subjects":["orders.*"],"start":"oldest","redelivery":"500ms","redelivery_count":0,"inflight":100}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	over, stop := context.WithCancel(ctx)
	defer stop()
	for i := range streams {
		all.Go(func() {
			w := &crowdStream{bus: b, rng: rand.New(rand.NewPCG(uint64(i), 3)), http: &http.Client{Transport: crowdTransport(i)}, begun: time.Now()}
			for over.Err() == nil {
				w.once(over, []string{"text/event-stream", "application/x-ndjson", "application/json"}[i%3])
				w.http.CloseIdleConnections()
			}
		})
	}
	for range events / 50 {
		b.publish("[" + strings.TrimSuffix(strings.Repeat(`{"subject":"orders.created"},`, 50), ",") + "]")
	}
	b.awaitConsumer(ctx, "ack_floor", fmt.Sprint(events))
	stop()
	all.Wait()
	b.awaitConsumer(ctx, "connections", "0")
}

// awaitConsumer waits until a field of the consumer is what it has to be.
func (b *testBus) awaitConsumer(ctx context.Context, field, want string) {
	b.t.Helper()
	for {
		a := b.do("GET", "/v1/namespaces/orders/consumers/crowd", "")
		if a.field(field) == want {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("%s is not %s within a minute: %s", field, want, a.body)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// crowdTransport speaks HTTP/2 for one in four.
func crowdTransport(i int) *http.Transport {
	t := &http.Transport{}
	if i%4 == 0 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	return t
}

type crowdStream struct {
	bus   *testBus
	rng   *rand.Rand
	http  *http.Client
	begun time.Time
}

// once is one stream from its request to its being cut. They become more patient: on
// a machine that is busy enough, none would come to anything otherwise.
func (w *crowdStream) once(ctx context.Context, accept string) {
	ctx, cut := context.WithTimeout(ctx, time.Duration(20+w.rng.IntN(400))*time.Millisecond+time.Since(w.begun)/4)
	defer cut()
	query := "/?subject=orders.*&consumer=crowd"
	if accept == "application/json" {
		query += "&limit=5&wait=50ms"
	}
	r, err := http.NewRequestWithContext(ctx, "GET", w.bus.url+query, nil)
	if err != nil {
		w.bus.t.Error(err)
		return
	}
	r.Header.Set("Accept", accept)
	resp, err := w.http.Do(r)
	if err != nil {
		return // cut before it began
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		w.bus.t.Errorf("got %d", resp.StatusCode)
	}
	lines := bufio.NewScanner(resp.Body)
	for left := 1 + w.rng.IntN(20); left > 0 && lines.Scan(); {
		_, after, ok := strings.Cut(lines.Text(), `{"id":"`)
		if !ok {
			continue
		}
		left--
		id, _, _ := strings.Cut(after, `"`)
		if w.rng.IntN(5) > 0 {
			w.ack(id)
		}
	}
}

// ack does not go with its stream.
func (w *crowdStream) ack(id string) {
	r, err := http.NewRequest("PUT", w.bus.url+"/?consumer=crowd&event_id="+id, nil)
	if err != nil {
		w.bus.t.Error(err)
		return
	}
	resp, err := w.http.Do(r)
	if err != nil {
		w.bus.t.Errorf("ack: %v", err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != 202 {
		w.bus.t.Errorf("ack of %s: got %d, want 202", id, resp.StatusCode)
	}
}
