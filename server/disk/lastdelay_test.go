package disk

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/bus"
)

// timedEvents draws a commit: ordinary events, some that wait, and deliveries of some
// that wait.
func timedEvents(rng *rand.Rand, from uint64, waiting *[]bus.Event) (events []bus.Event) {
	for i := range 1 + rng.IntN(4) {
		e := testEvent(fmt.Sprint("orders.s", rng.IntN(4)), "1")
		e.Index = from + uint64(i)
		switch kind := rng.IntN(4); {
		case kind == 0:
			e.Timing = &bus.Timing{DeliverAt: dueBase}
			*waiting = append(*waiting, e)
		case kind == 1 && len(*waiting) > 0:
			was := (*waiting)[0]
			*waiting = (*waiting)[1:]
			e.Subject, e.Timing = was.Subject, &bus.Timing{DeliverAt: dueBase, Published: was.Index}
		}
		events = append(events, e)
	}
	return events
}

// lastModel is what lasts has to know, by subject: what was published last, and where
// the last that was delivered stands.
type lastModel struct{ published, delivered map[string]uint64 }

func (m *lastModel) take(events []bus.Event) {
	for _, e := range events {
		if e.GivenIndex() == e.Index {
			m.published[e.Subject] = e.Index
		}
		if !e.Waits() {
			m.delivered[e.Subject] = e.Index
		}
	}
}

func (m *lastModel) check(t *testing.T, table *lastTable, first uint64, what string) {
	t.Helper()
	atLeast := func(index uint64) uint64 {
		if index < first {
			return 0
		}
		return index
	}
	for i := range 4 {
		subject := fmt.Sprint("orders.s", i)
		last, place := uint64(0), uint64(0)
		if slot, ok := table.slots[subject]; ok {
			last, place = atLeast(table.last[slot]), atLeast(table.place(slot))
		}
		if wantLast, wantPlace := atLeast(m.published[subject]), atLeast(m.delivered[subject]); last != wantLast || place != wantPlace {
			t.Fatalf("%s, %s from %d on: got %d published and %d delivered last, want %d and %d", what, subject, first, last, place, wantLast, wantPlace)
		}
	}
}

func commitTo(t *testing.T, l *lasts, events []bus.Event, stored bool) {
	t.Helper()
	var records [][]byte
	for i := range events {
		records = append(records, mustRecord(t, events[i]))
	}
	l.Begin()
	l.Take(events[0].Index, records)
	l.End(stored)
}

// TestLastsKnowWhatWasPublishedAndWhatWasDeliveredLast draws commits that fail or not,
// a reading of the log in between, and deletions.
func TestLastsKnowWhatWasPublishedAndWhatWasDeliveredLast(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		l, m := newLasts("orders", 100), lastModel{make(map[string]uint64), make(map[string]uint64)}
		var waiting []bus.Event
		older := newLastTable()
		l.table = older
		next, first, joinAt := uint64(1), uint64(0), rng.IntN(10)
		for step := range 20 {
			before := append([]bus.Event(nil), waiting...)
			events := timedEvents(rng, next, &waiting)
			stored := rng.IntN(3) > 0
			commitTo(t, l, events, stored)
			if stored {
				m.take(events)
				next += uint64(len(events))
			} else {
				waiting = before
			}
			switch {
			case step == joinAt: // what comes goes into another table
				l.table = newLastTable()
			case step == joinAt+5:
				older.join(l.table, 100)
				l.table = older
				l.known.Store(true)
			case step > joinAt+5 && rng.IntN(4) == 0:
				first = max(first, next-min(next, uint64(rng.IntN(6))))
				l.trimmed(first)
			}
			if step >= joinAt+5 || step < joinAt {
				m.check(t, l.table, first, fmt.Sprint("seed ", seed, " step ", step))
			}
		}
	}
}
