package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

// powerOptions save the indexes of ids and of subjects at every turn, so that a
// cut meets them in all their states.
func powerOptions(t *testing.T, f *faultfs.FS, durability string) Options {
	return Options{
		FS: f, Namespaces: []string{"orders"}, Durability: mustDurability(t, durability),
		saveAt: saveLimits{entries: 1, events: 1, bytes: 1}, cutAt: groupLimits{events: 5, bytes: 1 << 20, hashes: 9, held: 9},
	}
}

// lifetime runs an engine three times until the power goes, and returns the
// events whose append was answered and all that were tried.
func lifetime(t *testing.T, f *faultfs.FS, durability string) (answered, tried []bus.Event) {
	for range 3 {
		e, err := Open("data", powerOptions(t, f, durability))
		if err != nil {
			return answered, tried
		}
		for range 3 {
			events := strange(len(tried), 7)
			for i := range events {
				events[i].Subject = fmt.Sprint("orders.s", (len(tried)+i)/2%8)
			}
			tried = append(tried, events...)
			if e.Append(t.Context(), "orders", events) == nil {
				answered = append(answered, events...)
			}
		}
		e.Close() // fails when the power is gone
	}
	return answered, tried
}

// checkPower checks an engine after the power is back: what is in the log is
// found where it is, and what is not there is not found.
func checkPower(t *testing.T, e *Engine, tried []bus.Event) []bus.Event {
	t.Helper()
	got, damage := readOn(t, e)
	if len(damage) > 0 {
		t.Fatalf("got damage %v after a power cut", damage)
	}
	there := map[string]bool{}
	for i, ev := range got {
		if ev.Index != uint64(i+1) {
			t.Fatalf("got index %d, want %d", ev.Index, i+1)
		}
		there[ev.Id] = true
	}
	checkFound(t, e, got)
	checkSkipped(t, e, got)
	for _, ev := range tried {
		if at, err := e.Find(t.Context(), "orders", ev.Id); !there[ev.Id] && !errors.Is(err, bus.ErrUnknownEvent) {
			t.Fatalf("find %s, which is not in the log: got %d, %v, want %v", ev.Id, at, err, bus.ErrUnknownEvent)
		}
	}
	return got
}

// checkSkipped checks that no event is passed over by who asks for its subject.
func checkSkipped(t *testing.T, e *Engine, events []bus.Event) {
	t.Helper()
	for _, ev := range events {
		p, err := bus.ParsePattern(ev.Subject)
		if err != nil {
			t.Fatal(err)
		}
		for from := max(ev.Index, 10) - 9; from <= ev.Index; from++ {
			if at, _ := e.Skip("orders", from, []bus.Pattern{p}); at > ev.Index {
				t.Fatalf("%s from %d: got %d, which hides the event at %d", p, from, at, ev.Index)
			}
		}
	}
}

func TestAfterAPowerCutIDsLeadToTheirEventsAndNowhereElse(t *testing.T) {
	for _, durability := range []string{"always", "os", "interval=1ms"} {
		whole := faultfs.New()
		lifetime(t, whole, durability)
		for n := range whole.Calls() + 1 {
			f := faultfs.New()
			f.CutAfter(n + 1)
			answered, tried := lifetime(t, f, durability)
			for seed, keep := range []faultfs.Keep{faultfs.None, faultfs.All, faultfs.Random, faultfs.Random, faultfs.Random} {
				t.Run(fmt.Sprintf("%s/%d/%v/%d", durability, n, keep, seed), func(t *testing.T) {
					after := f.After(keep, rand.New(rand.NewPCG(uint64(n), uint64(seed))))
					afterTheCut(t, after, durability, answered, tried)
				})
			}
		}
	}
}

func afterTheCut(t *testing.T, f *faultfs.FS, durability string, answered, tried []bus.Event) {
	e := openTest(t, "data", powerOptions(t, f, durability))
	got := checkPower(t, e, tried)
	if durability == "always" && len(got) < len(answered) {
		t.Fatalf("got %d events, want the %d that were answered", len(got), len(answered))
	}
	// Other events take the places of those that the cut took back.
	for i := range 4 {
		got = append(got, mustAppend(t, e, bus.Event{Subject: fmt.Sprint("orders.after", i), Id: fmt.Sprintf("after-%d", i)})...)
	}
	checkFound(t, e, got[:len(got)-4])
	mustClose(t, e)
	e = openTest(t, "data", powerOptions(t, f, durability))
	if again := checkPower(t, e, tried); len(again) != len(got) {
		t.Fatalf("got %d events, want %d", len(again), len(got))
	}
	mustClose(t, e)
}
