package immuta

import (
	"errors"
	"fmt"
	"testing"
)

// header changes the header of block i alone: its own sum is good, that of its
// body is what it was, or wrong when rot is set.
func (f *forgery) header(i int, rot bool, change func(h *block)) {
	f.t.Helper()
	b := f.bytes()
	at := f.offsets[i]
	h, why, err := decodeBlock(b[at:], f.seg.seedAt(at))
	if why != "" || err != nil {
		f.t.Fatal(why, err)
	}
	change(&h)
	if rot {
		h.sum ^= 0x5555
	}
	h.encode(b[at:], f.seg.seedAt(at))
	f.put(b)
}

// readsFrom says whether a reader that starts at each index is given that very
// record, or told at once that it is damaged.
func (f *forgery) readsFrom(n int, bad uint64) {
	f.t.Helper()
	o := f.o
	o.ReadOnly = true
	l, err := Open(f.dir, "orders", o)
	if err != nil {
		f.t.Fatal(err)
	}
	defer l.Close()
	for i := uint64(1); i <= uint64(n); i++ {
		r := l.Reader(i)
		b, err := r.Next()
		c, damaged := errors.AsType[*CorruptError](err)
		switch {
		case damaged && i == bad && c.Next == bad+1:
		case err != nil || i == bad || b.First != i || b.Records[0][0] != byte('a'+i-1):
			f.t.Errorf("from %d: got %+v and %v", i, b, err)
		}
	}
}

// longer makes the second of the blocks cover those up to the given one.
func (f *forgery) longer(upTo int64) func(h *block) {
	grow := uint32(upTo - f.offsets[2])
	return func(h *block) { h.body, h.plain = h.body+grow, h.plain+grow }
}

func TestAForgedLengthHidesNoGoodBlockOfASealedLog(t *testing.T) {
	for name, forged := range map[string]func(f *forgery){
		"to a later block":            func(f *forgery) { f.header(1, true, f.longer(f.offsets[9])) },
		"to a later block, count too": func(f *forgery) { f.header(1, true, f.counts(8, f.longer(f.offsets[9]))) },
		"with a good sum":             func(f *forgery) { f.head(1, f.longer(f.offsets[9])) },
		"with a good sum, count too":  func(f *forgery) { f.head(1, f.counts(8, f.longer(f.offsets[9]))) },
		"to the end":                  func(f *forgery) { f.header(1, true, f.longer(int64(len(f.bytes())))) },
		"to the end, with a good sum": func(f *forgery) { f.head(1, f.longer(int64(len(f.bytes())))) },
		"behind the end":              func(f *forgery) { f.header(1, true, f.longer(int64(len(f.bytes()))+4096)) },
		"into the middle of a block":  func(f *forgery) { f.header(1, true, f.longer(f.offsets[9]+16)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := forge(t, Options{Sealing: fakeSealing{1}}, 12)
			forged(f)
			f.readsFrom(12, 2)
			if records, damage, gaps := f.records(); records != 11 || damage != 1 || gaps != 0 {
				t.Errorf("read: got %d records, %d damaged places and %d gaps, want 11, 1 and 0", records, damage, gaps)
			}
			before := f.bytes()
			l, err := Open(f.dir, "orders", f.o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append(t.Context(), [][]byte{nil}); err == nil {
				t.Error("a log with a forged block takes appends")
			}
			l.Close()
			if string(f.bytes()) != string(before) {
				t.Error("opening has written to a damaged log")
			}
			did, err := Repair(f.dir, "orders", f.o, true)
			if err != nil || len(did.Gaps) != 1 || did.Gaps[0].From != 2 || did.Gaps[0].Next != 3 || did.Gaps[0].AtMost {
				t.Fatalf("repair: got %+v and %v, want a gap for record 2 alone", did, err)
			}
			if records, damage, gaps := f.records(); records != 11 || damage != 0 || gaps != 1 {
				t.Errorf("repaired: got %d records, %d damaged places and %d gaps, want 11, 0 and 1", records, damage, gaps)
			}
		})
	}
}

func (f *forgery) counts(n uint32, change func(h *block)) func(h *block) {
	return func(h *block) { h.count = n; change(h) }
}

func TestACountForgedAtTheEndOfASealedLogGivesNoIndexTwice(t *testing.T) {
	for _, count := range []uint32{1, 5, 4000} {
		f := forge(t, Options{Sealing: fakeSealing{1}}, 3)
		l, err := Open(f.dir, "orders", f.o)
		if err != nil {
			t.Fatal(err)
		}
		f.offsets = append(f.offsets, l.Stat().Bytes)
		records := make([][]byte, 5)
		got, err := l.Append(t.Context(), records)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		f.header(3, true, func(h *block) { h.count = count })
		did, err := Repair(f.dir, "orders", f.o, true)
		if err != nil || len(did.Gaps) != 1 || !did.Gaps[0].AtMost {
			t.Fatalf("count %d: got %+v and %v, want a gap of at most so many", count, did, err)
		}
		if l, err = Open(f.dir, "orders", f.o); err != nil {
			t.Fatal(err)
		}
		again, err := l.Append(t.Context(), [][]byte{nil})
		if want := got.First + 5; err != nil || again.First < want || again.First > want+100 {
			t.Errorf("count %d: got index %d and %v, want %d or little more", count, again.First, err, want)
		}
		l.Close()
	}
}

// TestALengthBehindTheEndDoesNotHaveSettledBlocksCut: the file ends inside the
// frame that the header tells of, but blocks behind it show that it had been
// synced.
func TestALengthBehindTheEndDoesNotHaveSettledBlocksCut(t *testing.T) {
	for name, sealing := range map[string]Sealing{"plain": nil, "sealed": fakeSealing{1}} {
		f := forge(t, Options{Sealing: sealing}, 6)
		f.header(1, false, f.longer(int64(len(f.bytes()))+8))
		before := f.bytes()
		l, err := Open(f.dir, "orders", f.o)
		if err != nil {
			t.Fatal(err)
		}
		if l.Err() == nil {
			t.Errorf("%s: the log takes appends, want it to be damaged", name)
		}
		l.Close()
		if string(f.bytes()) != string(before) {
			t.Errorf("%s: opening has cut answered commits", name)
		}
		report, err := Verify(f.dir, "orders", f.o)
		if err != nil || len(report.Damage) != 1 || report.Damage[0].Lost != 1 || report.Records != 5 || report.Torn != nil {
			t.Errorf("%s: verify: got %+v and %v, want one record lost of six", name, report, err)
		}
		if did, err := Repair(f.dir, "orders", f.o, true); err != nil || !did.Done {
			t.Fatal(fmt.Errorf("%s: %+v %w", name, did, err))
		}
		if records, damage, gaps := f.records(); records != 5 || damage > 0 || gaps != 1 {
			t.Errorf("%s: got %d records, %d damaged places and %d gaps, want 5, none and 1", name, records, damage, gaps)
		}
	}
}
