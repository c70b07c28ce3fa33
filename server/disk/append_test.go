package disk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/bus"
)

func TestARefusalNamesTheEventOfTheBatch(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{MaxEvent: 100})
	own := bus.FormatID(bus.Position{Incarnation: e.Incarnation("orders"), Index: 5})
	for name, test := range map[string]struct {
		bad  bus.Event
		want *bus.Error
	}{
		"no subject":        {bus.Event{}, bus.ErrMissingSubject},
		"wildcard":          {testEvent("orders.*", "1"), bus.ErrInvalidSubject},
		"another namespace": {testEvent("users.created", "1"), bus.ErrInvalidSubject},
		"a longer name":     {testEvent("orders2.created", "1"), bus.ErrInvalidSubject},
		"the name alone":    {testEvent("orders", "1"), bus.ErrInvalidSubject},
		"an own id":         {bus.Event{Subject: "orders.created", Id: own}, bus.ErrInvalidID},
		"no id":             {bus.Event{Subject: "orders.created", Id: "a\nb"}, bus.ErrInvalidID},
		"too large":         {testEvent("orders.created", strings.Repeat("x", 101)), bus.ErrTooLarge},
		"trace id":          {bus.Event{Subject: "orders.created", TraceId: "\x00"}, bus.ErrInvalidEvent},
	} {
		for _, line := range []int{0, 3} {
			events := []bus.Event{test.bad}
			if line > 0 {
				events = []bus.Event{testEvent("orders.a", "1"), testEvent("orders.b", "2"), test.bad, testEvent("orders.c", "3")}
			}
			err := e.Append(t.Context(), "orders", events)
			if got, ok := bus.AsError(err); !ok || !errors.Is(err, test.want) || got.Line != line {
				t.Errorf("%s: got %+v, want %v in line %d", name, err, test.want, line)
			}
		}
	}
	if _, next := e.Bounds("orders"); next != 1 {
		t.Errorf("got next index %d, want 1: something of it was stored", next)
	}
}

func TestThePayloadLimitIsExact(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{MaxEvent: 5000})
	long := strings.Repeat("x", bus.MaxTextLen)
	ev := bus.Event{
		Subject: "orders" + strings.Repeat(".abcdefgh", 15), Id: strings.Repeat("i", bus.MaxIDLen), TraceId: long, Key: long,
		ContentType: long, ResponseSubject: "_bus_" + strings.Repeat(".abcdefgh", 15), CreatedAt: testTime, Payload: make([]byte, 5000),
	}
	mustAppend(t, e, ev)
	ev.Payload = make([]byte, 5001)
	if err := e.Append(t.Context(), "orders", []bus.Event{ev}); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, bus.ErrTooLarge)
	}
}

func TestASmallerLimitStillReadsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, testEvent("orders.created", strings.Repeat("x", 500_000)))
	mustClose(t, e)
	e = openTest(t, dir, Options{MaxEvent: 10})
	if got, damage := readOn(t, e); len(got) != 1 || len(got[0].Payload) != 500_000 || len(damage) != 0 {
		t.Errorf("got %d events and damage %v, want the event", len(got), damage)
	}
}

func TestWhatIsStoredIsACopy(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{})
	payload := []byte("before")
	mustAppend(t, e, bus.Event{Subject: "orders.created", ContentType: "text/plain", Payload: payload})
	copy(payload, "after!")
	if got, _ := readOn(t, e); string(got[0].Payload) != "before" {
		t.Errorf("got %q, want %q", got[0].Payload, "before")
	}
}

func TestAnAppendWhoseContextHasEndedIsWholeOrAbsent(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stored := 0
	for range 20 {
		switch err := e.Append(ctx, "orders", strange(0, 5)); {
		case err == nil:
			stored += 5
		case !errors.Is(err, context.Canceled):
			t.Fatalf("got %v, want nil or %v", err, context.Canceled)
		}
	}
	if got, _ := readOn(t, e); len(got) != stored {
		t.Errorf("got %d events, want %d", len(got), stored)
	}
}

// TestReadingOnlyBesideAnEngineSeesOnlyWholeCommits opens the directory again
// and again while batches are written to it.
func TestReadingOnlyBesideAnEngineSeesOnlyWholeCommits(t *testing.T) {
	const size = 40
	dir := t.TempDir()
	e := openTest(t, dir, Options{BlockSize: 256})
	mustAppend(t, e, strange(0, size)...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 150 {
			if err := e.Append(t.Context(), "orders", strange((i+1)*size, size)); err != nil {
				t.Errorf("append: %v", err)
			}
		}
	}()
	last := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		r := openTest(t, dir, Options{ReadOnly: true})
		got, damage := readOn(t, r)
		if len(got)%size != 0 || len(got) < last || len(damage) != 0 {
			t.Errorf("got %d events after %d and damage %v, want whole batches of %d", len(got), last, damage, size)
		}
		last = len(got)
		checkFound(t, r, []bus.Event{got[0], got[len(got)/2], got[len(got)-1]})
		mustClose(t, r)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("os/%d", batch), func(b *testing.B) {
			e, events := openBench(b), make([]bus.Event, batch)
			b.ReportAllocs()
			for b.Loop() {
				for i := range events {
					events[i] = benchEvent()
				}
				if err := e.Append(b.Context(), "orders", events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkReplay reads a log of 100,000 events from its beginning.
func BenchmarkReplay(b *testing.B) {
	e := openBench(b)
	const total = 100_000
	for range total / 1000 {
		events := make([]bus.Event, 1000)
		for i := range events {
			events[i] = benchEvent()
		}
		if err := e.Append(b.Context(), "orders", events); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r := e.Reader("orders", 1)
		for n := 0; n < total; {
			events, err := r.Next()
			if err != nil {
				b.Fatal(err)
			}
			n += len(events)
		}
		r.Close()
	}
	b.ReportMetric(float64(b.N*total)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkFindChosen(b *testing.B) {
	e := openBench(b)
	for part := range 100 {
		if err := e.Append(b.Context(), "orders", strange(part*1000, 1000)); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		i = (i + 7919) % 100_000
		id := fmt.Sprintf("mine-%d", i/20*20+10)
		if _, err := e.Find(b.Context(), "orders", id); err != nil {
			b.Fatal(err)
		}
	}
}

func openBench(b *testing.B) *Engine {
	b.Helper()
	d, err := ParseDurability("os")
	if err != nil {
		b.Fatal(err)
	}
	e, err := Open(b.TempDir(), Options{Namespaces: []string{"orders"}, Durability: d})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	return e
}

func benchEvent() bus.Event {
	return testEvent("orders.eu.created", `{"order":12345,"customer":"c-778","items":[{"sku":"A-1","n":2},{"sku":"B-7","n":1}],"total":119.90}`)
}
