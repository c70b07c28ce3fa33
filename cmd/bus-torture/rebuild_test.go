package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// sectors makes data of n sectors that all say b.
func sectors(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n*sectorSize) }

func sectorOf(d disk, n int64) byte {
	page := d[n*sectorSize/pageSize]
	if page == nil {
		return 0
	}
	return page[n*sectorSize%pageSize]
}

// twoFlushes is a log with a write before each of two flushes, one while the first is
// under way, and two after the last.
func twoFlushes() []blockRecord {
	return []blockRecord{
		{blockWrite, 0, sectors(1, 2)},
		{kind: blockFlush},
		{blockWrite, 8 * sectorSize, sectors(2, 1)},
		{kind: blockFlushed, offset: 1},
		{blockWrite, sectorSize, sectors(3, 1)},
		{kind: blockFlush},
		{kind: blockFlushed, offset: 5},
		{blockWrite, 0, sectors(4, 16)},
		{blockWrite, 0, sectors(5, 1)},
	}
}

func TestALogIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	want := twoFlushes()
	for _, r := range want {
		if err := appendRecord(f, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(path)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %d records and %v, want the %d that were written", len(got), err, len(want))
	}
}

func TestAWriteDuringAFlushIsNotCoveredByIt(t *testing.T) {
	got := intervals(twoFlushes())
	want := []interval{{0, 0, 3}, {1, 4, 6}, {5, 7, 9}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAMomentIsDrawnFromItsIntervalAndHasSomethingOpen(t *testing.T) {
	log := twoFlushes()
	r := rand.New(rand.NewPCG(1, 1))
	for _, between := range intervals(log) {
		for range 100 {
			cut := between.draw(log, r)
			if cut.at < between.from || cut.at > between.to || cut.safe != between.safe {
				t.Fatalf("got %v of %v", cut, between)
			}
			if len(cut.open(log, allOfThem, sectorSize, r)) == 0 {
				t.Fatalf("nothing is open at %v", cut)
			}
		}
	}
}

func TestWhatIsOpenIsThereOrNotAndInAnyOfItsVersions(t *testing.T) {
	log, r := twoFlushes(), rand.New(rand.NewPCG(1, 1))
	base := make(disk)
	base.write(0, sectors(1, 2))
	cut := cutPoint{9, 5}
	if got := base.with(cut.open(log, noneOfThem, sectorSize, r)); sectorOf(got, 0) != 1 || sectorOf(got, 15) != 0 {
		t.Errorf("got %d and %d without what is open, want 1 and 0", sectorOf(got, 0), sectorOf(got, 15))
	}
	if got := base.with(cut.open(log, allOfThem, sectorSize, r)); sectorOf(got, 0) != 5 || sectorOf(got, 15) != 4 {
		t.Errorf("got %d and %d with all of it, want 5 and 4", sectorOf(got, 0), sectorOf(got, 15))
	}
	first, torn := map[byte]bool{}, false
	for range 200 {
		got := base.with(cut.open(log, tornSectors, sectorSize, r))
		first[sectorOf(got, 0)] = true
		torn = torn || sectorOf(got, 14) != sectorOf(got, 15)
		whole := base.with(cut.open(log, wholeWrites, sectorSize, r))
		if sectorOf(whole, 14) != sectorOf(whole, 15) {
			t.Fatal("a write that is there or not was torn")
		}
	}
	for range 200 {
		got := base.with(cut.open(log, tornSectors, pageSize, r))
		if sectorOf(got, 2) != sectorOf(got, 7) || sectorOf(got, 8) != sectorOf(got, 15) {
			t.Fatal("a page was torn that was to be whole")
		}
	}
	if len(first) != 3 || !torn {
		t.Errorf("got the versions %v of a sector, torn %v, want 1, 4 and 5, and torn writes", first, torn)
	}
	base.with(cut.open(log, noneOfThem, sectorSize, r)).clone().write(0, sectors(9, 1))
	if sectorOf(base, 0) != 1 || sectorOf(base, 15) != 0 {
		t.Error("an image has changed what it was made of")
	}
}

func TestADiskIsSavedAndReadBackWithItsHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	want := make(disk)
	want.write(3*pageSize-sectorSize, sectors(7, 2)) // over the edge of a page
	want.write(9*pageSize, sectors(0, 8))
	if err := want.save(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	got, err := readDisk(path)
	if err != nil || len(got) != 2 || fmt.Sprint(got[2]) != fmt.Sprint(want[2]) || fmt.Sprint(got[3]) != fmt.Sprint(want[3]) {
		t.Errorf("got %d pages and %v, want the 2 that are not zero", len(got), err)
	}
}

func TestAnAnswerCountsOnlyForDisksThatWereAskedForNothingSince(t *testing.T) {
	j := newJournal()
	asked := uint64(0)
	j.disk = func() uint64 { return asked }
	var all []event
	for i, at := range []uint64{3, 7, 7} {
		e := &entry{Name: fmt.Sprintf("e%d", i), Namespace: "a"}
		j.begin(false, []*entry{e})
		asked = at
		j.answer(e, receipt{Id: e.Name, Index: uint64(i + 1)})
		all = append(all, event{Id: e.Name, Index: uint64(i + 1), Payload: []byte(payload(e.Name))})
	}
	for _, c := range []struct {
		cut  uint64
		has  int
		lost int
	}{{2, 0, 0}, {3, 0, 1}, {3, 1, 0}, {6, 1, 0}, {7, 1, 2}, {7, 3, 0}} {
		v := j.judge(map[string][]event{"a": all[:c.has]}, j.before(c.cut), false)
		if v.lost != c.lost || v.faults() != c.lost {
			t.Errorf("after %d records with %d events: got %s, want lost %d", c.cut, c.has, v, c.lost)
		}
	}
}
