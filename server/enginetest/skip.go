package enginetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/bus"
	"example.com/bus/server"
)

// skipPatterns ask for a subject in every way that there is.
var skipPatterns = [][]string{
	{"orders.>"}, {"orders.*.created"}, {"orders.eu.*"}, {"orders.eu.>"}, {"orders.eu.created"}, {"orders.rare"}, {"orders.rare.>"},
	{"orders.none"}, {"orders.none.>", "orders.rare.one"}, {"orders.eu", "orders.us.*.x"}, {"orders.none", "orders.*.created"},
}

// mixed returns events of common subjects and a few rare ones.
func mixed(r *rand.Rand, n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		subjects := []string{"orders.eu.created", "orders.us.created", "orders.eu.paid", "orders.eu"}
		if r.IntN(200) == 0 {
			subjects = []string{"orders.rare", "orders.rare.one", "orders.us.a.x", fmt.Sprint("orders.none-", i)}
		}
		events[i] = event(subjects[r.IntN(len(subjects))], "1")
	}
	return events
}

// checkSkip holds what an engine says against all events of a namespace, from
// every index on.
func checkSkip(t *testing.T, e server.Engine, events []bus.Event) {
	t.Helper()
	_, next := e.Bounds("orders")
	for _, texts := range skipPatterns {
		patterns := parse(t, texts...)
		due := uint64(0) // the first match at the index or later; 0: none
		for from := next; from >= 1; from-- {
			if from < next && slices.ContainsFunc(patterns, func(p bus.Pattern) bool { return p.Match(events[from-1].Subject) }) {
				due = from
			}
			at, until := e.Skip("orders", from, patterns)
			if at < from || until < from || at > max(from, next) {
				t.Fatalf("%v from %d: got %d, %d, wanted neither before it, nor the first behind the end %d", texts, from, at, until, next)
			}
			if due != 0 && at > due {
				t.Fatalf("%v from %d: got %d, which hides the event at %d", texts, from, at, due)
			}
		}
	}
}

func parse(t *testing.T, texts ...string) (patterns []bus.Pattern) {
	t.Helper()
	for _, text := range texts {
		p, err := bus.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	return patterns
}

func skipHidesNothing(t *testing.T, open Open) {
	var all []bus.Event
	r := rand.New(rand.NewPCG(1, 2))
	grow := func(e server.Engine) {
		for range 10 {
			all = append(all, mustAppend(t, e, mixed(r, 1+r.IntN(100))...)...)
			waitFor(t, e, "orders", uint64(len(all))+1)
			checkSkip(t, e, all)
		}
	}
	twice(t, open, grow, func(e server.Engine) {
		checkSkip(t, e, all)
		grow(e)
	})
}

// skipStrangers: what is asked for with nonsense must not be worse than reading.
func skipStrangers(t *testing.T, open Open) {
	e := start(t, open, "orders")
	mustAppend(t, e, numbered("orders.created", 3)...)
	waitFor(t, e, "orders", 4)
	for _, patterns := range [][]bus.Pattern{nil, {{}}, parse(t, "app.created")} {
		if at, until := e.Skip("orders", 2, patterns); at < 2 || at > 4 || until < 2 {
			t.Errorf("%v: got %d, %d, wanted both from 2 on", patterns, at, until)
		}
	}
	for _, from := range []uint64{0, 4, 1 << 60} {
		if at, until := e.Skip("orders", from, parse(t, "orders.created")); at != from || until < from {
			t.Errorf("from %d: got %d, %d, want it and one not before it", from, at, until)
		}
	}
	if at, _ := e.Skip(strings.Repeat("x", 10), 5, parse(t, "orders.created")); at != 5 {
		t.Errorf("in an unknown namespace: got %d, want 5", at)
	}
}
