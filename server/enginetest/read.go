package enginetest

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"example.com/bus"
	"example.com/bus/server"
)

// readerGoesOn meets the end twice each time: the end must not use a reader up.
func readerGoesOn(t *testing.T, open Open) {
	e := start(t, open, "orders")
	r := e.Reader("orders", 1)
	defer r.Close()
	next := uint64(1)
	for round := range 5 {
		for range 2 {
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Fatalf("round %d: got %v at the end, want %v", round, err, io.EOF)
			}
		}
		mustAppend(t, e, numbered("orders.created", round+1)...)
		waitFor(t, e, "orders", next+uint64(round)+1)
		for want := next + uint64(round) + 1; next < want; {
			events, err := r.Next()
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			checkIndexes(t, events, next)
			next += uint64(len(events))
		}
	}
}

// readerSeeks starts within batches as well as at their borders, where an engine
// that reads whole blocks gives too much or too little.
func readerSeeks(t *testing.T, open Open) {
	e := start(t, open, "orders")
	for range 40 {
		mustAppend(t, e, numbered("orders.created", 25)...)
	}
	waitFor(t, e, "orders", 1001)
	r := e.Reader("orders", 500)
	defer r.Close()
	for _, want := range []uint64{500, 1, 1000, 999, 2, 26, 25, 24, 777} {
		r.Seek(want)
		events, err := r.Next()
		if err != nil || events[0].Index != want {
			t.Fatalf("seek %d: got %v, %v", want, events, err)
		}
		after, err := r.Next()
		if last := events[len(events)-1].Index; last < 1000 && (err != nil || after[0].Index != last+1) {
			t.Fatalf("after seek %d: got %v, %v, want index %d", want, after, err, last+1)
		}
	}
	r.Seek(1001)
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v, want %v", err, io.EOF)
	}
}

// follow reads the namespace until it has seen last, and checks that every
// index comes once and that nothing is seen beyond the bounds.
func follow(t *testing.T, e server.Engine, from, last uint64) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := e.Reader("orders", from)
	defer r.Close()
	for next := from; next <= last; {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			if err := e.Wait(ctx, "orders", next); err != nil {
				t.Errorf("waiting for index %d: %v", next, err)
				return
			}
			continue
		}
		if err != nil {
			t.Errorf("reading index %d: %v", next, err)
			return
		}
		for i := range events {
			if events[i].Index != next {
				t.Errorf("got index %d, want %d", events[i].Index, next)
				return
			}
			next++
		}
		if _, end := e.Bounds("orders"); next > end {
			t.Errorf("got index %d, beyond the end %d", next-1, end)
			return
		}
	}
}

func readersBesideWriters(t *testing.T, open Open) {
	e := start(t, open, "orders")
	const writers, batches, size = 4, 25, 6
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() { follow(t, e, uint64(1+i*50), writers*batches*size) })
	}
	for range writers {
		wg.Go(func() {
			for range batches {
				if err := e.Append(t.Context(), "orders", numbered("orders.created", size)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func readableAfterAppend(t *testing.T, open Open) {
	e := start(t, open, "orders")
	for range 30 {
		events := mustAppend(t, e, numbered("orders.created", 2)...)
		waitFor(t, e, "orders", events[1].Index+1)
		if first, next := e.Bounds("orders"); first != 1 || next != events[1].Index+1 {
			t.Fatalf("got bounds %d, %d, want 1, %d", first, next, events[1].Index+1)
		}
		sameAll(t, readAll(t, e, "orders", events[0].Index), events)
	}
}

func waitContext(t *testing.T, open Open) {
	e := start(t, open, "orders")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Wait(ctx, "orders", 1) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// closeEndsWait: a server that stops has thousands of these, and each one left
// waiting keeps its connection.
func closeEndsWait(t *testing.T, open Open) {
	e := open(t, t.TempDir(), "orders")
	const waiters = 20
	ended := make(chan error, waiters)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range waiters {
		go func() { ended <- e.Wait(ctx, "orders", 1) }()
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for range waiters {
		if err := <-ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, wanted an error because of the close", err)
		}
	}
}

func closeTwice(t *testing.T, open Open) {
	e := open(t, t.TempDir(), "orders")
	mustAppend(t, e, event("orders.created", "1"))
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("close: got %v, want nil", err)
		}
	}
}

func closedAppend(t *testing.T, open Open) {
	e := open(t, t.TempDir(), "orders")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	events := []bus.Event{event("orders.created", "1")}
	if err := e.Append(t.Context(), "orders", events); err == nil || events[0].Index != 0 {
		t.Errorf("got %v and index %d, wanted an error", err, events[0].Index)
	}
}
