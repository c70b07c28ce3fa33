package disk

import (
	"fmt"
	"testing"

	"example.com/bus"
)

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
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/event")
		})
	}
}

// BenchmarkAppendTracked is BenchmarkAppend once somebody has asked for the last index
// of a subject, without a condition and with one.
func BenchmarkAppendTracked(b *testing.B) {
	for name, conditional := range map[string]bool{"plain": false, "condition": true} {
		b.Run(name, func(b *testing.B) {
			e, events := openBench(b), []bus.Event{benchEvent()}
			if err := e.AppendIf(b.Context(), "orders", events, bus.Condition{SubjectIndex: bus.Expect(0)}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				when := bus.Condition{}
				if conditional {
					when.SubjectIndex = bus.Expect(events[0].Index)
				}
				events[0] = benchEvent()
				if err := e.AppendIf(b.Context(), "orders", events, when); err != nil {
					b.Fatal(err)
				}
			}
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
	b.ReportAllocs()
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

// BenchmarkRebuild reads the ids of a log of 100,000 events that has lost the
// saved ones.
func BenchmarkRebuild(b *testing.B) {
	e := openBench(b)
	for part := range 100 {
		if err := e.Append(b.Context(), "orders", strange(part*1000, 1000)); err != nil {
			b.Fatal(err)
		}
	}
	n := e.log("orders")
	_, next := n.log.Bounds()
	b.ReportAllocs()
	for b.Loop() {
		d := newDerived(n.log, derivedFile{}, defaultSaveLimits(), nil)
		s := &strangers{derived: d}
		s.clear(hashKey{})
		d.content = s
		if err := d.follow(span{from: 1, next: 1}, next); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(next-1)/b.Elapsed().Seconds(), "events/s")
}
