package enginetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus"
)

func namespacesAreSorted(t *testing.T, open Open) {
	e := start(t, open, "zebra", "apple", "mango")
	if got, want := e.Namespaces(), []string{"apple", "mango", "zebra"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	d := e.Durability()
	if d != "always" && d != "os" && !strings.HasPrefix(d, "interval=") {
		t.Errorf("got durability %q, wanted always, interval=… or os", d)
	}
}

func emptyBounds(t *testing.T, open Open) {
	e := start(t, open, "orders")
	if first, next := e.Bounds("orders"); first != 1 || next != 1 {
		t.Errorf("got bounds %d, %d, want 1, 1", first, next)
	}
	if got := readAll(t, e, "orders", 1); len(got) != 0 {
		t.Errorf("got %d events, want none", len(got))
	}
}

// appendFills allows a minute to the clocks of an engine on other machines.
func appendFills(t *testing.T, open Open) {
	e := start(t, open, "orders")
	before := time.Now().Add(-time.Minute)
	events := mustAppend(t, e, numbered("orders.created", 3)...)
	checkIndexes(t, events, 1)
	for _, got := range events {
		if got.CreatedAt.Before(before) || got.CreatedAt.After(time.Now().Add(time.Minute)) {
			t.Errorf("got created_at %s, wanted about now", got.CreatedAt)
		}
		if err := bus.CheckID(got.Id); err != nil {
			t.Errorf("got id %q: %v", got.Id, err)
		}
		want := bus.Position{Incarnation: e.Incarnation("orders"), Index: got.Index}
		if p, ok := bus.ParseEventID(got.Id); !ok || p != want {
			t.Errorf("id %q: got %+v, want %+v", got.Id, p, want)
		}
	}
	waitFor(t, e, "orders", 4)
	sameAll(t, readAll(t, e, "orders", 1), events)
}

func chosen() bus.Event {
	return bus.Event{
		Id: "restored-1", Subject: "orders.eu.created", CreatedAt: time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC),
		TraceId: "trace ü", Key: "key/1", ResponseSubject: "_bus_.inbox", Headers: map[string]string{"b": "é", "a": "1"}, ContentType: "text/plain; charset=utf-8", Payload: []byte("a\nb\x00c"),
	}
}

func appendKeeps(t *testing.T, open Open) {
	e := start(t, open, "orders")
	want := chosen()
	mustAppend(t, e, event("orders.created", "1"))
	got := mustAppend(t, e, chosen())
	want.Index = 2
	sameAll(t, got, []bus.Event{want})
	waitFor(t, e, "orders", 3)
	sameAll(t, readAll(t, e, "orders", 2), []bus.Event{want})
}

func appendNothing(t *testing.T, open Open) {
	e := start(t, open, "orders")
	if err := e.Append(t.Context(), "orders", nil); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	if _, next := e.Bounds("orders"); next != 1 {
		t.Errorf("got next %d, want 1", next)
	}
}

// noHoles lets many writers share commits. Each must get indexes of its own, in
// the order of its own appends, and together they must be 1, 2, 3 to the end.
func noHoles(t *testing.T, open Open) {
	e := start(t, open, "orders")
	const writers, each = 8, 40
	stored := make([][]bus.Event, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				events := []bus.Event{event("orders.created", fmt.Sprintf("%d/%d", w, i))}
				if err := e.Append(t.Context(), "orders", events); err != nil {
					t.Errorf("append: %v", err)
					return
				}
				stored[w] = append(stored[w], events[0])
			}
		})
	}
	wg.Wait()
	waitFor(t, e, "orders", writers*each+1)
	got := readAll(t, e, "orders", 1)
	checkIndexes(t, got, 1)
	want := slices.SortedFunc(slices.Values(slices.Concat(stored...)), func(a, b bus.Event) int { return int(a.Index) - int(b.Index) })
	sameAll(t, got, want)
	for w := range stored {
		for i := 1; i < len(stored[w]); i++ {
			if stored[w][i].Index <= stored[w][i-1].Index {
				t.Fatalf("writer %d: got index %d after %d, wanted a later one", w, stored[w][i].Index, stored[w][i-1].Index)
			}
		}
	}
}

func batchInOrder(t *testing.T, open Open) {
	e := start(t, open, "orders")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			events := numbered("orders.created", 500)
			if err := e.Append(t.Context(), "orders", events); err != nil {
				t.Errorf("append: %v", err)
				return
			}
			for i := range events {
				if events[i].Index != events[0].Index+uint64(i) {
					t.Errorf("event %d of the batch: got index %d, want %d", i, events[i].Index, events[0].Index+uint64(i))
					return
				}
			}
		})
	}
	wg.Wait()
	waitFor(t, e, "orders", 2001)
	got := readAll(t, e, "orders", 1)
	checkIndexes(t, got, 1)
	for i := range got {
		if want := fmt.Sprint(i % 500); string(got[i].Payload) != want {
			t.Fatalf("index %d: got payload %s, want %s", got[i].Index, got[i].Payload, want)
		}
	}
}

// refusedBatch has its mistake at the end: an engine that stores as it checks
// would have stored the beginning.
func refusedBatch(t *testing.T, open Open) {
	e := start(t, open, "orders")
	bad := append(numbered("orders.created", 3), event("orders.*", "bad"))
	if err := e.Append(t.Context(), "orders", bad); !errors.Is(err, bus.ErrInvalidSubject) {
		t.Errorf("got %v, want %v", err, bus.ErrInvalidSubject)
	}
	huge := append(numbered("orders.created", 3), event("orders.created", strings.Repeat("x", 64<<20)))
	if err := e.Append(t.Context(), "orders", huge); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, bus.ErrTooLarge)
	}
	for i := range 3 {
		if bad[i].Index != 0 || bad[i].Id != "" || huge[i].Index != 0 || huge[i].Id != "" {
			t.Errorf("event %d of a refused batch was given a place: %+v", i, bad[i])
		}
	}
	checkIndexes(t, mustAppend(t, e, event("orders.created", "1")), 1)
}

// ownIDRefused: an id of this very log says its index. One that was chosen would
// name two events as soon as the log gets there.
func ownIDRefused(t *testing.T, open Open) {
	e := start(t, open, "orders")
	ev := event("orders.created", "1")
	ev.Id = bus.FormatID(bus.Position{Incarnation: e.Incarnation("orders"), Index: 77})
	if err := e.Append(t.Context(), "orders", []bus.Event{ev}); !errors.Is(err, bus.ErrInvalidID) {
		t.Errorf("got %v, want %v", err, bus.ErrInvalidID)
	}
}

func ownOrders(t *testing.T, open Open) {
	e := start(t, open, "orders", "users")
	checkIndexes(t, mustAppend(t, e, numbered("orders.created", 3)...), 1)
	checkIndexes(t, mustAppend(t, e, numbered("users.created", 2)...), 1)
	waitFor(t, e, "orders", 4)
	waitFor(t, e, "users", 3)
	for namespace, want := range map[string]int{"orders": 3, "users": 2} {
		if got := len(readAll(t, e, namespace, 1)); got != want {
			t.Errorf("%s: got %d events, want %d", namespace, got, want)
		}
	}
	if e.Incarnation("orders") == e.Incarnation("users") {
		t.Errorf("got one incarnation %#x for two logs", e.Incarnation("orders"))
	}
}

func unknownNamespace(t *testing.T, open Open) {
	e := start(t, open, "orders")
	ctx := t.Context()
	_, findErr := e.Find(ctx, "other", "x")
	_, atErr := e.IndexAt(ctx, "other", time.Now())
	r := e.Reader("other", 1)
	defer r.Close()
	r.Seek(5)
	_, readErr := r.Next()
	for name, err := range map[string]error{
		"Append": e.Append(ctx, "other", []bus.Event{event("other.created", "1")}),
		"Wait":   e.Wait(ctx, "other", 0),
		"Find":   findErr, "IndexAt": atErr, "Reader": readErr,
	} {
		if !errors.Is(err, bus.ErrUnknownNamespace) {
			t.Errorf("%s: got %v, want %v", name, err, bus.ErrUnknownNamespace)
		}
	}
	if first, next := e.Bounds("other"); first != 0 || next != 0 || e.Incarnation("other") != 0 || e.Inspect("other").Name != "" {
		t.Errorf("got bounds %d, %d, wanted zero values", first, next)
	}
}

// payloadBytes has what formats stumble over: nothing at all, zeros over whole
// sectors, every byte there is, and more than a block.
func payloadBytes(t *testing.T, open Open) {
	e := start(t, open, "orders")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	payloads := []string{"", "null", "{}", "\x00", strings.Repeat("\x00", 9000), string(every), strings.Repeat("\xff", 5000), strings.Repeat("long ", 60_000)}
	var want []bus.Event
	for _, p := range payloads {
		ev := event("orders.created", p)
		ev.ContentType = "application/octet-stream"
		want = append(want, mustAppend(t, e, ev)...)
	}
	waitFor(t, e, "orders", uint64(len(payloads))+1)
	sameAll(t, readAll(t, e, "orders", 1), want)
}
