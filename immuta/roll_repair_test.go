package immuta_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// harms are what may happen to the segment with the records 4 to 6 of a log that
// has them up to 10, and what is left of them.
var harms = []struct {
	name string
	harm func(t *testing.T, fs *faultfs.FS)
	file string // that the damage is said to be in
	lost string
	left string
}{
	{"a bit turns in the middle", func(t *testing.T, fs *faultfs.FS) {
		b, _ := fs.ReadFile(closedFile(4))
		b[128+64+60] ^= 1 // in the body of the second block
		fs.WriteFile(closedFile(4), b)
	}, closedFile(4), "5-5", "1 2 3 4 6 7 8 9 10"},
	{"the end is cut off", func(t *testing.T, fs *faultfs.FS) {
		b, _ := fs.ReadFile(closedFile(4))
		fs.WriteFile(closedFile(4), b[:len(b)-64])
	}, closedFile(4), "6-6", "1 2 3 4 5 7 8 9 10"},
	{"the end is cut off inside a block", func(t *testing.T, fs *faultfs.FS) {
		b, _ := fs.ReadFile(closedFile(4))
		fs.WriteFile(closedFile(4), b[:len(b)-70])
	}, closedFile(4), "5-6", "1 2 3 4 7 8 9 10"},
	{"the end becomes zeros", func(t *testing.T, fs *faultfs.FS) {
		b, _ := fs.ReadFile(closedFile(4))
		clear(b[len(b)-64:])
		fs.WriteFile(closedFile(4), b)
	}, closedFile(4), "6-6", "1 2 3 4 5 7 8 9 10"},
	{"it is missing", func(t *testing.T, fs *faultfs.FS) {
		if err := fs.Remove(closedFile(4)); err != nil {
			t.Fatal(err)
		}
	}, closedFile(1), "4-6", "1 2 3 7 8 9 10"},
}

// readPast reads all, stepping over what cannot be read, and says what that was.
func readPast(t *testing.T, log *immuta.Log) (left, lost string, gaps int) {
	t.Helper()
	r := log.Reader(1)
	defer r.Close()
	var got, without []string
	for {
		b, err := r.Next()
		if err == io.EOF {
			return strings.Join(got, " "), strings.Join(without, " "), gaps
		}
		if damage, ok := errors.AsType[*immuta.CorruptError](err); ok {
			without = append(without, fmt.Sprintf("%d-%d", damage.From, damage.Next-1))
			r.Seek(damage.Next)
			continue
		}
		if gap, ok := errors.AsType[*immuta.GapError](err); ok {
			gaps++
			without = append(without, fmt.Sprintf("%d-%d", gap.From, gap.Next-1))
			r.Seek(gap.Next)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range b.Records {
			got = append(got, string(rec))
		}
	}
}

func TestDamageInAClosedSegmentIsToldWithItsFileAndIsRepairedThere(t *testing.T) {
	for _, h := range harms {
		t.Run(h.name, func(t *testing.T) {
			fs := faultfs.New()
			log := rolled(t, fs, immuta.Options{}, 3)
			appendOne(t, log, "10")
			log.Close()
			h.harm(t, fs)
			log = open(t, fs, immuta.Options{})
			if left, lost, _ := readPast(t, log); left != h.left || lost != h.lost {
				t.Errorf("got %s without %s, want %s without %s", left, lost, h.left, h.lost)
			}
			if err := log.Err(); err != nil {
				t.Errorf("the log takes no appends: %v", err)
			}
			log.Close()
			found, err := immuta.Verify(dir, name, immuta.Options{FS: fs})
			if err != nil || len(found.Damage) != 1 || found.Damage[0].Path != h.file || found.Torn != nil {
				t.Fatalf("verify: got %+v and %v, want damage of %s", found.Damage, err, h.file)
			}
			if d := found.Damage[0]; fmt.Sprintf("%d-%d", d.From, d.Next-1) != h.lost || d.Lost != d.Next-d.From || d.AtMost {
				t.Errorf("verify: got %+v, want %s lost", d, h.lost)
			}
			done, err := immuta.Repair(dir, name, immuta.Options{FS: fs}, true)
			if err != nil || !done.Done || len(done.Gaps) != 1 {
				t.Fatalf("repair: got %+v and %v, want one gap", done, err)
			}
			if found, err := immuta.Verify(dir, name, immuta.Options{FS: fs}); err != nil || len(found.Damage) > 0 || found.Next != 11 {
				t.Fatalf("verify after the repair: got %+v and %v, want no damage", found, err)
			}
			log = open(t, fs, immuta.Options{})
			if left, lost, gaps := readPast(t, log); left != h.left || lost != h.lost || gaps != 1 {
				t.Errorf("after the repair: got %s without %s in %d gaps, want %s without %s in one", left, lost, gaps, h.left, h.lost)
			}
			if done, err := immuta.Repair(dir, name, immuta.Options{FS: fs}, false); err != nil || len(done.Gaps) > 0 {
				t.Errorf("a second repair: got %+v and %v, want nothing to do", done.Gaps, err)
			}
		})
	}
}

func TestAClosedSegmentWithADamagedHeaderLosesItsOwnRecordsOnly(t *testing.T) {
	fs := faultfs.New()
	rolled(t, fs, immuta.Options{}, 3).Close()
	b, _ := fs.ReadFile(closedFile(4))
	b[20] ^= 4
	fs.WriteFile(closedFile(4), b)
	log := open(t, fs, immuta.Options{})
	if left, lost, _ := readPast(t, log); left != "1 2 3 7 8 9" || lost != "4-6" {
		t.Errorf("got %s without %s, want 1 2 3 7 8 9 without 4-6", left, lost)
	}
	found, err := immuta.Verify(dir, name, immuta.Options{FS: fs})
	if err != nil || len(found.Damage) != 1 || found.Damage[0].Path != closedFile(4) || found.Damage[0].Lost != 3 {
		t.Errorf("verify: got %+v and %v, want 3 records of %s lost", found.Damage, err, closedFile(4))
	}
}

func TestEachSegmentHasItsOwnSalt(t *testing.T) {
	fs := faultfs.New()
	rolled(t, fs, immuta.Options{Sealing: immuta.FakeSealing(1)}, 2).Close()
	salts := map[string]bool{}
	for _, path := range []string{closedFile(1), closedFile(4), logFile} {
		b, _ := fs.ReadFile(path)
		salts[string(b[40:72])] = true
	}
	if len(salts) != 3 {
		t.Errorf("got %d salts of three segments, want three", len(salts))
	}
}

func TestABlockOfAnotherSegmentIsRefused(t *testing.T) {
	for _, sealing := range []immuta.Sealing{nil, immuta.FakeSealing(1)} {
		fs := faultfs.New()
		rolled(t, fs, immuta.Options{Sealing: sealing}, 3).Close()
		a, _ := fs.ReadFile(closedFile(1))
		b, _ := fs.ReadFile(closedFile(4))
		fs.WriteFile(closedFile(4), append(b[:len(b)-64:len(b)-64], a[len(a)-64:]...))
		left, lost, _ := readPast(t, open(t, fs, immuta.Options{Sealing: sealing}))
		if lost == "" || !strings.HasPrefix(left, "1 2 3 4 ") || !strings.HasSuffix(left, " 7 8 9") {
			t.Errorf("got %s without %q, want the end of the second segment lost", left, lost)
		}
	}
}
