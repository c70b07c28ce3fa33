package disk

import (
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
	"example.com/bus/server/delivery"
)

var rareEvents = flag.Int("rare", 300_000, "events of the logs of BenchmarkRareSubject")

// BenchmarkRareSubject is one event of a subject among many of others, from the
// request to the event, as the server reads it.
func BenchmarkRareSubject(b *testing.B) {
	for _, kind := range []string{"few", "each"} {
		for name, sealing := range map[string]immuta.Sealing{"plain": nil, "sealed": goldenKeys(b, goldenSecret)} {
			b.Run(kind+"/"+name, func(b *testing.B) { benchRare(b, kind, sealing, false) })
			b.Run(kind+"/"+name+"/unknown", func(b *testing.B) { benchRare(b, kind, sealing, true) })
		}
	}
}

// benchRare reads the one event, unknown without the index: who reads only has
// none.
func benchRare(b *testing.B, kind string, sealing immuta.Sealing, unknown bool) {
	e, dir := openBench(b), b.TempDir()
	o := Options{Namespaces: []string{"orders"}, Durability: e.durability, Sealing: sealing}
	fillRare(b, dir, o, kind)
	o.ReadOnly = unknown
	e, err := Open(dir, o)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	if !unknown {
		awaitSubjects(b, e)
	}
	h := delivery.NewHub(e, []string{"orders"}, delivery.Options{})
	defer h.Close()
	p, err := bus.ParsePattern("orders.rare.>")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := h.Open(delivery.Spec{Places: []delivery.Place{{Namespace: "orders", Patterns: []bus.Pattern{p}, From: 1}}})
		if err != nil {
			b.Fatal(err)
		}
		if c, err := s.Next(b.Context()); err != nil || len(c.Deliveries) != 1 {
			b.Fatalf("got %d events, %v, want 1", len(c.Deliveries), err)
		}
		s.Close()
	}
	if s := e.log("orders").subjects; s != nil {
		b.ReportMetric(float64(len(s.chain.groups)), "groups")
		b.ReportMetric(float64(s.chain.held)*4, "held-B")
	}
}

// fillRare stores events of about 100 bytes, the rare one in the middle.
func fillRare(b *testing.B, dir string, o Options, kind string) {
	e, err := Open(dir, o)
	if err != nil {
		b.Fatal(err)
	}
	events := make([]bus.Event, 1000)
	for n := 0; n < *rareEvents; n += len(events) {
		for i := range events {
			events[i] = bus.Event{Subject: fmt.Sprint("orders.eu.created.", i%20), Payload: benchEvent().Payload[:60]}
			if kind == "each" {
				events[i].Subject = fmt.Sprintf("orders.c-%d.created", n+i)
			}
		}
		if n == *rareEvents/2/1000*1000 {
			events[500].Subject = "orders.rare.one"
		}
		if err := e.Append(b.Context(), "orders", events); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}

// awaitSubjects waits until the index of subjects is whole.
func awaitSubjects(t testing.TB, e *Engine) {
	t.Helper()
	s := e.log("orders").subjects
	whole := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.past != nil || s.chain == nil {
			return false
		}
		// What is not held is read from the derived log, which is opened after.
		return s.saver != nil || !s.chain.partly || s.onDisk == 0
	}
	for deadline := time.Now().Add(time.Minute); !whole(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the index of subjects was not read within a minute")
		}
	}
}

// BenchmarkSubjectsStored is what an append pays for the index, an event.
func BenchmarkSubjectsStored(b *testing.B) {
	for name, subject := range map[string]func(i int) string{
		"one":         func(int) string { return "orders.eu.created" },
		"in turn/20":  func(i int) string { return fmt.Sprint("orders.eu.created.", i%20) },
		"in turn/10k": func(i int) string { return fmt.Sprintf("orders.n%d.created", i%10_000) },
		"each":        func(i int) string { return fmt.Sprintf("orders.c-%d.created", i) },
	} {
		for _, batch := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, batch), func(b *testing.B) {
				events := make([]bus.Event, 1_000_000)
				for i := range events {
					events[i].Subject = subject(i)
				}
				s := &subjects{derived: &derived{}, early: map[uint64]report{}}
				s.content = s
				s.chain = newChain(1, hashKey{}, defaultGroupLimits(), true)
				at, next := 0, uint64(1)
				for b.Loop() {
					part := events[at : at+batch]
					s.stored(span{from: next, next: next + uint64(batch)}, batch*130, part)
					next += uint64(batch)
					at = (at + batch) % len(events)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(next-1), "ns/event")
			})
		}
	}
}
