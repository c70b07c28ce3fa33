package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

// claimant appends on conditions, each of which says in its payload what it was: the
// log can be held against it later. It expects what it has heard last, right or wrong.
func claimant(e *Engine, r *rand.Rand) error {
	last := make(map[string]uint64)
	for range 40 {
		subject := fmt.Sprintf("orders.s%d", r.IntN(3))
		when, said := bus.Condition{SubjectIndex: bus.Expect(last[subject])}, fmt.Sprint("subject ", last[subject])
		switch r.IntN(3) {
		case 0:
			subject = "orders.all"
			when, said = bus.Condition{Index: bus.Expect(last[subject])}, fmt.Sprint("index ", last[subject])
		case 1:
			when, said = bus.Condition{}, "none 0"
		}
		events := []bus.Event{testEvent(subject, said)}
		events[0].ContentType = "text/plain"
		err := e.AppendIf(context.Background(), "orders", events, when)
		refused, _ := bus.AsError(err)
		switch {
		case err == nil:
			last[subject], last["orders.all"] = events[0].Index, events[0].Index
		case errors.Is(err, bus.ErrWrongIndex):
			last[subject] = refused.Index
		default:
			return err // the power is gone
		}
	}
	return nil
}

// checkClaims holds every event of a log against what it was stored on.
func checkClaims(t *testing.T, events []bus.Event) (conditional int) {
	t.Helper()
	last := make(map[string]uint64)
	for _, ev := range events {
		var kind string
		var expected uint64
		fmt.Sscan(string(ev.Payload), &kind, &expected)
		if kind == "index" && expected != ev.Index-1 || kind == "subject" && expected != last[ev.Subject] {
			t.Fatalf("index %d of %s stands behind %d, and was stored on the condition %q", ev.Index, ev.Subject, last[ev.Subject], ev.Payload)
		}
		if kind != "none" {
			conditional++
		}
		last[ev.Subject] = ev.Index
	}
	return conditional
}

// Claimants race each other until the power goes, again and again, over the same log:
// whatever the disk keeps, every event stands where its condition said it would.
func TestEveryEventStandsOnItsConditionWhateverAPowerCutKeeps(t *testing.T) {
	kept := 0
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		f := faultfs.New()
		durability := []string{"always", "interval=1ms", "os"}[seed%3]
		for range 4 {
			e, err := Open("data", powerOptions(t, f, durability))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			f.CutAfter(f.Calls() + 10 + r.IntN(150))
			var all sync.WaitGroup
			for range 4 {
				own := rand.New(rand.NewPCG(r.Uint64(), 1))
				all.Go(func() { _ = claimant(e, own) })
			}
			all.Wait()
			e.Close()
			f = f.After(faultfs.Keep(r.IntN(3)), r)
		}
		e, err := Open("data", powerOptions(t, f, durability))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		events, damage := readOn(t, e)
		if len(damage) > 0 {
			t.Fatalf("seed %d: got damage %v after a power cut", seed, damage)
		}
		kept += checkClaims(t, events)
		e.Close()
	}
	if kept < 100 {
		t.Errorf("got %d conditional events in all logs, want enough to prove something", kept)
	}
}
