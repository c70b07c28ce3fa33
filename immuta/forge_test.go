package immuta

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// forgery is a log in a directory, with all that is needed to write frames with
// good sums into it. The seals it cannot make.
type forgery struct {
	t       *testing.T
	dir     string
	o       Options
	seg     *segment // without its key
	offsets []int64  // of the blocks
}

// forge makes a log of n commits of one block each.
func forge(t *testing.T, o Options, n int) *forgery {
	t.Helper()
	f := &forgery{t: t, dir: t.TempDir(), o: o}
	l, err := Open(f.dir, "orders", o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		f.offsets = append(f.offsets, l.Stat().Bytes)
		if i == 0 {
			f.offsets[0] = l.seg.data()
		}
		if _, err := l.Append(t.Context(), [][]byte{[]byte(strings.Repeat(string(rune('a'+i)), 40))}); err != nil {
			t.Fatal(err)
		}
	}
	header := l.seg.header
	l.Close()
	f.seg = &segment{header: header, seed: checksum(header.salt[:]), path: filepath.Join(f.dir, "orders.log")}
	f.seg.sealed = false // so that frames can be built without a key
	return f
}

func (f *forgery) bytes() []byte {
	f.t.Helper()
	b, err := os.ReadFile(f.seg.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// put writes a log and forgets its index.
func (f *forgery) put(b []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.seg.path, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	os.Remove(filepath.Join(f.dir, "orders.idx"))
}

// head changes the header of block i and makes its sums good.
func (f *forgery) head(i int, change func(h *block)) {
	f.t.Helper()
	b := f.bytes()
	at := f.offsets[i]
	h, why, err := decodeBlock(b[at:], f.seg.seedAt(at))
	if why != "" || err != nil {
		f.t.Fatal(why, err)
	}
	change(&h)
	f.seg.finish(&h, b[at:at+h.frame()], at)
	f.put(b)
}

// records reads all there is, over damage and gaps, which it counts.
func (f *forgery) records() (records, damage, gaps int) {
	f.t.Helper()
	o := f.o
	o.ReadOnly = true
	l, err := Open(f.dir, "orders", o)
	if err != nil {
		f.t.Fatal(err)
	}
	defer l.Close()
	r := l.Reader(1)
	for {
		b, err := r.Next()
		if c, ok := errors.AsType[*CorruptError](err); ok {
			if damage++; c.Next == 0 {
				return records, damage, gaps
			}
			r.Seek(c.Next)
			continue
		}
		if g, ok := errors.AsType[*GapError](err); ok {
			gaps++
			r.Seek(g.Next)
			continue
		}
		if err == io.EOF {
			return records, damage, gaps
		}
		if err != nil {
			f.t.Fatal(err)
		}
		records += len(b.Records)
	}
}

func TestNobodyWithoutTheKeySaysThatASealedLogHasLostSomething(t *testing.T) {
	f := forge(t, Options{Sealing: fakeSealing{1}}, 5)
	f.head(2, func(h *block) {
		h.kind, h.commit, h.flags = kindGap, 99, flagLast|flagSettled
	})
	if records, damage, gaps := f.records(); records != 4 || damage == 0 || gaps > 0 {
		t.Errorf("got %d records, %d damaged places and %d gaps, want damage", records, damage, gaps)
	}
	report, err := Verify(f.dir, "orders", f.o)
	if err != nil || len(report.Damage) != 1 || len(report.Gaps) > 0 || report.Records != 4 {
		t.Errorf("verify: got %+v and %v, want damage", report, err)
	}
}

func TestAForgedHeaderDoesNotLeadARepairPastGoodBlocks(t *testing.T) {
	for name, change := range map[string]func(h *block){
		"a longer body":  func(h *block) { h.body += 2 * uint32(h.frame()) },
		"other indexes":  func(h *block) { h.first += 1000; h.commit += 1000 },
		"a gap":          func(h *block) { h.kind, h.count = kindGap, 1000 },
		"a later commit": func(h *block) { h.commit-- },
	} {
		f := forge(t, Options{Sealing: fakeSealing{1}}, 6)
		f.head(1, change)
		did, err := Repair(f.dir, "orders", f.o, true)
		if err != nil || !did.Done {
			t.Fatalf("%s: got %+v and %v", name, did, err)
		}
		if records, damage, gaps := f.records(); records != 5 || damage > 0 || gaps != 1 {
			t.Errorf("%s: got %d records, %d damaged places and %d gaps, want the five good ones and a gap", name, records, damage, gaps)
		}
	}
}

// TestAForgedHeaderBehindDamageIsNotTakenForTheNextGoodBlock has two of them in
// a row: the second claims indexes that would swallow all good ones.
func TestAForgedHeaderBehindDamageIsNotTakenForTheNextGoodBlock(t *testing.T) {
	f := forge(t, Options{Sealing: fakeSealing{1}}, 6)
	f.head(2, func(h *block) { h.first += 1000; h.commit += 1000 })
	b := f.bytes()
	b[f.offsets[1]+9] ^= 1
	f.put(b)
	if _, err := Repair(f.dir, "orders", f.o, true); err != nil {
		t.Fatal(err)
	}
	if records, damage, gaps := f.records(); records != 4 || damage > 0 || gaps != 1 {
		t.Errorf("got %d records, %d damaged places and %d gaps, want four records and a gap", records, damage, gaps)
	}
}

func TestDamageThatCostsNoRecordIsSetAsideAndNotSaid(t *testing.T) {
	f := forge(t, Options{}, 1)
	b := f.bytes()
	enc := encoder{seg: f.seg, blockSize: 4096}
	for _, first := range []uint64{1, 2, 3} { // the first once more, in a place of its own
		c := &commit{first: first, next: first + 1, time: 1 << 60, offset: int64(len(b))}
		if err := enc.encode(c, [][]byte{[]byte("again")}, flagSettled); err != nil {
			t.Fatal(err)
		}
		b = append(b, c.frames...)
	}
	f.put(b)
	report, err := Verify(f.dir, "orders", f.o)
	if err != nil || len(report.Damage) != 1 || report.Damage[0].Lost != 0 || report.Damage[0].Bytes != 64 {
		t.Fatalf("verify: got %+v and %v, want a place of no record", report, err)
	}
	did, err := Repair(f.dir, "orders", f.o, true)
	if err != nil || !did.Done || len(did.Gaps) != 1 || did.Gaps[0].Next != did.Gaps[0].From {
		t.Fatalf("repair: got %+v and %v", did, err)
	}
	if records, damage, gaps := f.records(); records != 3 || damage+gaps > 0 {
		t.Errorf("got %d records, %d damaged places and %d gaps, want three records", records, damage, gaps)
	}
	l, err := Open(f.dir, "orders", f.o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, err := l.Append(t.Context(), [][]byte{nil}); err != nil || got.First != 4 {
		t.Errorf("append: got %d and %v, want 4", got.First, err)
	}
}

// TestAGapOfSeveralFramesIsSaidAsOne loses more bytes than a block can have.
func TestAGapOfSeveralFramesIsSaidAsOne(t *testing.T) {
	dir := t.TempDir()
	o := Options{MaxRecord: maxRecord, Sync: SyncOS}
	l, err := Open(dir, "orders", o)
	if err != nil {
		t.Fatal(err)
	}
	big := make([]byte, maxRecord)
	for i := range big {
		big[i] = byte(i | 1)
	}
	for _, r := range [][]byte{[]byte("before"), big, big, []byte("after")} {
		if _, err := l.Append(t.Context(), [][]byte{r}); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	file, err := os.OpenFile(filepath.Join(dir, "orders.log"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, at := range []int64{192, 192 + blockHeader + int64(padded(maxRecord+4))} { // the headers of both
		if _, err := file.WriteAt([]byte("damage"), at+8); err != nil {
			t.Fatal(err)
		}
	}
	did, err := Repair(dir, "orders", o, true)
	if err != nil || len(did.Gaps) != 1 || did.Gaps[0].From != 2 || did.Gaps[0].Next != 4 {
		t.Fatalf("got %+v and %v, want one gap of two records", did, err)
	}
	if l, err = Open(dir, "orders", o); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := l.Reader(2)
	_, err = r.Next()
	if g, ok := errors.AsType[*GapError](err); !ok || g.From != 2 || g.Next != 4 {
		t.Fatalf("got %v, want the whole gap at once", err)
	}
	r.Seek(4)
	if b, err := r.Next(); err != nil || string(b.Records[0]) != "after" {
		t.Fatalf("got %v and %v behind the gap", b, err)
	}
	if report, err := Verify(dir, "orders", o); err != nil || len(report.Gaps) != 1 || len(report.Damage) > 0 {
		t.Fatalf("verify: got %+v and %v", report, err)
	}
}
