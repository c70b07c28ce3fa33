package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta"
)

func onSubject(n uint64) bus.Condition { return bus.Condition{SubjectIndex: bus.Expect(n)} }

func one(subject string) []bus.Event { return []bus.Event{testEvent(subject, "1")} }

// wantNewest compares the indexes that all subjects of orders end with.
func wantNewest(t *testing.T, e *Engine, next uint64, want ...uint64) []bus.DamageError {
	t.Helper()
	got, at, lost, err := e.Newest(t.Context(), "orders", []bus.Pattern{mustPattern(t, "orders.>")}, 1000)
	if err != nil || !slices.Equal(got, want) || at != next {
		t.Errorf("got %v below %d and %v, want %v below %d", got, at, err, want, next)
	}
	return lost
}

func mustPattern(t *testing.T, text string) bus.Pattern {
	t.Helper()
	p, err := bus.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOfMoreSubjectsThanAreKeptTheAnswerIsARefusalAndNotAGuess(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{LastSubjects: 3})
	mustAppend(t, e, testEvent("orders.a", "1"), testEvent("orders.b", "2"))
	wantNewest(t, e, 3, 1, 2)
	if got := e.Inspect("orders").Subjects; got != 2 {
		t.Errorf("got %d subjects kept, want 2", got)
	}
	if err := e.AppendIf(t.Context(), "orders", one("orders.c"), onSubject(0)); err != nil {
		t.Errorf("the third: got %v, want it stored", err)
	}
	mustAppend(t, e, testEvent("orders.d", "4"))
	for range 2 {
		if err := e.AppendIf(t.Context(), "orders", one("orders.a"), onSubject(1)); !errors.Is(err, bus.ErrTooManySubjects) {
			t.Errorf("got %v, want %v", err, bus.ErrTooManySubjects)
		}
		if _, _, _, err := e.Newest(t.Context(), "orders", []bus.Pattern{mustPattern(t, "orders.a")}, 10); !errors.Is(err, bus.ErrTooManySubjects) {
			t.Errorf("got %v, want %v", err, bus.ErrTooManySubjects)
		}
		_, next := e.Bounds("orders")
		if err := e.AppendIf(t.Context(), "orders", one("orders.e"), bus.Condition{Index: bus.Expect(next - 1)}); err != nil {
			t.Errorf("on the namespace: got %v, want it stored", err)
		}
		mustClose(t, e)
		e = openTest(t, dir, Options{LastSubjects: 3})
	}
}

// One who asks while there are the last few subjects to go, and one that is only found
// to be too many when the append gets its turn.
func TestAConditionIsRefusedWhenTheSubjectsBecomeTooManyInFrontOfIt(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{LastSubjects: 50})
	wantNewest(t, e, 1)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			err := e.AppendIf(context.Background(), "orders", one(fmt.Sprintf("orders.%d", i)), onSubject(0))
			if err != nil && !errors.Is(err, bus.ErrTooManySubjects) {
				t.Errorf("got %v, want it stored or %v", err, bus.ErrTooManySubjects)
			}
		})
	}
	wg.Wait()
	if _, next := e.Bounds("orders"); next-1 < 50 || next-1 > 52 {
		t.Errorf("got %d events, want the 50 that are kept, and the one that found out", next-1)
	}
}

func TestWhatAFullDiskRefusedMovesNoLastIndex(t *testing.T) {
	e, f, _ := openFailing(t)
	mustAppend(t, e, testEvent("orders.a", "1"))
	wantNewest(t, e, 2, 1)
	var full error = syscall.ENOSPC
	f.write.Store(&full)
	for _, subject := range []string{"orders.a", "orders.new"} {
		if err := e.Append(t.Context(), "orders", append(one(subject), one(subject)...)); !errors.Is(err, bus.ErrInsufficientSpace) {
			t.Errorf("got %v, want %v", err, bus.ErrInsufficientSpace)
		}
	}
	f.write.Store(nil)
	wantNewest(t, e, 2, 1)
	for i, subject := range []string{"orders.a", "orders.new"} {
		if err := e.AppendIf(t.Context(), "orders", one(subject), onSubject(uint64(1-i))); err != nil {
			t.Errorf("%s: got %v, want it stored on what it was before", subject, err)
		}
	}
	wantNewest(t, e, 4, 2, 3)
}

// With an interval an event is answered before it can be read, and when that sync
// fails it never will be: it must not hide the one before it.
func TestTheNewestOfALogThatFailedIsWhatCanBeRead(t *testing.T) {
	for _, asked := range []bool{false, true} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, derivedDir), 0o700); err != nil {
			t.Fatal(err)
		}
		f := &failFS{FS: immuta.OS()}
		e := openTest(t, dir, Options{FS: f, Durability: mustDurability(t, "interval=2ms")})
		mustAppend(t, e, testEvent("orders.a", "1"), testEvent("orders.b", "2"))
		if asked {
			wantNewest(t, e, 3, 1, 2)
		} else if err := e.Wait(t.Context(), "orders", 2); err != nil {
			t.Fatal(err)
		}
		var broken error = syscall.EIO
		f.sync.Store(&broken)
		mustAppend(t, e, testEvent("orders.a", "3"))
		wantNewest(t, e, 3, 1, 2)
		e.Close()
	}
}

// Appends go on while the first to ask has the log read: what he is told is true.
func TestTheFirstToAskHearsOfWhatIsAppendedMeanwhile(t *testing.T) {
	dir, next := t.TempDir(), uint64(1)
	for range 5 {
		e := openTest(t, dir, Options{})
		subject := func(i int) string { return fmt.Sprintf("orders.%d", i%17) }
		for i := range 300 {
			next = mustAppend(t, e, testEvent(subject(i), "1"))[0].Index + 1
		}
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 50 {
					if err := e.Append(context.Background(), "orders", one(subject(w+3*i))); err != nil {
						t.Errorf("append: %v", err)
					}
				}
			})
			wg.Go(func() {
				_ = e.AppendIf(context.Background(), "orders", one(subject(w)), onSubject(1)) // long gone
			})
		}
		wg.Wait()
		last := make(map[string]uint64)
		events, _ := readOn(t, e)
		for _, ev := range events {
			last[ev.Subject], next = ev.Index, ev.Index+1
		}
		wantNewest(t, e, next, slices.Sorted(maps.Values(last))...)
		mustClose(t, e)
	}
}

func TestClosingEndsAReadingThatSomebodyWaitsFor(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	for range 20 {
		mustAppend(t, e, strange(0, 500)...)
	}
	mustClose(t, e)
	for range 5 {
		e := openTest(t, dir, Options{})
		answer := make(chan error)
		go func() {
			_, _, _, err := e.Newest(context.Background(), "orders", []bus.Pattern{mustPattern(t, "orders.>")}, 10)
			answer <- err
		}()
		mustClose(t, e)
		if err := <-answer; err != nil && !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("got %v, want an answer or %v", err, bus.ErrUnavailable)
		}
	}
}

func TestWhoDoesNotWaitForTheReadingEndsWithHisContext(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		_, _, _, err := e.Newest(ctx, "orders", []bus.Pattern{mustPattern(t, "orders.>")}, 10)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want an answer or %v", err, context.Canceled)
		}
	}
	wantNewest(t, e, 1)
}

// Damage that nobody has repaired: the older one comes in its place, and it is said.
func TestOfADamagedNewestEventTheOneBeforeCountsAndTheDamageIsSaid(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	for range 5 {
		mustAppend(t, e, testEvent("orders.a", "1"))
	}
	mustAppend(t, e, testEvent("orders.b", "1"))
	mustClose(t, e)
	log := readFile(t, dir, "orders.log")
	at := 128
	for range 4 {
		at += 56 + (int(binary.LittleEndian.Uint32(log[at+8:]))+7)&^7
	}
	log[at+60] ^= 8
	writeFile(t, log, dir, "orders.log")
	e = openTest(t, dir, Options{})
	lost := wantNewest(t, e, 7, 4, 6)
	if len(lost) != 1 || lost[0].From != 5 || lost[0].Next != 6 {
		t.Errorf("got %v, want event 5 to be said", lost)
	}
}
