package disk

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
)

// dueBase is the moment from which the tests count.
var dueBase = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// putOff is an event that is due so many seconds after dueBase.
func putOff(seconds int) bus.Event {
	e := testEvent("orders.later", fmt.Sprint(seconds))
	e.Timing = &bus.Timing{DeliverAt: dueBase.Add(time.Duration(seconds) * time.Second)}
	return e
}

// releaseAt delivers what is due so many seconds after dueBase, and returns how many
// that were.
func releaseAt(t *testing.T, e *Engine, seconds int) int {
	t.Helper()
	released, _, err := e.Release(t.Context(), "orders", dueBase.Add(time.Duration(seconds)*time.Second), 1000)
	if err != nil {
		t.Fatalf("release: %v", err)
	}
	return len(released)
}

// checkDelays holds what the engine takes for waiting against its log, in which each
// event is delivered once at most, and behind the place where it waited. It returns
// what waits.
func checkDelays(t *testing.T, e *Engine) []uint64 {
	t.Helper()
	got, _ := readOn(t, e)
	waiting, done := make(map[uint64]bus.Event), make(map[uint64]bool)
	for _, ev := range got {
		switch {
		case ev.Waits():
			waiting[ev.Index] = ev
		case ev.GivenIndex() != ev.Index:
			n := ev.GivenIndex()
			if was, there := waiting[n]; done[n] || there && (was.Id != ev.Id || !was.CreatedAt.Equal(ev.CreatedAt) || string(was.Payload) != string(ev.Payload)) {
				t.Fatalf("index %d delivers %d as %+v, which was %+v, or was delivered before", ev.Index, n, ev, was)
			}
			done[n] = true
			if at, err := e.Find(t.Context(), "orders", ev.Id); err != nil || at != ev.Index {
				t.Fatalf("find %s: got %d and %v, want its delivery at %d", ev.Id, at, err, ev.Index)
			}
			delete(waiting, n)
		}
	}
	want := slices.Sorted(maps.Keys(waiting))
	waits, err := e.Delayed(t.Context(), "orders", 0, 1000)
	if err != nil || !slices.Equal(waits, want) {
		t.Fatalf("got %d and %v waiting, the log says %d", waits, err, want)
	}
	return waits
}

func TestSavedDelaysAreNotReadFromTheLogAgain(t *testing.T) {
	for name, sealing := range sealings {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := Options{Sealing: sealing}
			e := openTest(t, dir, o)
			mustAppend(t, e, putOff(1), putOff(2), putOff(3))
			releaseAt(t, e, 1)
			mustClose(t, e)
			for round := range 3 {
				e := openTest(t, dir, o)
				if got := checkDelays(t, e); len(got) != 2 {
					t.Fatalf("round %d: got %d waiting, want 2", round, got)
				}
				if saved, next := e.log("orders").ids.saved, e.log("orders").taken.next.Load(); saved < 5 {
					t.Errorf("round %d: got index %d saved of %d, want all", round, saved, next)
				}
				if waits := e.log("orders").ids.delays; len(waits.due) != 2 || waits.fresh() != 0 {
					t.Errorf("round %d: got %d known and %d of them to be saved, want none", round, len(waits.due), waits.fresh())
				}
				mustClose(t, e)
			}
		})
	}
}

// TestALostOrDamagedIndexLosesNoDelay damages the derived log in each way.
func TestALostOrDamagedIndexLosesNoDelay(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"lost":          func(t *testing.T, path string) { removeFile(t, path) },
		"empty":         func(t *testing.T, path string) { writeFile(t, nil, path) },
		"cut by a byte": func(t *testing.T, path string) { d := readFile(t, path); writeFile(t, d[:len(d)-1], path) },
		"a bit flipped": func(t *testing.T, path string) {
			d := readFile(t, path)
			d[len(d)-10] ^= 4
			writeFile(t, d, path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := openTest(t, dir, Options{})
			mustAppend(t, e, putOff(1), putOff(2), putOff(3))
			releaseAt(t, e, 1)
			mustClose(t, e)
			damage(t, filepath.Join(dir, derivedDir, "orders.log"))
			for range 2 {
				e = openTest(t, dir, Options{})
				if got := checkDelays(t, e); !slices.Equal(got, []uint64{2, 3}) {
					t.Fatalf("got %d waiting, want 2 and 3", got)
				}
				if got := releaseAt(t, e, 1); got != 0 {
					t.Errorf("got %d delivered again, want none", got)
				}
				mustClose(t, e)
			}
		})
	}
}

// delayedLife runs an engine three times until the power goes.
func delayedLife(t *testing.T, f *faultfs.FS, durability string) (answered int) {
	for life := range 3 {
		e, err := Open("data", powerOptions(t, f, durability))
		if err != nil {
			return answered
		}
		for step := range 2 {
			at := 2*life + step
			if e.Append(t.Context(), "orders", []bus.Event{putOff(at), testEvent("orders.now", "1"), putOff(at + 3)}) == nil {
				answered++
			}
			_, _, _ = e.Release(t.Context(), "orders", dueBase.Add(time.Duration(at)*time.Second), 1)
		}
		e.Close() // fails when the power is gone
	}
	return answered
}

func TestAfterAPowerCutEachDelayedEventIsDeliveredOnce(t *testing.T) {
	for _, durability := range []string{"always", "os"} {
		whole := faultfs.New()
		delayedLife(t, whole, durability)
		for n := 0; n <= whole.Calls(); n += 3 {
			f := faultfs.New()
			f.CutAfter(n + 1)
			answered := delayedLife(t, f, durability)
			for seed, keep := range []faultfs.Keep{faultfs.None, faultfs.All, faultfs.Random, faultfs.Random} {
				t.Run(fmt.Sprintf("%s/%d/%v/%d", durability, n, keep, seed), func(t *testing.T) {
					after := f.After(keep, rand.New(rand.NewPCG(uint64(n), uint64(seed))))
					for range 2 {
						e := openTest(t, "data", powerOptions(t, after, durability))
						checkDelays(t, e)
						mustAppend(t, e, testEvent("orders.now", "2")) // where the cut took some back
						releaseAt(t, e, 4)
						checkDelays(t, e)
						mustClose(t, e)
					}
					e := openTest(t, "data", powerOptions(t, after, durability))
					releaseAt(t, e, 1000)
					if got := checkDelays(t, e); len(got) != 0 {
						t.Errorf("got %d still waiting, want none", got)
					}
					if got, _ := readOn(t, e); durability == "always" && len(got) < 5*answered {
						t.Errorf("got %d events, want %d and their deliveries", len(got), 3*answered)
					}
					mustClose(t, e)
				})
			}
		}
	}
}

// TestASaveThatWasCutOffSaysNothingOfDeliveries writes what a cut between two commits
// of the derived log leaves: entries that no delta covers.
func TestASaveThatWasCutOffSaysNothingOfDeliveries(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, putOff(1), putOff(2))
	mustClose(t, e)
	e = openTest(t, dir, Options{})
	s := e.log("orders").ids
	if err := s.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut := delayDeltas(s.saved, span{next: s.saved + 1, at: dueBase}, []wait{{dueBase.UnixNano(), 77}}, []release{{1, 3}})
	if err := s.write(s.saved, cut); err != nil {
		t.Fatal(err)
	}
	mustClose(t, e)
	for range 3 {
		e = openTest(t, dir, Options{})
		if got := checkDelays(t, e); !slices.Equal(got, []uint64{1, 2}) {
			t.Fatalf("got %d waiting, want 1 and 2", got)
		}
		mustAppend(t, e, testEvent("orders.now", "1"))
		mustClose(t, e)
	}
}

func TestWhatRetentionDeletesBeforeItIsDueIsNotDeliveredAndCounted(t *testing.T) {
	synctest.Test(t, retentionOverDelays)
}

func retentionOverDelays(t *testing.T) {
	var said journal
	e := retained(t, faultfs.New(), Retention{MaxEvents: 40}, Options{Logger: said.logger()})
	mustAppend(t, e, putOff(1), putOff(2))
	for range 80 { // the keeper cuts no segment while others append
		fill(t, e, 5, 10)
		synctest.Wait()
	}
	if first, _ := e.Bounds("orders"); first <= 2 {
		t.Fatalf("got everything from %d on kept, want the first two deleted", first)
	}
	mustAppend(t, e, putOff(3))
	if got := e.Inspect("orders").Delayed; got != 1 {
		t.Errorf("got %d waiting, want the one that is kept", got)
	}
	if got := releaseAt(t, e, 10); got != 1 {
		t.Errorf("got %d delivered, want the one that is kept", got)
	}
	if info := e.Inspect("orders"); info.DelayedLost != 2 || info.Delayed != 0 {
		t.Errorf("got %d lost and %d waiting, want 2 and none", info.DelayedLost, info.Delayed)
	}
	wantLogged(t, &said, "events that waited for their delivery are not delivered", "events=2")
	mustClose(t, e)
}

func TestAnEventThatIsLostToDamageHoldsUpNoOther(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, testEvent("orders.now", "1"))
	mustAppend(t, e, putOff(1))
	mustAppend(t, e, putOff(2))
	mustClose(t, e)
	loser(Options{})(t, dir, "orders", 2)
	var said journal
	e = openTest(t, dir, Options{Logger: said.logger()})
	if got := releaseAt(t, e, 10) + releaseAt(t, e, 10); got != 1 {
		t.Errorf("got %d delivered, want the one that is there", got)
	}
	if got, err := e.Delayed(t.Context(), "orders", 0, 10); err != nil || len(got) != 0 {
		t.Errorf("got %d and %v waiting, want none", got, err)
	}
}

func TestOnAFullDiskWhatIsDueWaitsForRoom(t *testing.T) {
	var said strings.Builder
	e, disk, clock := openNearlyFull(t, &said)
	defer e.Close()
	mustAppend(t, e, putOff(1))
	disk.free.Store(0)
	clock.advance(time.Minute)
	for range 2 {
		if _, next, err := e.Release(t.Context(), "orders", dueBase.Add(time.Hour), 10); !errors.Is(err, bus.ErrInsufficientSpace) || !next.Equal(dueBase.Add(time.Second)) {
			t.Fatalf("got %v and next %s, want no space, and the same event next", err, next)
		}
	}
	if got := e.Inspect("orders").Delayed; got != 1 {
		t.Errorf("got %d waiting, want 1", got)
	}
	disk.free.Store(1 << 40)
	clock.advance(time.Minute)
	if got := releaseAt(t, e, 10); got != 1 {
		t.Errorf("got %d delivered, want 1", got)
	}
	checkDelays(t, e)
}

func TestARefusedAppendGivesItsPlacesBack(t *testing.T) {
	e := openTest(t, t.TempDir(), Options{MaxDelayed: 1})
	other := putOff(1)
	other.Subject = "app.later"
	for range 3 {
		if err := e.Append(t.Context(), "orders", []bus.Event{other}); err == nil || other.Id != "" {
			t.Fatalf("got %v and id %q, want it refused", err, other.Id)
		}
		when := bus.Condition{Index: bus.Expect(77)}
		if err := e.AppendIf(t.Context(), "orders", []bus.Event{putOff(1)}, when); !errors.Is(err, bus.ErrWrongIndex) {
			t.Fatalf("got %v, want %v", err, bus.ErrWrongIndex)
		}
	}
	mustAppend(t, e, putOff(1))
}

func TestAnEngineThatOnlyReadsSaysWhatWaits(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, putOff(1), putOff(2))
	reader := openTest(t, dir, Options{ReadOnly: true})
	if got := checkDelays(t, reader); len(got) != 2 {
		t.Errorf("got %d waiting, want 2", got)
	}
	if _, _, err := reader.Release(t.Context(), "orders", dueBase.Add(time.Hour), 10); err == nil {
		t.Error("got what is due delivered by who only reads, want an error")
	}
	if entries, err := os.ReadDir(filepath.Join(dir, derivedDir)); err != nil || len(entries) != 0 {
		t.Errorf("got %v and %v in the folder, want nothing", entries, err)
	}
}
