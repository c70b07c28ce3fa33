package disk

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

// With a sync interval, events are answered before they can be read.
func TestDiscardNewKeepsItsLimitsAlsoWhereAnswersComeBeforeTheSync(t *testing.T) {
	for _, r := range []Retention{{MaxBytes: 1 << 20, DiscardNew: true}, {MaxEvents: 50, DiscardNew: true}} {
		files := faultfs.New()
		e := retained(t, files, r, Options{Durability: mustDurability(t, "interval=1h")})
		stored := 0
		for range 400 {
			err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", fmt.Sprintf(`"%010000d"`, 1))})
			if err == nil {
				stored++
			} else if !errors.Is(err, bus.ErrInsufficientSpace) {
				t.Fatal(err)
			}
		}
		mustClose(t, e)
		e = retained(t, files, r, Options{})
		info := e.Inspect("orders")
		if r.MaxBytes > 0 && (info.Bytes > r.MaxBytes || info.Bytes < r.MaxBytes*7/8) {
			t.Errorf("%s: got %d bytes of %d events, want nearly as many as are allowed", r, info.Bytes, stored)
		}
		if r.MaxEvents > 0 && stored != int(r.MaxEvents) {
			t.Errorf("%s: got %d events", r, stored)
		}
		mustClose(t, e)
	}
}

func TestDiscardNewIsNeitherPassedNorMissedByManyPublishersAtOnce(t *testing.T) {
	for _, durability := range []string{"always", "os", "interval=1ms"} {
		r := Retention{MaxEvents: 300, DiscardNew: true}
		e := retained(t, faultfs.New(), r, Options{Durability: mustDurability(t, durability)})
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range 20 {
					e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", "1")})
					if first, next := e.Bounds("orders"); next-first > r.MaxEvents {
						t.Errorf("%s: got %d events", durability, next-first)
					}
				}
			})
		}
		all.Wait()
		for range 300 { // what was refused beside others has room now
			e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", "1")})
		}
		if got := e.log("orders").taken.next.Load(); got != 301 {
			t.Errorf("%s: got the end %d, want 301", durability, got)
		}
		mustClose(t, e)
	}
}
