package disk

import (
	"context"
	"errors"
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

func TestTheGreatestLimitWorksAndNoGreaterOne(t *testing.T) {
	dir := t.TempDir()
	for _, limit := range []int{-1, MaxEventLimit + 1} {
		wantRefused(t, dir, Options{Namespaces: []string{"orders"}, MaxEvent: limit}, "largest event")
	}
	e := openTest(t, dir, Options{MaxEvent: MaxEventLimit, Durability: mustDurability(t, "os")})
	mustAppend(t, e, bus.Event{Subject: "orders.created", ContentType: "a/b", Payload: make([]byte, MaxEventLimit)})
	if got, _ := readOn(t, e); len(got) != 1 || len(got[0].Payload) != MaxEventLimit {
		t.Errorf("got %d events, want the great one", len(got))
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
