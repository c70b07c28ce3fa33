package client_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	root "example.com/bus"
	bus "example.com/bus/client"
)

func TestConsumersAreMadeListedChangedMovedAndDeleted(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 3)
	c := bus.NewClient(url)
	asked := bus.ConsumerSettings{
		Subjects: []string{"orders.x"}, Start: bus.StartOldest, Redelivery: time.Minute, RedeliveryCount: bus.Endless,
		Backoff: []time.Duration{time.Second, time.Minute}, Inflight: 5, IdleExpiry: 48 * time.Hour,
	}
	made, err := c.CreateConsumer(ctx, "orders", "mail", asked)
	if err != nil {
		t.Fatal(err)
	}
	want := asked
	want.Paused = new(false)
	if !reflect.DeepEqual(made.ConsumerSettings, want) || made.Name != "mail" || made.Namespace != "orders" || made.Behind != 3 || made.CreatedAt.IsZero() {
		t.Errorf("got %+v, want %+v", made, want)
	}
	if again, err := c.CreateConsumer(ctx, "orders", "mail", asked); err != nil || !again.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("a second time: got %+v, %v", again, err)
	}
	other := asked
	other.Inflight = 6
	if _, err := c.CreateConsumer(ctx, "orders", "mail", other); !errors.Is(err, root.ErrConsumerDiffers) {
		t.Errorf("with other settings: got %v", err)
	}
	changed, err := c.ChangeConsumer(ctx, "orders", "mail", bus.ConsumerSettings{RedeliveryCount: 7, Paused: new(true)})
	if err != nil || changed.RedeliveryCount != 7 || !*changed.Paused || changed.Inflight != 5 {
		t.Errorf("got %+v, %v", changed, err)
	}
	moved, err := c.ResetConsumer(ctx, "orders", "mail", "#3")
	if err != nil || moved.AckFloor != 2 {
		t.Errorf("got %+v, %v, want the place in front of event 3", moved, err)
	}
	all, err := c.Consumers(ctx, "orders")
	if err != nil || len(all) != 1 || all[0].Name != "mail" || !*all[0].Paused {
		t.Errorf("got %+v, %v", all, err)
	}
	if err := c.DeleteConsumer(ctx, "orders", "mail"); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteConsumer(ctx, "orders", "mail"); !errors.Is(err, root.ErrUnknownConsumer) {
		t.Errorf("a second time: got %v", err)
	}
}

func TestWhatAConsumerHasOfIdleExpiryAndBackoffIsTakenAwayAgain(t *testing.T) {
	url, ctx := realBus(t)
	c := bus.NewClient(url)
	has := bus.ConsumerSettings{Subjects: []string{"orders.x"}, Backoff: []time.Duration{time.Second}, IdleExpiry: time.Hour}
	if _, err := c.CreateConsumer(ctx, "orders", "mail", has); err != nil {
		t.Fatal(err)
	}
	kept, err := c.ChangeConsumer(ctx, "orders", "mail", bus.ConsumerSettings{Inflight: 2})
	if err != nil || kept.IdleExpiry != time.Hour || len(kept.Backoff) != 1 {
		t.Errorf("got %+v, %v, want what is not asked for to stay", kept, err)
	}
	without, err := c.ChangeConsumer(ctx, "orders", "mail", bus.ConsumerSettings{Backoff: []time.Duration{}, IdleExpiry: bus.Never})
	if err != nil || without.IdleExpiry != 0 || len(without.Backoff) != 0 || without.Inflight != 2 {
		t.Errorf("got %+v, %v, want neither of them", without, err)
	}
	if _, err := c.CreateConsumer(ctx, "orders", "mail", bus.ConsumerSettings{Subjects: has.Subjects, IdleExpiry: bus.Never}); err != nil {
		t.Errorf("got %v, want it to be there as it is asked for", err)
	}
}

func TestNoNameOfAConsumerLeadsToAnotherPath(t *testing.T) {
	url, ctx := realBus(t)
	c := bus.NewClient(url)
	for _, name := range []string{"", ".", "..", "a/b", "a%2fb", "../..", "_own", "a?b", "a b"} {
		if _, err := c.Consumer(ctx, "orders", name); !errors.Is(err, root.ErrInvalidParameter) {
			t.Errorf("%q: got %v, want it refused before anything is sent", name, err)
		}
		if err := c.DeleteConsumer(ctx, name, "mail"); !errors.Is(err, root.ErrInvalidSubject) {
			t.Errorf("namespace %q: got %v", name, err)
		}
		if err := c.Ack(ctx, "", "e_1", bus.WithConsumer(name)); !errors.Is(err, root.ErrInvalidParameter) {
			t.Errorf("ack for %q: got %v", name, err)
		}
	}
}

func TestAPullWithoutANameAndANameOverTwoNamespacesAreRefused(t *testing.T) {
	url, ctx := realBus(t)
	c := bus.NewClient(url)
	for name, opts := range map[string][]bus.GetOption{
		"no name":        {bus.WithSubject("orders.x")},
		"no subject":     {bus.WithConsumer("mail")},
		"two namespaces": {bus.WithSubject("orders.x"), bus.WithSubject("app.x"), bus.WithConsumer("mail")},
		"no acks":        {bus.WithSubject("orders.x"), bus.WithConsumer("mail"), bus.WithAckStrategy(bus.AckNone)},
	} {
		_, err := c.Pull(ctx, opts...)
		if e, ok := root.AsError(err); !ok || e.Status != 400 {
			t.Errorf("%s: got %v, want a mistake of the caller", name, err)
		}
	}
}

func TestUntilNewestGoesOnBeyondTheWindowOfANamedConsumer(t *testing.T) {
	url, ctx := realBus(t)
	publish(t, ctx, url, 25)
	c, n := bus.NewClient(url), 0
	for event, err := range c.Get(ctx, billing(bus.WithInflight(4), bus.WithUntilNewest())...) {
		if err != nil {
			t.Fatal(err)
		}
		event.AckAsync()
		n++
	}
	if err := c.Flush(ctx); err != nil || n != 25 || ctx.Err() != nil {
		t.Errorf("got %d events, %v, want 25", n, err)
	}
	publish(t, ctx, url, 25)
	n = 0
	for _, err := range c.Get(ctx, billing(bus.WithInflight(4), bus.WithUntilNewest())...) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 4 || ctx.Err() != nil {
		t.Errorf("nothing is acknowledged: got %d events, %v, want the window", n, ctx.Err())
	}
}
