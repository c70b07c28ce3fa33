package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	root "example.com/bus"
	bus "example.com/bus/client"
)

func Example() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	err := client.Put(ctx,
		bus.WithSubject("app.users.created"),
		bus.WithData(map[string]any{"name": "Ada", "age": 36}),
	).Error()
	if err != nil {
		log.Fatal(err)
	}

	for event, err := range client.Get(ctx,
		bus.WithSubject("app.users.*"),
		bus.WithStartFrom(bus.StartOldest),
	) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Subject, string(event.Payload))
		event.Ack(ctx)
		break
	}
}

// A subscriber that gets each event until it acknowledges it, three times at most.
func ExampleWithAckStrategy() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	for event, err := range client.Get(ctx,
		bus.WithSubject("app.orders.>"),
		bus.WithStartFrom(bus.StartNewest),
		bus.WithAckStrategy(bus.AckManual),
		bus.WithDelivery(5*time.Second, 3),
	) {
		if err != nil {
			log.Println(err)
			continue
		}
		if err := event.Ack(ctx); err != nil {
			log.Println(err)
		}
	}
}

// A service that answers requests.
func ExampleEvent_Ack() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	for event, err := range client.Get(ctx, bus.WithSubject("math.add"), bus.WithStartFrom(bus.StartOldest)) {
		if err != nil {
			continue
		}
		var req struct{ A, B int }
		json.Unmarshal(event.Payload, &req)
		event.Ack(ctx, bus.WithData(map[string]int{"result": req.A + req.B}))
	}
}

// The other side of it.
func ExampleWithRequestReply() {
	client := bus.NewClient("http://localhost:2021")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	resp := client.Put(ctx,
		bus.WithSubject("math.add"),
		bus.WithData(map[string]int{"A": 10, "B": 20}),
		bus.WithRequestReply(),
	)
	if err := resp.Error(); err != nil {
		log.Fatal(err)
	}
	var result struct{ Result int }
	json.Unmarshal(resp.Payload, &result)
	fmt.Println(result.Result)
}

// A publisher that goes on when somebody has acknowledged.
func ExampleWithConfirm() {
	client := bus.NewClient("http://localhost:2021")

	err := client.Put(context.Background(),
		bus.WithSubject("critical.events"),
		bus.WithData("important data"),
		bus.WithConfirm(1),
	).Error()
	if errors.Is(err, root.ErrConfirmTimeout) {
		fmt.Println("stored, and nobody has acknowledged yet")
	}
}

// Both events are stored, next to each other, or none is.
func ExampleBatch() {
	client := bus.NewClient("http://localhost:2021")

	resp := client.Put(context.Background(),
		bus.Batch(bus.WithSubject("app.orders.created"), bus.WithData(map[string]int{"order": 1})),
		bus.Batch(bus.WithSubject("app.orders.paid"), bus.WithData(map[string]int{"order": 1})),
	)
	for _, receipt := range resp.Receipts {
		fmt.Println(receipt.Id, receipt.Index)
	}
}

// A publisher that may be restarted at any time: the key makes a repeat harmless.
func ExampleWithKey() {
	client := bus.NewClient("http://localhost:2021")

	resp := client.Put(context.Background(),
		bus.WithSubject("app.orders.created"),
		bus.WithData(map[string]int{"order": 1}),
		bus.WithKey("order-1-created"),
		bus.WithTimeout(time.Minute),
	)
	fmt.Println(resp.Id, resp.Duplicate, resp.Error())
}

// All there is by now, and what could not be had.
func ExampleWithUntilNewest() {
	client := bus.NewClient("http://localhost:2021")

	for event, err := range client.Get(context.Background(),
		bus.WithSubject("app.>"), bus.WithStartFrom(bus.StartOldest), bus.WithUntilNewest(),
	) {
		if gap, ok := errors.AsType[*bus.GapError](err); ok {
			fmt.Println("lost:", gap.Lost)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Index, event.Id)
	}
}
