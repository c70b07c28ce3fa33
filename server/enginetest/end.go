package enginetest

import (
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"example.com/bus"
	"example.com/bus/server"
)

// RunDamagedEnd judges what engines that can be damaged say when the last event
// of a log is, and nobody has repaired it. spoil damages the last event of a
// closed engine, which was appended by itself.
func RunDamagedEnd(t *testing.T, open func(t *testing.T, dir string, namespaces ...string) server.Engine, spoil func(t *testing.T, dir, namespace string)) {
	for events := 1; events <= 4; events++ {
		t.Run(fmt.Sprintf("TheLastOf%d", events), func(t *testing.T) {
			dir := t.TempDir()
			e := open(t, dir, "orders", "app")
			for i := range events {
				mustAppend(t, e, event("orders.created", fmt.Sprint(i)))
			}
			mustAppend(t, e, event("app.started", "1"))
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			spoil(t, dir, "orders")
			e = open(t, dir, "orders", "app")
			defer e.Close()
			saysItsEnd(t, e, uint64(events))
			if readAll(t, e, "app", 1); e.Inspect("app").Problem != "" {
				t.Errorf("got a problem in app: %+v", e.Inspect("app"))
			}
		})
	}
}

func saysItsEnd(t *testing.T, e server.Engine, end uint64) {
	t.Helper()
	if first, next := e.Bounds("orders"); first != 1 || next != end {
		t.Fatalf("got bounds %d and %d, want 1 and %d: what cannot be read is behind them", first, next, end)
	}
	if e.Inspect("orders").Problem == "" {
		t.Error("got no problem, want one")
	}
	if err := e.Append(t.Context(), "orders", []bus.Event{event("orders.created", "more")}); !errors.Is(err, bus.ErrStorage) {
		t.Errorf("append: got %v, want %v", err, bus.ErrStorage)
	}
	for _, from := range []uint64{1, end, end + 1, end + 100, math.MaxInt32} {
		r := e.Reader("orders", from)
		defer r.Close()
		next, err := from, error(nil)
		for err == nil {
			var got []bus.Event
			if got, err = r.Next(); err == nil {
				checkIndexes(t, got, next)
				next += uint64(len(got))
			}
		}
		if next != max(from, end) {
			t.Errorf("from %d: reading ended at %d, want %d", from, next, max(from, end))
		}
		_, again := r.Next()
		for _, err := range []error{err, again} {
			if damage, ok := errors.AsType[*bus.DamageError](err); !ok || damage.Next != 0 || !damage.Repaired.IsZero() || errors.Is(err, io.EOF) {
				t.Errorf("from %d: got %v, want damage without an end", from, err)
			}
		}
	}
}
