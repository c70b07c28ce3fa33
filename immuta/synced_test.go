package immuta

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// closedRun leaves a log of 12 commits that were synced together, at Close, and
// returns it with where they start.
func closedRun(t *testing.T, o Options) *forgery {
	t.Helper()
	f := &forgery{t: t, dir: t.TempDir(), o: o}
	l, err := Open(f.dir, "orders", o)
	if err != nil {
		t.Fatal(err)
	}
	f.seg = &segment{path: logPath(f.dir, "orders")}
	for i := range 12 {
		f.offsets = append(f.offsets, l.Stat().Bytes)
		if _, err := l.Append(t.Context(), [][]byte{bytes.Repeat([]byte{byte('a' + i)}, 2000)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// unwrite makes zeros of the first sector that starts behind an offset; the index
// stays.
func (f *forgery) unwrite(offset int64) {
	f.t.Helper()
	b := f.bytes()
	at := (offset + 511) &^ 511
	clear(b[at : at+512])
	if err := os.WriteFile(f.seg.path, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func TestASectorThatRotsToZerosInARunThatTheIndexShowsToBeSyncedIsDamage(t *testing.T) {
	for name, o := range map[string]Options{"plain": {Sync: SyncOS}, "sealed": {Sync: SyncOS, Sealing: fakeSealing{1}}} {
		f := closedRun(t, o)
		f.unwrite(f.offsets[4] + blockHeader)
		report, err := Verify(f.dir, "orders", o)
		if err != nil || report.Torn != nil || len(report.Damage) != 1 || report.Damage[0].From != 5 || report.Damage[0].Lost != 1 || report.Records != 11 {
			t.Fatalf("%s: verify: got %+v and %v, want one record lost of twelve", name, report, err)
		}
		did, err := Repair(f.dir, "orders", o, true)
		if err != nil || !did.Done {
			t.Fatalf("%s: repair: got %+v and %v", name, did, err)
		}
		if err := os.Remove(filepath.Join(f.dir, "orders.idx")); err != nil {
			t.Fatal(err)
		}
		if records, damage, gaps := f.records(); records != 11 || damage > 0 || gaps != 1 {
			t.Errorf("%s: got %d records, %d damaged places and %d gaps, want 11, none and 1", name, records, damage, gaps)
		}
	}
}

// TestWithoutTheIndexAnUnsettledRunIsCutFromTheFirstUnwrittenSectorOn: nothing
// tells it from what a power cut leaves.
func TestWithoutTheIndexAnUnsettledRunIsCutFromTheFirstUnwrittenSectorOn(t *testing.T) {
	f := closedRun(t, Options{Sync: SyncOS})
	f.unwrite(f.offsets[4] + blockHeader)
	f.put(f.bytes())
	report, err := Verify(f.dir, "orders", f.o)
	if err != nil || report.Torn == nil || len(report.Damage) > 0 || report.Next != 5 {
		t.Errorf("got %+v and %v, want a torn end from record 5 on", report, err)
	}
}

// TestACommitThatTheIndexShowsToBeSyncedIsNotCut has the start of a long last
// commit rot; entries for later blocks of it are there.
func TestACommitThatTheIndexShowsToBeSyncedIsNotCut(t *testing.T) {
	f := closedRun(t, Options{})
	l, err := Open(f.dir, "orders", f.o)
	if err != nil {
		t.Fatal(err)
	}
	at := l.Stat().Bytes
	records := make([][]byte, 100)
	for i := range records {
		records[i] = bytes.Repeat([]byte{'x'}, 3000)
	}
	if _, err := l.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	l.Close()
	f.unwrite(at)
	before := f.bytes()
	if l, err = Open(f.dir, "orders", f.o); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Err() == nil || !bytes.Equal(f.bytes(), before) {
		t.Errorf("got %v, want damage, and an answered commit not to be cut", l.Err())
	}
}
