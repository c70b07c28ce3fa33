package disk

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func TestARepairedNamespaceTakesEventsAndSaysWhatIsLost(t *testing.T) {
	for kind, sealing := range sealings {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			e := openTest(t, dir, Options{Sealing: sealing})
			var all []bus.Event
			for i := range 30 {
				all = append(all, mustAppend(t, e, strange(i*4, 4)...)...)
			}
			own := mustAppend(t, e, testEvent("orders.created", "1"))
			mustClose(t, e)
			log := readFile(t, dir, "orders.log")
			log[len(log)/2] ^= 1
			log[len(log)-20] ^= 1 // the end, too: it takes no more events
			writeFile(t, log, dir, "orders.log")

			if _, err := Repair(dir, "orders", Options{Sealing: sealing}, false); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(t, dir, "orders.log"), log) {
				t.Fatal("a dry run has written")
			}
			did, err := Repair(dir, "orders", Options{Sealing: sealing}, true)
			if err != nil || !did.Done || len(did.Gaps) != 2 {
				t.Fatalf("got %+v and %v, want two gaps", did, err)
			}
			checkVerify(t, dir, sealing, func(r *Report) bool { return r.Good() && len(r.Gaps) == 2 && r.Decoded })

			var j journal
			e = openTest(t, dir, Options{Sealing: sealing, Logger: j.logger()})
			got, damage := readOn(t, e)
			if len(got) != 116 || len(damage) != 2 || damage[0].Next-damage[0].From != 4 || damage[1].From != own[0].Index {
				t.Fatalf("got %d events and %v, want all but four and the last", len(got), damage)
			}
			if damage[0].Repaired.IsZero() || !strings.Contains(damage[0].Error(), "repaired") {
				t.Errorf("got %v, want the day of the repair", damage[0])
			}
			checkFound(t, e, got)
			for _, lost := range all[damage[0].From-1 : damage[0].Next-1] {
				if at, err := e.Find(t.Context(), "orders", lost.Id); !errors.Is(err, bus.ErrUnknownEvent) {
					t.Errorf("a lost id of another log: got %d and %v, want %v", at, err, bus.ErrUnknownEvent)
				}
			}
			if at, err := e.Find(t.Context(), "orders", own[0].Id); err != nil || at != own[0].Index {
				t.Errorf("a lost id of this log: got %d and %v, want its index", at, err)
			}
			more := mustAppend(t, e, strange(500, 2)...)
			if more[0].Index != damage[1].Next {
				t.Errorf("got index %d behind the gap, want %d", more[0].Index, damage[1].Next)
			}
			checkFound(t, e, more)
			if problem := e.Inspect("orders").Problem; problem != "" {
				t.Errorf("got problem %q", problem)
			}
			mustClose(t, e)
			// The saved index of ids, which spans the gap, is believed from now on.
			e = openTest(t, dir, Options{Sealing: sealing, Logger: j.logger()})
			checkFound(t, e, append(got, more...))
			mustClose(t, e)
			e = openTest(t, dir, Options{Sealing: sealing, Logger: j.logger()})
			checkFound(t, e, append(got, more...))
			mustClose(t, e)
			if n := strings.Count(j.String(), "made anew"); n > 1 {
				t.Errorf("got the index of ids made anew %d times:\n%s", n, j.String())
			}
		})
	}
}

func TestARepairBesideAServerIsRefusedAndNamesIt(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, strange(0, 3)...)
	if _, err := Repair(dir, "orders", Options{}, true); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid") {
		t.Errorf("got %v, want %v with the holder", err, ErrLocked)
	}
	if _, err := Repair(dir, "orders", Options{}, false); err != nil {
		t.Errorf("a dry run beside a server: got %v", err)
	}
}

// TestEveryTurnedBitOfEveryOtherFileIsHarmless is about what is beside the logs:
// it is made anew, or not looked at, and never believed.
func TestEveryTurnedBitOfEveryOtherFileIsHarmless(t *testing.T) {
	for kind, sealing := range sealings {
		t.Run(kind, func(t *testing.T) {
			whole := faultfs.New()
			o := Options{FS: whole, Namespaces: []string{"orders"}, Sealing: sealing, cutAt: smallGroups(Options{}).cutAt}
			var all []bus.Event
			for i := range 2 {
				e, err := Open("data", o)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, mustAppend(t, e, strange(i*12, 12)...)...)
				all = append(all, mustAppend(t, e, testEvent("orders.created", "1"))...)
				mustClose(t, e)
			}
			others := slices.DeleteFunc(whole.Names(), func(path string) bool { return path == "data/orders.log" })
			if !slices.Equal(others, []string{"data/derived/orders.idx", "data/derived/orders.log", "data/derived/orders.subjects.idx", "data/derived/orders.subjects.log", "data/lock", "data/orders.idx"}) {
				t.Fatalf("got files %v", others)
			}
			for _, path := range others {
				b, _ := whole.ReadFile(path)
				for bit := range len(b) * 8 {
					turned := slices.Clone(b)
					turned[bit/8] ^= 1 << (bit % 8)
					fs := whole.After(faultfs.All, nil)
					fs.WriteFile(path, turned)
					o.FS = fs
					checkHarmless(t, o, all)
					if t.Failed() {
						t.Fatalf("bit %d of %s", bit, path)
					}
				}
			}
		})
	}
}

// checkHarmless wants all events at their places, found by their ids, hidden
// from nobody who looks for their subjects, and room for more.
func checkHarmless(t *testing.T, o Options, all []bus.Event) {
	t.Helper()
	e, err := Open("data", o)
	if err != nil {
		t.Errorf("open: %v", err)
		return
	}
	defer mustClose(t, e)
	got, damage := readOn(t, e)
	if len(got) != len(all) || len(damage) > 0 {
		t.Errorf("got %d events and %v, want %d", len(got), damage, len(all))
		return
	}
	for i := range all {
		if got[i].Id != all[i].Id || got[i].Index != all[i].Index || !bytes.Equal(got[i].Payload, all[i].Payload) {
			t.Errorf("got %+v, want %+v", got[i], all[i])
		}
	}
	checkFound(t, e, all)
	awaitSubjects(t, e)
	for i := range all {
		for _, from := range []uint64{1, all[i].Index} {
			if at, _ := skipOne(t, e, from, all[i].Subject); at > all[i].Index {
				t.Errorf("%s from %d: got %d, and there is one at %d", all[i].Subject, from, at, all[i].Index)
			}
		}
	}
	if at, err := e.Find(t.Context(), "orders", "mine-never"); !errors.Is(err, bus.ErrUnknownEvent) {
		t.Errorf("an unknown id: got %d and %v", at, err)
	}
	if at, err := e.IndexAt(t.Context(), "orders", all[len(all)-1].CreatedAt); err != nil || at > uint64(len(all)) {
		t.Errorf("the time of the last event: got %d and %v", at, err)
	}
	if more := mustAppend(t, e, strange(90, 2)...); more[0].Index != uint64(len(all)+1) {
		t.Errorf("got index %d, want %d", more[0].Index, len(all)+1)
	}
}

func TestADamagedFileHeaderIsRefusedByARepair(t *testing.T) {
	dir := t.TempDir()
	e := openTest(t, dir, Options{})
	mustAppend(t, e, strange(0, 3)...)
	mustClose(t, e)
	log := readFile(t, dir, "orders.log")
	log[60] ^= 1
	writeFile(t, log, dir, "orders.log")
	if _, err := Repair(dir, "orders", Options{}, true); err == nil {
		t.Fatal("a log without its salt was repaired")
	} else if _, ok := errors.AsType[*immuta.CorruptError](err); !ok {
		t.Errorf("got %v, want a CorruptError", err)
	}
	if !bytes.Equal(readFile(t, dir, "orders.log"), log) {
		t.Error("the file was written to")
	}
}
