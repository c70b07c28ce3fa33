package client_test

import (
	"errors"
	"testing"

	root "example.com/bus"
	bus "example.com/bus/client"
)

func TestDeadLettersAreListedShownRetriedAndDroppedOnce(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 3)
	c := bus.NewClient(url)
	events, err := c.Pull(ctx, billing()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AckAll(ctx, events, bus.WithVerdict(bus.Term)); err != nil {
		t.Fatal(err)
	}
	var letters []bus.DeadLetter
	for letter, err := range c.DeadLetters(ctx, "orders", "billing") {
		if err != nil {
			t.Fatal(err)
		}
		letters = append(letters, letter)
	}
	if len(letters) != 3 || letters[0].EventID != events[0].Id || !letters[0].Named || letters[0].Reason != "term" || letters[0].Subject != "orders.x" {
		t.Fatalf("got %+v, want the three events", letters)
	}
	if one, err := c.DeadLetter(ctx, "orders", letters[0].ID); err != nil || !*one.Open || len(one.Event) == 0 {
		t.Errorf("got %+v, %v", one, err)
	}
	did, err := c.RetryDeadLetter(ctx, "orders", letters[0].ID, false)
	if err != nil || did.DeliveredTo != "billing" || did.Published != nil {
		t.Errorf("got %+v, %v", did, err)
	}
	again, err := c.Pull(ctx, billing()...)
	if err != nil || len(again) != 1 || again[0].Id != events[0].Id || again[0].Attempt != 1 || again[0].Ack(ctx) != nil {
		t.Errorf("got %+v, %v, want the first event alone, at its first attempt", again, err)
	}
	if err := c.DropDeadLetter(ctx, "orders", letters[1].ID); err != nil {
		t.Error(err)
	}
	if err := c.DeleteConsumer(ctx, "orders", "billing"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RetryDeadLetter(ctx, "orders", letters[2].ID, false); !errors.Is(err, root.ErrUnknownConsumer) {
		t.Errorf("its consumer is gone: got %v", err)
	}
	if did, err := c.RetryDeadLetter(ctx, "orders", letters[2].ID, true); err != nil || did.Published == nil || did.Published.Index != 4 {
		t.Errorf("got %+v, %v, want it published anew", did, err)
	}
	for _, letter := range letters {
		if err := c.DropDeadLetter(ctx, "orders", letter.ID); !errors.Is(err, root.ErrLetterResolved) {
			t.Errorf("a second time: got %v", err)
		}
	}
	for letter, err := range c.DeadLetters(ctx, "orders", "") {
		t.Errorf("got %+v, %v, want none", letter, err)
	}
}

func TestADeadLetterThatIsNotThereIsSaidOnce(t *testing.T) {
	url, ctx := realBus(t)
	c := bus.NewClient(url)
	if _, err := c.DeadLetter(ctx, "orders", "e_none"); !errors.Is(err, root.ErrUnknownEvent) {
		t.Errorf("got %v", err)
	}
	for _, id := range []string{"", ".", "..", "a/b"} {
		if err := c.DropDeadLetter(ctx, "orders", id); !errors.Is(err, root.ErrInvalidID) {
			t.Errorf("%q: got %v, want it refused before anything is sent", id, err)
		}
	}
	n := 0
	for _, err := range c.DeadLetters(ctx, "nope", "") {
		if n++; !errors.Is(err, root.ErrUnknownNamespace) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("got %d errors, want one", n)
	}
}
