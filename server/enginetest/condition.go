package enginetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"example.com/bus"
	"example.com/bus/server"
)

func onIndex(n uint64) bus.Condition   { return bus.Condition{Index: bus.Expect(n)} }
func onSubject(n uint64) bus.Condition { return bus.Condition{SubjectIndex: bus.Expect(n)} }

// checkIf appends on a condition and compares what comes of it: want is the index
// that the first event gets, or 0, and then actual the index that is refused with.
func checkIf(t *testing.T, e server.Engine, when bus.Condition, want, actual uint64, events ...bus.Event) {
	t.Helper()
	err := e.AppendIf(t.Context(), "orders", events, when)
	refused, _ := bus.AsError(err)
	switch {
	case want > 0 && (err != nil || events[0].Index != want):
		t.Fatalf("got index %d and %v, want %d", events[0].Index, err, want)
	case want == 0 && (!errors.Is(err, bus.ErrWrongIndex) || refused.Index != actual):
		t.Fatalf("got %v, want %v with index %d", err, bus.ErrWrongIndex, actual)
	case want == 0 && (events[0].Index != 0 || events[0].Id != ""):
		t.Fatalf("a refused event was given a place: %+v", events[0])
	}
}

func conditionOnNamespace(t *testing.T, open Open) {
	e := start(t, open, "orders")
	checkIf(t, e, onIndex(5), 0, 0, event("orders.a", "1"))
	checkIf(t, e, onIndex(0), 1, 0, event("orders.a", "1"))
	checkIf(t, e, onIndex(0), 0, 1, event("orders.a", "2"))
	mustAppend(t, e, numbered("orders.b", 4)...)
	checkIf(t, e, onIndex(1), 0, 5, numbered("orders.a", 3)...)
	checkIf(t, e, onIndex(5), 6, 0, numbered("orders.a", 3)...)
	checkIf(t, e, onIndex(8), 9, 0, event("orders.b", "1"), event("orders.c", "2"))
	if err := e.AppendIf(t.Context(), "orders", nil, bus.Condition{}); err != nil {
		t.Errorf("nothing on no condition: got %v, want nil", err)
	}
	if err := e.AppendIf(t.Context(), "orders", nil, onIndex(10)); !errors.Is(err, bus.ErrInvalidParameter) {
		t.Errorf("nothing on a condition: got %v, want %v", err, bus.ErrInvalidParameter)
	}
	if err := e.AppendIf(t.Context(), "other", numbered("other.a", 1), onIndex(0)); !errors.Is(err, bus.ErrUnknownNamespace) {
		t.Errorf("got %v, want %v", err, bus.ErrUnknownNamespace)
	}
	checkIf(t, e, bus.Condition{}, 11, 0, event("orders.a", "free"))
}

func conditionOnSubject(t *testing.T, open Open) {
	e := start(t, open, "orders")
	mustAppend(t, e, event("orders.a", "1"), event("orders.b", "2"), event("orders.a", "3"))
	checkIf(t, e, onSubject(1), 0, 3, event("orders.a", "x"))
	checkIf(t, e, onSubject(9), 0, 0, event("orders.new", "x"))
	checkIf(t, e, onSubject(3), 4, 0, event("orders.a", "4"), event("orders.a", "5"))
	checkIf(t, e, onSubject(4), 0, 5, event("orders.a", "x"))
	checkIf(t, e, onSubject(2), 6, 0, event("orders.b", "6"))
	checkIf(t, e, onSubject(0), 7, 0, event("orders.new", "7"))
	checkIf(t, e, onSubject(0), 0, 7, event("orders.new", "x"))
	mustAppend(t, e, event("orders.new", "8"))
	both := bus.Condition{Index: bus.Expect(8), SubjectIndex: bus.Expect(8)}
	checkIf(t, e, both, 9, 0, event("orders.new", "9"))
	checkIf(t, e, both, 0, 9, event("orders.new", "x"))
	if err := e.AppendIf(t.Context(), "orders", []bus.Event{event("orders.a", "1"), event("orders.b", "1")}, onSubject(5)); !errors.Is(err, bus.ErrInvalidParameter) {
		t.Errorf("two subjects: got %v, want %v", err, bus.ErrInvalidParameter)
	}
}

// oneWinner has 64 appenders expect one index, round by round, while others append to
// other subjects.
func oneWinner(t *testing.T, open Open) {
	e := start(t, open, "orders")
	last := uint64(0)
	for range 20 {
		won := make(chan uint64, 64)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				if i%8 == 0 {
					if err := e.Append(t.Context(), "orders", numbered("orders.other", 1)); err != nil {
						t.Errorf("append: %v", err)
					}
				}
				events := []bus.Event{event("orders.raced", fmt.Sprint(i))}
				err := e.AppendIf(t.Context(), "orders", events, onSubject(last))
				if err == nil {
					won <- events[0].Index
				} else if !errors.Is(err, bus.ErrWrongIndex) {
					t.Errorf("got %v, want %v", err, bus.ErrWrongIndex)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d of 64 won, want 1", len(won))
		}
		last = <-won
	}
}

// modelled appends at random, with conditions that hold and that do not, and compares
// with a map. newest compares what Newest says with it.
type modelled struct {
	t    *testing.T
	r    *rand.Rand
	last map[string]uint64
	next uint64
}

func (m *modelled) append(e server.Engine) {
	m.t.Helper()
	subject := fmt.Sprintf("orders.%d.%d", m.r.IntN(3), m.r.IntN(20))
	events := numbered(subject, 1+m.r.IntN(3))
	actual, when := m.next-1, bus.Condition{}
	switch m.r.IntN(4) {
	case 0:
		when = onIndex(actual)
	case 1:
		actual = m.last[subject]
		when = onSubject(actual)
	}
	if when.Asks() && m.r.IntN(3) == 0 {
		wrong := bus.Expect(actual + 1 + uint64(m.r.IntN(3)))
		if when.Index.Asked() {
			when.Index = wrong
		} else {
			when.SubjectIndex = wrong
		}
		checkIf(m.t, e, when, 0, actual, events...)
		return
	}
	checkIf(m.t, e, when, m.next, 0, events...)
	m.next += uint64(len(events))
	m.last[subject] = m.next - 1
}

func (m *modelled) newest(e server.Engine) {
	m.t.Helper()
	for _, texts := range [][]string{{"orders.>"}, {"orders.1.*"}, {"orders.0.7"}, {"orders.0.7", "orders.0.7", "orders.*.8"}, {"orders.none"}} {
		patterns := parse(m.t, texts...)
		want := make(map[uint64]bool)
		for subject, index := range m.last {
			for _, p := range patterns {
				if p.Match(subject) {
					want[index] = true
				}
			}
		}
		got, next, lost, err := e.Newest(m.t.Context(), "orders", patterns, 1000)
		if err != nil || next != m.next || len(got) != len(want) || len(lost) != 0 {
			m.t.Fatalf("%v: got %v, %d, %v and %v, want %d indexes below %d", texts, got, next, lost, err, len(want), m.next)
		}
		for i, index := range got {
			if !want[index] || i > 0 && got[i-1] >= index {
				m.t.Fatalf("%v: got %v, want %v in order", texts, got, want)
			}
		}
	}
}

func conditionsLikeAModel(t *testing.T, open Open) {
	m := &modelled{t: t, r: rand.New(rand.NewPCG(1, 2)), last: make(map[string]uint64), next: 1}
	grow := func(e server.Engine) {
		for i := range 150 {
			m.append(e)
			if i%25 == 0 {
				m.newest(e)
			}
		}
	}
	twice(t, open, grow, func(e server.Engine) {
		m.newest(e)
		grow(e)
	})
}

func newestBounds(t *testing.T, open Open) {
	e := start(t, open, "orders")
	if got, next, _, err := e.Newest(t.Context(), "orders", parse(t, "orders.>"), 10); err != nil || len(got) != 0 || next != 1 {
		t.Errorf("of an empty namespace: got %v, %d and %v, want none below 1", got, next, err)
	}
	mustAppend(t, e, event("orders.a", "1"), event("orders.b", "2"), event("orders.c", "3"))
	if _, _, _, err := e.Newest(t.Context(), "orders", parse(t, "orders.>"), 2); !errors.Is(err, bus.ErrTooManySubjects) {
		t.Errorf("got %v, want %v", err, bus.ErrTooManySubjects)
	}
	if got, _, _, err := e.Newest(t.Context(), "orders", parse(t, "orders.>"), 3); err != nil || len(got) != 3 {
		t.Errorf("got %v and %v, want 3 indexes", got, err)
	}
	if _, _, _, err := e.Newest(t.Context(), "other", parse(t, "other.>"), 3); !errors.Is(err, bus.ErrUnknownNamespace) {
		t.Errorf("got %v, want %v", err, bus.ErrUnknownNamespace)
	}
}

// newestBesideWriters: what is answered is readable at once, and is of one moment:
// the events that it leaves out have a newer one of their subject below next.
func newestBesideWriters(t *testing.T, open Open) {
	e := start(t, open, "orders")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && i < 400; i++ {
				if err := e.Append(t.Context(), "orders", []bus.Event{event(fmt.Sprintf("orders.%d", (w+i)%7), "1"), event("orders.all", "2")}); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	for range 20 {
		got, next, _, err := e.Newest(ctx, "orders", parse(t, "orders.>"), 100)
		if err != nil {
			t.Fatal(err)
		}
		all := readAll(t, e, "orders", 1)
		want := make(map[string]uint64)
		for _, ev := range all[:next-1] {
			want[ev.Subject] = ev.Index
		}
		if len(got) != len(want) {
			t.Fatalf("got %d indexes below %d, want %d", len(got), next, len(want))
		}
		for _, index := range got {
			if want[all[index-1].Subject] != index {
				t.Fatalf("got index %d, want %d for %s", index, want[all[index-1].Subject], all[index-1].Subject)
			}
		}
	}
	stop()
	wg.Wait()
}

// newestOver: of what is lost the one before counts for its subject, and its index for
// the namespace; and it is said. An engine that cannot count what was lost at the end
// goes on further behind.
func newestOver(t *testing.T, e server.Engine, last uint64, lost map[uint64]bool) {
	t.Helper()
	got, next, ranges, err := e.Newest(t.Context(), "orders", parse(t, "orders.created"), 10)
	if _, end := e.Bounds("orders"); err != nil || next != end || end <= last {
		t.Fatalf("got %v below %d and %v, want what is below %d", got, next, err, end)
	}
	want := last
	for ; want > 0 && lost[want]; want-- {
	}
	if want == 0 && len(got) != 0 || want > 0 && (len(got) != 1 || got[0] != want) {
		t.Errorf("got %v, want the index %d alone", got, want)
	}
	for _, r := range ranges {
		for index := r.From; index < r.Next; index++ {
			if !lost[index] && !r.AtMost {
				t.Errorf("index %d is said to be lost, and is not", index)
			}
			delete(lost, index)
		}
	}
	if len(lost) > 0 {
		t.Errorf("nothing is said of %v, which are lost", lost)
	}
	checkIf(t, e, onIndex(next+100), 0, next-1, event("orders.created", "x"))
	checkIf(t, e, onSubject(next+100), 0, want, event("orders.created", "x"))
}
