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

// A loop over many events: what is done within a millisecond is acknowledged in one request.
// The end of the loop settles the rest, and Flush tells whether all was.
func ExampleEvent_AckAsync() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	for event, err := range client.Get(ctx,
		bus.WithSubject("app.orders.>"),
		bus.WithStartFrom(bus.StartOldest),
		bus.WithAckStrategy(bus.AckManual),
		bus.WithWait(time.Second),
	) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Index, event.Id)
		event.AckAsync()
	}
	if err := client.Flush(ctx); err != nil {
		log.Println("some come again:", err)
	}
}

// Goroutines that acknowledge what they have worked on, together in few requests. Each gets
// the answer to its own event.
func ExampleWithAckGrouping() {
	client := bus.NewClient("http://localhost:2021", bus.WithAckGrouping(time.Millisecond))
	ctx := context.Background()

	work := make(chan *bus.Event)
	for range 16 {
		go func() {
			for event := range work {
				if err := event.Ack(ctx); err != nil {
					log.Println(event.Id, "comes again:", err)
				}
			}
		}()
	}
	for event, err := range client.Get(ctx, bus.WithSubject("app.orders.>"), bus.WithAckStrategy(bus.AckManual)) {
		if err != nil {
			log.Fatal(err)
		}
		work <- event
	}
}

// Events that are written away together, and acknowledged together: all of them or none.
func ExampleClient_AckBatch() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	var ids []string
	for event, err := range client.Get(ctx,
		bus.WithSubject("app.orders.>"), bus.WithAckStrategy(bus.AckManual), bus.WithInflight(100),
	) {
		if err != nil {
			log.Fatal(err)
		}
		if ids = append(ids, event.Id); len(ids) < 100 {
			continue
		}
		if err := client.AckBatch(ctx, event.ConsumerId, ids); err != nil {
			log.Println(err)
		}
		ids = nil
	}
}

// One request settles an event and everything of its namespace before it.
func ExampleWithUpTo() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	n := 0
	for event, err := range client.Get(ctx, bus.WithSubject("app.orders.>"), bus.WithAckStrategy(bus.AckManual)) {
		if err != nil {
			log.Fatal(err)
		}
		if n++; n%32 != 0 { // half of the 64 that may be out at once
			continue
		}
		if err := event.Ack(ctx, bus.WithUpTo()); err != nil {
			log.Println(err)
		}
	}
}

// Workers that share the work of one name, on any number of machines. The server keeps the
// place: what Ack has said is done never comes again, whatever is killed.
func ExampleWithConsumer() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	for event, err := range client.Get(ctx,
		bus.WithSubject("orders.>"),
		bus.WithConsumer("billing"),
		bus.WithStartFrom(bus.StartOldest),
	) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Index, event.Attempt, string(event.Payload))
		if err := event.Ack(ctx); err != nil {
			log.Println(event.Id, "may come again:", err)
		}
	}
}

// A job that runs now and then: it takes what there is, and what it does not acknowledge comes
// again to the next run.
func ExampleClient_Pull() {
	client := bus.NewClient("http://localhost:2021")
	ctx := context.Background()

	events, err := client.Pull(ctx,
		bus.WithSubject("orders.>"),
		bus.WithConsumer("billing"),
		bus.WithLimit(100),
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range events {
		fmt.Println(event.Index, string(event.Payload))
	}
	if err := client.AckAll(ctx, events); err != nil {
		log.Fatal(err)
	}
}

// A consumer that is made before anybody reads with it, so that it misses nothing.
func ExampleClient_CreateConsumer() {
	client := bus.NewClient("http://localhost:2021")

	info, err := client.CreateConsumer(context.Background(), "orders", "billing", bus.ConsumerSettings{
		Subjects:        []string{"orders.>"},
		Redelivery:      time.Minute,
		RedeliveryCount: 10,
		Backoff:         []time.Duration{time.Second, 10 * time.Second, time.Minute},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.AckFloor, info.Behind)
}
