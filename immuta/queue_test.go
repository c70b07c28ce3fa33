package immuta

import (
	"context"
	"errors"
	"testing"
)

func TestAFullQueueHoldsBackUntilThereIsRoomOrTheContextEnds(t *testing.T) {
	q := queue{wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	big := func() *request { return &request{size: 2 * queueBytes} }
	if err := q.put(ctx, big()); err != nil {
		t.Fatalf("a big append alone: got %v, want it taken", err)
	}
	got := make(chan error)
	go func() { got <- q.put(ctx, big()) }()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	go func() { got <- q.put(context.Background(), big()) }()
	if batch, more := q.take(nil); len(batch) != 1 || !more {
		t.Fatalf("got %d taken and more %v, want 1 and true", len(batch), more)
	}
	if err := <-got; err != nil {
		t.Fatalf("got %v once there is room", err)
	}
	go func() { got <- q.put(context.Background(), big()) }()
	q.close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v, want ErrClosed", err)
	}
	if batch, more := q.take(nil); len(batch) != 1 || !more {
		t.Fatalf("got %d taken and more %v after close, want what was queued", len(batch), more)
	}
	if batch, more := q.take(nil); len(batch) != 0 || more {
		t.Fatalf("got %d taken and more %v, want the end", len(batch), more)
	}
}

func TestACommitTakesWhatIsWaitingUpToItsLimit(t *testing.T) {
	q := queue{wake: make(chan struct{}, 1)}
	for range 3 {
		if err := q.put(context.Background(), &request{size: commitBytes / 2}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{2, 1, 0} {
		if batch, _ := q.take(nil); len(batch) != want {
			t.Fatalf("got %d taken, want %d", len(batch), want)
		}
	}
}
