package enginetest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"example.com/bus"
	"example.com/bus/server"
)

// Compact has an engine remove what it can of the events of a namespace that are not
// the newest of their subject, as its policy would.
type Compact func(t *testing.T, e server.Engine, namespace string)

// RunRemoved judges what engines say of events that were removed one by one.
func RunRemoved(t *testing.T, open func(t *testing.T, dir string, namespaces ...string) server.Engine, compact Compact) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"ADeletedEventIsSaidAndItsIndexStays", deletedIsSaid},
		{"ASecondDeletionSaysSo", deletedTwice},
		{"WhatIsNotThereIsNotDeleted", deleteUnknown},
		{"ReadersThatAreOpenMeetWhatIsDeleted", deletedUnderReaders},
		{"TheLastOfASubjectIsTheNewestThatIsLeft", deletedLast},
		{"DeletingAndCompactingAreLikeAModelOverReopening", func(t *testing.T, open Open) { removalsLikeAModel(t, open, compact) }},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// removals is a log of ten events, every second with an id of its own, and what
// became of them.
func removals(t *testing.T, e server.Engine) *remains {
	m := &remains{t: t, gone: make(map[uint64]string)}
	for i := range 10 {
		ev := event("orders.created", fmt.Sprint("payload ", i))
		if i%2 == 1 {
			ev.Id = fmt.Sprintf("mine-%d", i)
		}
		m.events = append(m.events, mustAppend(t, e, ev)...)
	}
	waitFor(t, e, "orders", 11)
	return m
}

// remains is what a log must hold.
type remains struct {
	t      *testing.T
	events []bus.Event // the i-th has index i+1
	gone   map[uint64]string
}

func (m *remains) delete(e server.Engine, indexes ...uint64) {
	m.t.Helper()
	want := slices.DeleteFunc(slices.Clone(indexes), func(index uint64) bool { return m.gone[index] == "" })
	slices.Sort(want)
	_, already, err := e.Delete(m.t.Context(), "orders", indexes)
	if err != nil || !slices.Equal(already, slices.Compact(want)) {
		m.t.Fatalf("delete %v: got %v and %v, want %v to be deleted already", indexes, already, err, want)
	}
	for _, index := range indexes {
		if m.gone[index] == "" {
			m.gone[index] = bus.RemovedDeleted
		}
	}
}

// check reads from an index to the end.
func (m *remains) check(e server.Engine, from uint64) {
	m.t.Helper()
	r := e.Reader("orders", from)
	defer r.Close()
	m.follow(r, from)
}

// follow is check with a reader that stands at an index.
func (m *remains) follow(r seeker, from uint64) {
	m.t.Helper()
	at := from
	for {
		got, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if removed, ok := bus.AsRemoved(err); ok {
			at = m.passes(r, removed, at)
			continue
		}
		if err != nil {
			m.t.Fatalf("at %d: %v", at, err)
		}
		checkIndexes(m.t, got, at)
		for i := range got {
			if reason := m.gone[got[i].Index]; reason != "" {
				m.t.Fatalf("got event %d, which was %s", got[i].Index, reason)
			}
			same(m.t, got[i], m.events[got[i].Index-1])
		}
		at = got[len(got)-1].Index + 1
	}
	if at != uint64(len(m.events))+1 {
		m.t.Fatalf("from %d: the end came at %d, want %d", from, at, len(m.events)+1)
	}
}

// seeker is what passes needs of a Reader.
type seeker interface {
	Next() ([]bus.Event, error)
	Seek(index uint64)
}

// passes checks what is said of removed events, and leaves them behind.
func (m *remains) passes(r seeker, removed *bus.RemovedError, at uint64) (next uint64) {
	m.t.Helper()
	if removed.Namespace != "orders" || removed.From != at || removed.Next <= at {
		m.t.Fatalf("at %d: got %+v", at, removed)
	}
	if _, again := r.Next(); again == nil || again.Error() != removed.Error() {
		m.t.Fatalf("asked again: got %v, want %v", again, removed)
	}
	for ; at < removed.Next; at++ {
		if m.gone[at] != removed.Reason {
			m.t.Fatalf("event %d: got %q, want %q", at, removed.Reason, m.gone[at])
		}
	}
	r.Seek(at)
	return at
}

// finds wants an id that the engine gave to be a place, and a chosen one to be
// unknown once its event is removed.
func (m *remains) finds(e server.Engine) {
	m.t.Helper()
	for i := range m.events {
		ev := &m.events[i]
		_, own := bus.ParseEventID(ev.Id)
		got, err := e.Find(m.t.Context(), "orders", ev.Id)
		switch {
		case !own && m.gone[ev.Index] != "":
			if !errors.Is(err, bus.ErrUnknownEvent) {
				m.t.Fatalf("find %s, which is removed: got %d and %v", ev.Id, got, err)
			}
		case err != nil || got != ev.Index:
			m.t.Fatalf("find %s: got %d and %v, want %d", ev.Id, got, err, ev.Index)
		}
		if at, err := e.IndexAt(m.t.Context(), "orders", ev.CreatedAt); err != nil || at > ev.Index {
			m.t.Fatalf("index at the time of %d: got %d and %v, which passes it by", ev.Index, at, err)
		}
	}
}

// last is the newest event of each subject that is left.
func (m *remains) last() map[string]uint64 {
	last := make(map[string]uint64)
	for i := range m.events {
		if m.gone[m.events[i].Index] == "" {
			last[m.events[i].Subject] = m.events[i].Index
		}
	}
	return last
}

func (m *remains) newest(e server.Engine) {
	m.t.Helper()
	want := slices.Sorted(maps.Values(m.last()))
	got, next, lost, err := e.Newest(m.t.Context(), "orders", parse(m.t, "orders.>"), 1000)
	if err != nil || len(lost) > 0 || next != uint64(len(m.events))+1 || !slices.Equal(got, want) {
		m.t.Fatalf("newest: got %v below %d, %v and %v, want %v", got, next, lost, err, want)
	}
}

func (m *remains) all(e server.Engine) {
	m.t.Helper()
	for from := uint64(1); from <= uint64(len(m.events))+1; from++ {
		m.check(e, from)
	}
	m.finds(e)
	m.newest(e)
	if first, next := e.Bounds("orders"); first != 1 || next != uint64(len(m.events))+1 {
		m.t.Fatalf("got the bounds %d and %d, want 1 and %d", first, next, len(m.events)+1)
	}
}

func deletedIsSaid(t *testing.T, open Open) {
	for _, indexes := range [][]uint64{{1}, {5}, {10}, {4, 5, 6}, {9, 2, 9, 10}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}} {
		dir := t.TempDir()
		e := open(t, dir, "orders")
		m := removals(t, e)
		m.delete(e, indexes...)
		m.all(e)
		if info := e.Inspect("orders"); info.Removed.Deleted != uint64(len(m.gone)) || info.Problem != "" {
			t.Errorf("delete %v: got %+v, want %d deleted", indexes, info, len(m.gone))
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = open(t, dir, "orders")
		m.all(e)
		appendsOn(t, e, 11)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func deletedTwice(t *testing.T, open Open) {
	dir := t.TempDir()
	e := open(t, dir, "orders")
	m := removals(t, e)
	m.delete(e, 3)
	m.delete(e, 3)
	m.delete(e, 2, 3, 4)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, dir, "orders")
	defer e.Close()
	m.delete(e, 3, 5)
	m.all(e)
}

// deletedUnderReaders deletes what readers that have read up to each place come to
// next, or have behind them.
func deletedUnderReaders(t *testing.T, open Open) {
	for _, gone := range []uint64{1, 5, 10} {
		e := start(t, open, "orders")
		m := removals(t, e)
		readers := make([]interface {
			seeker
			Close()
		}, 11)
		for at := range uint64(10) {
			readers[at] = e.Reader("orders", 1)
			for next := uint64(1); next <= at; {
				got, err := readers[at].Next()
				if err != nil {
					t.Fatal(err)
				}
				next = got[len(got)-1].Index + 1
			}
			readers[at].Seek(at + 1)
		}
		m.delete(e, gone)
		for at := range uint64(10) {
			m.follow(readers[at], at+1)
			readers[at].Close()
		}
	}
}

func deleteUnknown(t *testing.T, open Open) {
	e := start(t, open, "orders")
	m := removals(t, e)
	for _, indexes := range [][]uint64{{0}, {11}, {3, 11}} {
		if _, _, err := e.Delete(t.Context(), "orders", indexes); !errors.Is(err, bus.ErrUnknownEvent) {
			t.Errorf("delete %v: got %v, want %v", indexes, err, bus.ErrUnknownEvent)
		}
	}
	if _, _, err := e.Delete(t.Context(), "other", []uint64{1}); !errors.Is(err, bus.ErrUnknownNamespace) {
		t.Errorf("of another namespace: got %v, want %v", err, bus.ErrUnknownNamespace)
	}
	if _, already, err := e.Delete(t.Context(), "orders", nil); err != nil || len(already) != 0 {
		t.Errorf("of none: got %v and %v", already, err)
	}
	m.all(e)
}

func deletedLast(t *testing.T, open Open) {
	e := start(t, open, "orders")
	mustAppend(t, e, event("orders.a", "1"), event("orders.b", "2"))
	mustAppend(t, e, event("orders.a", "3"))
	waitFor(t, e, "orders", 4)
	checkIf(t, e, onSubject(9), 0, 3, event("orders.a", "x")) // which has the engine know it
	for i, want := range []uint64{1, 0} {
		if _, _, err := e.Delete(t.Context(), "orders", []uint64{[]uint64{3, 1}[i]}); err != nil {
			t.Fatal(err)
		}
		checkIf(t, e, onSubject(9), 0, want, event("orders.a", "x"))
	}
	checkIf(t, e, onSubject(0), 4, 0, event("orders.a", "x"))
}

// removalsLikeAModel appends, deletes, compacts and opens again at random. What is
// compacted away must have had a newer event of its subject that was left.
func removalsLikeAModel(t *testing.T, open Open, compact Compact) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		e := open(t, dir, "orders")
		m := &remains{t: t, gone: make(map[uint64]string)}
		for range 60 {
			switch r.IntN(8) {
			case 0:
				if n := len(m.events); n > 0 {
					m.delete(e, uint64(1+r.IntN(n)), uint64(1+r.IntN(n)))
				}
			case 1:
				compact(t, e, "orders")
				m.compacted(e)
			case 2:
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				e = open(t, dir, "orders")
			case 3:
				m.newest(e)
			default:
				var batch []bus.Event
				for range 1 + r.IntN(12) {
					batch = append(batch, event(fmt.Sprintf("orders.%d", r.IntN(5)), fmt.Sprint(len(m.events)+len(batch))))
				}
				m.events = append(m.events, mustAppend(t, e, batch...)...)
				waitFor(t, e, "orders", uint64(len(m.events))+1)
			}
			if n := len(m.events); n > 0 {
				m.check(e, uint64(1+r.IntN(n)))
			}
		}
		m.all(e)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// compacted takes note of what a compaction has removed.
func (m *remains) compacted(e server.Engine) {
	m.t.Helper()
	last := m.last()
	r := e.Reader("orders", 1)
	defer r.Close()
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		removed, ok := bus.AsRemoved(err)
		if err != nil && !ok {
			m.t.Fatal(err)
		}
		if !ok {
			continue
		}
		for at := removed.From; at < removed.Next; at++ {
			if m.gone[at] != "" {
				continue
			}
			if subject := m.events[at-1].Subject; removed.Reason != bus.RemovedCompacted || last[subject] <= at {
				m.t.Fatalf("event %d of %s was removed (%s), and the newest of its subject is %d", at, subject, removed.Reason, last[subject])
			}
			m.gone[at] = removed.Reason
		}
		r.Seek(removed.Next)
	}
}
