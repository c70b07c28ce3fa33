package immuta_test

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// TestALogWithAGapIsWrittenAndReadForever has a repaired log in the tree.
func TestALogWithAGapIsWrittenAndReadForever(t *testing.T) {
	golden := filepath.Join("testdata", "format-1-gap.hex")
	o := immuta.Options{
		Rand: rand.NewChaCha8([32]byte{1}),
		Now:  func() time.Time { return time.Unix(1_700_000_000, 42) },
	}
	s := makeSmall(t, o, someCommits...)
	bad := slices.Clone(s.log)
	bad[s.ends[1]+70] ^= 1 // in the first block of the second commit
	bad[len(bad)-100] ^= 1
	fs := faultfs.New()
	fs.WriteFile(logFile, bad)
	o.FS, o.Now = fs, func() time.Time { return time.Unix(1_800_000_000, 7) }
	if _, err := immuta.Repair(dir, name, o, true); err != nil {
		t.Fatal(err)
	}
	made, _ := fs.ReadFile(logFile)
	if *update {
		if err := os.WriteFile(golden, hexLines(made), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(made, want) {
		t.Errorf("got a log of %d bytes that differs from the golden one of %d", len(made), len(want))
	}
	fs = faultfs.New()
	fs.WriteFile(logFile, want)
	served, gaps := readOver(t, open(t, fs, immuta.Options{ReadOnly: true}))
	if len(served) != len(s.records)-2 || len(gaps) != 2 || gaps[0].From != 4 || gaps[0].Next != 5 || gaps[0].Repaired.Unix() != 1_800_000_000 {
		t.Fatalf("got %d records and %v, want all but two", len(served), gaps)
	}
	for i, rec := range served {
		if rec != s.records[i-1] {
			t.Errorf("record %d: got %.40q, want %.40q", i, rec, s.records[i-1])
		}
	}
}

// TestEveryPlaceAndTimeOfARepairedLogIsFound has a log with many index entries,
// wounds of all sizes, and the index of before, of after, and none.
func TestEveryPlaceAndTimeOfARepairedLogIsFound(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		second := int64(1000)
		o.Now = func() time.Time { second++; return time.Unix(second, 0) }
		var commits [][]string
		for i := range 120 {
			commits = append(commits, []string{strings.Repeat(string(rune('a'+i%26)), 4000), "small"})
		}
		s := makeSmall(t, o, commits...)
		bad := slices.Clone(s.log)
		for _, commit := range []int{0, 17, 18, 19, 20, 63, 119} {
			bad[s.ends[commit]+300] ^= 1
		}
		for i := s.ends[80]; i < s.ends[100]; i++ {
			bad[i] = 7
		}
		for _, when := range []string{"before", "after", "none"} {
			fs := faultfs.New()
			fs.WriteFile(logFile, bad)
			fs.WriteFile(idxFile, s.idx)
			o := s.o
			o.FS = fs
			if _, err := immuta.Repair(dir, name, o, true); err != nil {
				t.Fatal(err)
			}
			switch when {
			case "before":
				fs.WriteFile(idxFile, s.idx)
			case "none":
				fs.WriteFile(idxFile, nil)
			}
			l := open(t, fs, o)
			s.findsAll(t, l)
			l.Close()
		}
	})
}

// findsAll starts a reader at every index, and asks for the time of each.
func (s *small) findsAll(t *testing.T, l *immuta.Log) {
	t.Helper()
	_, gaps := readOver(t, l)
	for i, want := range s.records {
		index := uint64(i + 1)
		lost := slices.ContainsFunc(gaps, func(g *immuta.GapError) bool { return g.From <= index && index < g.Next })
		r := l.Reader(index)
		b, err := r.Next()
		r.Close()
		gap, isGap := errors.AsType[*immuta.GapError](err)
		switch {
		case lost && (!isGap || gap.From != index):
			t.Fatalf("record %d: got %v, want a gap from there", index, err)
		case !lost && (err != nil || b.First != index || string(b.Records[0]) != want):
			t.Fatalf("record %d: got a block at %d and %v", index, b.First, err)
		}
		// Two records a commit, a commit a second: what was committed then must
		// not be passed by.
		at := time.Unix(1002+int64(i/2), 0)
		if got, err := l.IndexAt(at); err != nil || got > index || !lost && got != index-uint64(i%2) && !s.inGap(gaps, got) {
			t.Fatalf("index at the time of %d: got %d and %v", index, got, err)
		}
	}
}

func (s *small) inGap(gaps []*immuta.GapError, index uint64) bool {
	return slices.ContainsFunc(gaps, func(g *immuta.GapError) bool { return g.From <= index && index < g.Next })
}

// TestAFailingCallOfARepairLeavesTheLogAndSaysSo fails each call once. After the
// rename only the directory's sync is left, and either log is good then.
func TestAFailingCallOfARepairLeavesTheLogAndSaysSo(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		bad := s.turned(s.ends[1]*8 + 700)
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			for n := 1; ; n++ {
				fs, hit, op := faultfs.New(), false, ""
				fs.WriteFile(logFile, bad)
				fs.Inject(func(c faultfs.Call) error {
					if c.Changes() && c.N == n {
						hit, op = true, c.Op
						return cause
					}
					return nil
				})
				o := s.o
				o.FS = fs
				did, err := immuta.Repair(dir, name, o, true)
				fs.Inject(nil)
				now, _ := fs.ReadFile(logFile)
				changed := !slices.Equal(now, bad)
				if err != nil && (did.Done != changed || !errors.Is(err, cause) || changed && op != "syncdir") {
					t.Fatalf("call %d (%s): got %+v and %v; changed is %v", n, op, did, err, changed)
				}
				if err != nil && changed == strings.Contains(err.Error(), "the log is as it was") {
					t.Fatalf("call %d (%s): got %v; changed is %v", n, op, err, changed)
				}
				if err == nil && (!did.Done || !changed) {
					t.Fatalf("call %d (%s): got %+v, and the log is as it was", n, op, did)
				}
				if _, err := immuta.Repair(dir, name, o, true); err != nil {
					t.Fatalf("call %d (%s): the second try: %v", n, op, err)
				}
				s.isGood(t, fs, immuta.Report{Damage: []immuta.Damage{{From: 1}}})
				if !hit {
					break
				}
			}
		}
	})
}

// smallDisk is a disk that says how much room it has.
type smallDisk struct {
	*faultfs.FS
	free int64 // below 0: it does not say
}

func (d smallDisk) Free(string) (int64, error) {
	if d.free < 0 {
		return 0, errors.ErrUnsupported
	}
	return d.free, nil
}

func TestADiskThatDoesNotSayHowMuchRoomItHasIsRepairedAllTheSame(t *testing.T) {
	s := makeSmall(t, immuta.Options{}, someCommits...)
	fs := faultfs.New()
	fs.WriteFile(logFile, s.turned(s.ends[1]*8+700))
	if did, err := immuta.Repair(dir, name, immuta.Options{FS: smallDisk{fs, -1}}, true); err != nil || !did.Done {
		t.Fatalf("got %+v and %v", did, err)
	}
}

func TestARepairWithoutRoomIsRefusedBeforeItWrites(t *testing.T) {
	s := makeSmall(t, immuta.Options{}, someCommits...)
	fs := faultfs.New()
	fs.WriteFile(logFile, s.turned(s.ends[1]*8+700))
	disk := smallDisk{fs, int64(len(s.log))}
	_, err := immuta.Repair(dir, name, immuta.Options{FS: disk}, true)
	if err == nil || !strings.Contains(err.Error(), "make room") || fs.Calls() > 0 {
		t.Fatalf("got %v after %d calls, want a refusal", err, fs.Calls())
	}
	disk.free *= 2
	if did, err := immuta.Repair(dir, name, immuta.Options{FS: disk}, true); err != nil || !did.Done {
		t.Fatalf("with room: got %+v and %v", did, err)
	}
}

// FuzzRepair lays any bytes over any part of a log, and cuts it anywhere: what is
// repaired opens, serves what was outside the damage, says the rest, and takes
// more at an index that nobody had.
func FuzzRepair(f *testing.F) {
	plain := makeSmall(f, immuta.Options{}, someCommits...)
	sealed := makeSmall(f, immuta.Options{Sealing: immuta.FakeSealing(1)}, someCommits...)
	f.Add(uint16(200), uint16(0), false, []byte{1})
	f.Add(uint16(3000), uint16(0), true, make([]byte, 600))
	f.Add(uint16(500), uint16(100), true, plain.log[300:900])
	f.Add(uint16(2500), uint16(3), false, plain.log[2504:2700])
	f.Fuzz(func(t *testing.T, at, cut uint16, seal bool, over []byte) {
		s := plain
		if seal {
			s = sealed
		}
		bad := slices.Clone(s.log)
		from := s.ends[0] + int(at)%(len(bad)-s.ends[0])
		copy(bad[from:], over)
		if cut == 0 { // a shorter log has lost what was answered: nobody can know
			s.repaired(t, bad, s.idx)
			return
		}
		bad = bad[:max(s.ends[0], len(bad)-int(cut))]
		fs := faultfs.New()
		fs.WriteFile(logFile, bad)
		o := s.o
		o.FS = fs
		if _, err := immuta.Repair(dir, name, o, true); err != nil {
			t.Fatal(err)
		}
		if after, err := immuta.Verify(dir, name, o); err != nil || len(after.Damage) > 0 {
			t.Fatalf("verify: got %+v and %v", after, err)
		}
		appends(t, o)
	})
}
