package disk

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/bus"
)

const mib = 1 << 20

// fakeDisk is one of which the test says what is free.
type fakeDisk struct {
	free  atomic.Int64
	asked atomic.Int64
	fails atomic.Bool
}

func (d *fakeDisk) ask() (int64, error) {
	d.asked.Add(1)
	if d.fails.Load() {
		return 0, syscall.EIO
	}
	return d.free.Load(), nil
}

// fakeClock moves only when it is told to.
type fakeClock struct{ at atomic.Int64 }

func (c *fakeClock) now() time.Time          { return time.Unix(1_700_000_000, c.at.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.at.Add(int64(d)) }

func openNearlyFull(t *testing.T, said *strings.Builder) (*Engine, *fakeDisk, *fakeClock) {
	d, c := &fakeDisk{}, &fakeClock{}
	d.free.Store(100 * mib)
	o := Options{Namespaces: []string{"app", "orders"}, MinFree: 16 * mib, Now: c.now, free: d.ask}
	if said != nil {
		o.Logger = slog.New(slog.NewTextHandler(said, nil))
	}
	return openTest(t, t.TempDir(), o), d, c
}

func TestBelowTheHeadroomEventsAreRefusedAndTakenAgainWhenThereIsRoom(t *testing.T) {
	var said strings.Builder
	e, d, c := openNearlyFull(t, &said)
	kept := mustAppend(t, e, testEvent("orders.created", "1"))
	d.free.Store(16*mib - 1)
	c.advance(lookEvery)
	for range 3 {
		err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", "2")})
		if !errors.Is(err, bus.ErrInsufficientSpace) || !strings.Contains(err.Error(), "make room") {
			t.Fatalf("got %v, want %v and what to do", err, bus.ErrInsufficientSpace)
		}
	}
	for _, name := range e.Namespaces() {
		info := e.Inspect(name)
		if info.FreeBytes == nil || *info.FreeBytes != 16*mib-1 || !strings.Contains(info.Problem, "16777215 bytes are free, wanted at least 16777216") {
			t.Errorf("%s: got %d free and %q", name, info.FreeBytes, info.Problem)
		}
	}
	if got, _ := readOn(t, e); len(got) != len(kept) {
		t.Errorf("reading: got %d events, want %d", len(got), len(kept))
	}
	d.free.Store(16*mib + 1000)
	if got := mustAppend(t, e, testEvent("orders.created", "2"))[0].Index; got != 2 {
		t.Errorf("with room again: got index %d, want 2 at once", got)
	}
	if got := e.Inspect("app").Problem; got != "" {
		t.Errorf("with room again: got problem %q", got)
	}
	if got := strings.Count(said.String(), "too little room"); got != 1 {
		t.Errorf("logged %d times, want once, not for every event that is refused", got)
	}
	if got := strings.Count(said.String(), "there is room on the disk again"); got != 1 {
		t.Errorf("logged %d times that there is room, want once", got)
	}
}

func TestTheHeadroomCountsWhatIsWrittenBetweenTwoLooksAtTheDisk(t *testing.T) {
	e, d, _ := openNearlyFull(t, nil)
	d.free.Store(16*mib + 2000)
	mustAppend(t, e, testEvent("orders.created", `"`+strings.Repeat("x", 1000)+`"`)) // the clock stands: looked at once
	asked := d.asked.Load()
	d.free.Store(16*mib + 700)
	if err := e.Append(t.Context(), "app", []bus.Event{testEvent("app.1", `"`+strings.Repeat("x", 500)+`"`)}); !errors.Is(err, bus.ErrInsufficientSpace) {
		t.Errorf("got %v, want %v: the event before has used it up", err, bus.ErrInsufficientSpace)
	}
	if got := d.asked.Load() - asked; got != 1 {
		t.Errorf("asked the disk %d times, want once", got)
	}
	if got := e.Inspect("app").Problem; !strings.Contains(got, "too little room") {
		t.Errorf("got problem %q, want the disk to be full: a small event has found no room", got)
	}
}

// A look at the disk does not see what is on its way to it.
func TestWhatIsOnItsWayToTheDiskIsNotGivenAwayTwice(t *testing.T) {
	d, c := &fakeDisk{}, &fakeClock{}
	d.free.Store(96 * mib)
	h := newHeadroom("", Options{MinFree: 16 * mib, Now: c.now, free: d.ask, Logger: slog.New(slog.DiscardHandler)})
	taken := 0
	for range 24 {
		c.advance(lookEvery)
		if h.take(8*mib) == "" {
			taken++
		}
	}
	if taken != 9 { // 8.5 MiB each, of 80
		t.Errorf("took %d batches of 8 MiB at once, want 9", taken)
	}
	if _, problem := h.inspect("orders"); problem != "" {
		t.Errorf("got %q, want small events to be taken still", problem)
	}
	for range taken {
		h.ended(8*mib, true)
	}
	d.free.Store((96 - 72) * mib)
	if problem := h.take(8 * mib); problem == "" {
		t.Error("took a batch that leaves less than what stays free")
	}
	if problem := h.take(7 * mib); problem != "" {
		t.Errorf("got %q for what there is room for", problem)
	}
	h.ended(7*mib, false)
	if h.flying != 0 {
		t.Errorf("got %d bytes on their way, want none", h.flying)
	}
}

func TestADiskThatCannotBeAskedIsSaidOnce(t *testing.T) {
	var said strings.Builder
	e, d, c := openNearlyFull(t, &said)
	d.fails.Store(true)
	for range 3 {
		c.advance(lookEvery)
		mustAppend(t, e, testEvent("orders.created", "1"))
	}
	if got := strings.Count(said.String(), "are not known"); got != 1 {
		t.Errorf("said %d times, want once", got)
	}
}

func TestTheFreeBytesAreKnownWhenTheDirectoryWasRenamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e := openTest(t, dir, Options{MinFree: 1 << 60})
	if err := os.Rename(dir, dir+"-moved"); err != nil {
		t.Fatal(err)
	}
	if got := e.Inspect("orders").FreeBytes; got == nil || *got <= 0 {
		t.Errorf("got %v, want what is free", got)
	}
	if err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", "1")}); !errors.Is(err, bus.ErrInsufficientSpace) {
		t.Errorf("got %v, want %v: no disk has 2^60 bytes", err, bus.ErrInsufficientSpace)
	}
}

func TestTheDiskIsNotAskedForEveryEvent(t *testing.T) {
	e, d, c := openNearlyFull(t, nil)
	for range 50 {
		mustAppend(t, e, testEvent("orders.created", "1"))
	}
	if got := d.asked.Load(); got != 1 {
		t.Errorf("asked %d times in no time, want once", got)
	}
	c.advance(-time.Hour)
	mustAppend(t, e, testEvent("orders.created", "1"))
	if got := d.asked.Load(); got != 2 {
		t.Errorf("asked %d times, want again when the clock has gone back", got)
	}
}

func TestADiskThatCannotBeAskedIsNotTakenForFull(t *testing.T) {
	e, d, _ := openNearlyFull(t, nil)
	d.fails.Store(true)
	mustAppend(t, e, testEvent("orders.created", "1"))
	if info := e.Inspect("orders"); info.Problem != "" || info.FreeBytes != nil {
		t.Errorf("got %q and %v free, want nothing", info.Problem, info.FreeBytes)
	}
}

// Under a quota the disk says that there is room and refuses all the same.
func TestARefusedWriteMakesTheNamespaceUnreadyForAWhile(t *testing.T) {
	e, f, _ := openFailing(t)
	c := &fakeClock{}
	e.room.now = c.now
	var full error = syscall.EDQUOT
	f.write.Store(&full)
	refuse := func() {
		t.Helper()
		if err := e.Append(t.Context(), "orders", strange(0, 1)); !errors.Is(err, bus.ErrInsufficientSpace) {
			t.Fatalf("got %v, want %v", err, bus.ErrInsufficientSpace)
		}
		if got := e.Inspect("orders").Problem; !strings.Contains(got, "full") {
			t.Fatalf("got problem %q, want a full disk", got)
		}
	}
	refuse()
	c.advance(refusedFor)
	if got := e.Inspect("orders").Problem; got != "" {
		t.Errorf("later: got %q, want ready, or nobody would find out that there is room", got)
	}
	refuse()
	f.write.Store(nil)
	mustAppend(t, e, strange(0, 1)...)
	if got := e.Inspect("orders").Problem; got != "" {
		t.Errorf("after an event was taken: got %q", got)
	}
}

// A namespace whose log has space in its file takes events on a full disk; who
// publishes to the others is to be told.
func TestANamespaceThatGoesOnDoesNotMakeOneReadyThatTheDiskHasRefused(t *testing.T) {
	h := newHeadroom("", Options{Logger: slog.New(slog.DiscardHandler)})
	h.told("orders", true)
	h.told("app", false)
	if _, problem := h.inspect("orders"); !strings.Contains(problem, "full") {
		t.Errorf("orders: got problem %q, want a full disk", problem)
	}
	if _, problem := h.inspect("app"); problem != "" {
		t.Errorf("app: got problem %q, want none", problem)
	}
	h.told("orders", false)
	if _, problem := h.inspect("orders"); problem != "" {
		t.Errorf("orders, when it takes events again: got problem %q", problem)
	}
}

func TestTheFreeBytesOfARealDiskAreKnown(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{MinFree: 1 << 60})
	if got := e.Inspect("orders").FreeBytes; got == nil || *got <= 0 {
		t.Errorf("got %v, want what is free", got)
	}
	if err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.created", "1")}); !errors.Is(err, bus.ErrInsufficientSpace) {
		t.Errorf("got %v, want %v: no disk has 2^60 bytes", err, bus.ErrInsufficientSpace)
	}
}
