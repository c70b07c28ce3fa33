package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	root "example.com/bus"
	bus "example.com/bus/client"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// realBus is a server over a real log, as a program meets it.
func realBus(t testing.TB) (url string, ctx context.Context) {
	t.Helper()
	engine, err := disk.Open(t.TempDir(), disk.Options{Namespaces: []string{"app", "notifications", "orders", "math", "critical"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(func() {
		cancel()
		stop, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		if err := errors.Join(s.Shutdown(stop), <-served, engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String(), ctx
}

// The programs below are those that clients of the predecessor have: they must
// compile and run with nothing but another import path.

func TestThePredecessorsQuickStartRuns(t *testing.T) {
	url, ctx := realBus(t)
	client := bus.NewClient(url)

	resp := client.Put(ctx,
		bus.WithSubject("app.users.created"),
		bus.WithData(map[string]string{"user_id": "123", "name": "Alice"}),
	)
	if resp.Error() != nil {
		t.Fatal(resp.Error())
	}
	for event, err := range client.Get(ctx,
		bus.WithSubject("app.users.*"),
		bus.WithStartFrom(bus.StartOldest),
	) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Id != resp.Id || string(event.Payload) != `{"name":"Alice","user_id":"123"}` {
			t.Errorf("got %s %s, want %s", event.Id, event.Payload, resp.Id)
		}
		if err := event.Ack(ctx); err != nil {
			t.Error(err)
		}
		break
	}
}

func TestThePredecessorsSubscriberIsRedeliveredToAndAcknowledges(t *testing.T) {
	url, ctx := realBus(t)
	client := bus.NewClient(url)
	if err := client.Put(ctx, bus.WithSubject("notifications.email"), bus.WithData(map[string]string{"to": "user@example.com"})).Error(); err != nil {
		t.Fatal(err)
	}
	attempts := 0
	for event, err := range client.Get(ctx,
		bus.WithSubject("notifications.*"),
		bus.WithStartFrom(bus.StartOldest),
		bus.WithAckStrategy(bus.AckManual),
		bus.WithDelivery(50*time.Millisecond, 3),
	) {
		if err != nil {
			t.Fatal(err)
		}
		if attempts++; event.Attempt != attempts {
			t.Errorf("got attempt %d, want %d", event.Attempt, attempts)
		}
		if attempts == 2 {
			if err := event.Ack(ctx); err != nil {
				t.Error(err)
			}
			break
		}
	}
}

func TestThePredecessorsBatchIsPublished(t *testing.T) {
	url, ctx := realBus(t)
	client := bus.NewClient(url)
	resp := client.Put(ctx,
		bus.Batch(bus.WithSubject("orders.created"), bus.WithData(map[string]string{"id": "1"})),
		bus.Batch(bus.WithSubject("orders.created"), bus.WithData(map[string]string{"id": "2"})),
	)
	if resp.Error() != nil || len(resp.Receipts) != 2 || resp.Receipts[1].Index != 2 {
		t.Fatalf("got %+v, %v, want two receipts", resp.Receipts, resp.Error())
	}
	var ids []string
	for event, err := range client.Get(ctx, bus.WithSubject("orders.>"), bus.WithStartFrom(bus.StartOldest), bus.WithUntilNewest()) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, event.Id)
	}
	if len(ids) != 2 || ids[1] != resp.Receipts[1].Id {
		t.Errorf("got %v, want the two of the batch", ids)
	}
}

func TestThePredecessorsRequestIsReplied(t *testing.T) {
	url, ctx := realBus(t)
	client := bus.NewClient(url)
	go func() {
		for event, err := range client.Get(ctx,
			bus.WithSubject("math.add"),
			bus.WithStartFrom(bus.StartOldest),
		) {
			if err != nil {
				continue
			}
			var req struct{ A, B int }
			json.Unmarshal(event.Payload, &req)
			event.Ack(ctx, bus.WithData(map[string]int{
				"result": req.A + req.B,
			}))
		}
	}()
	resp := client.Put(ctx,
		bus.WithSubject("math.add"),
		bus.WithData(map[string]int{"A": 10, "B": 20}),
		bus.WithRequestReply(),
	)
	if err := resp.Error(); err != nil {
		t.Fatal(err)
	}
	var result struct{ Result int }
	if err := json.Unmarshal(resp.Payload, &result); err != nil || result.Result != 30 {
		t.Errorf("got %s, %v, want 30", resp.Payload, err)
	}
}

func TestThePredecessorsPublisherIsConfirmed(t *testing.T) {
	url, ctx := realBus(t)
	client := bus.NewClient(url)
	go func() {
		for event, _ := range client.Get(ctx,
			bus.WithSubject("critical.events"),
			bus.WithStartFrom(bus.StartOldest),
		) {
			event.Ack(ctx)
		}
	}()
	err := client.Put(ctx,
		bus.WithSubject("critical.events"),
		bus.WithData("important data"),
		bus.WithConfirm(1),
	).Error()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheLargestEventAServerCanTakeIsReadUnlessToldOtherwise(t *testing.T) {
	text := strings.Repeat(`"`, root.MaxTextLen)
	e := root.Event{Id: strings.Repeat("i", root.MaxIDLen), Subject: strings.Repeat("s", root.MaxSubjectLen), Index: 1 << 63, CreatedAt: time.Now(),
		TraceId: text, Key: text, ResponseSubject: strings.Repeat("s", root.MaxSubjectLen), ContentType: text, Payload: make([]byte, disk.MaxEventLimit)}
	if got, limit := len(e.AppendDelivery(nil, 1<<20)), bus.DefaultMaxEvent; got > limit {
		t.Errorf("the largest event has %d bytes, a client reads %d", got, limit)
	}
}

func TestRefusalsAreTypedFromEndToEnd(t *testing.T) {
	url, ctx := realBus(t)
	client := bus.NewClient(url)
	for want, err := range map[*root.Error]error{
		root.ErrUnknownNamespace: client.Put(ctx, bus.WithSubject("nope.x"), bus.WithData(1)).Error(),
		root.ErrConfirmTimeout:   client.Put(ctx, bus.WithSubject("orders.x"), bus.WithData(1), bus.WithConfirm(1), bus.WithTimeout(time.Millisecond)).Error(),
		root.ErrUnknownConsumer:  client.Ack(ctx, "c_nobody", "e_nothing"),
	} {
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %s", err, want.Code)
		}
	}
	for _, err := range client.Get(ctx, bus.WithSubject("nope.*")) {
		if !errors.Is(err, root.ErrUnknownNamespace) {
			t.Errorf("got %v, want %s", err, root.ErrUnknownNamespace.Code)
		}
	}
}
