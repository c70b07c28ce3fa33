package immuta_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// readOver reads all that is there, over gaps, which it returns.
func readOver(t testing.TB, l *immuta.Log) (served map[uint64]string, gaps []*immuta.GapError) {
	t.Helper()
	served = map[uint64]string{}
	r := l.Reader(1)
	defer r.Close()
	for next := uint64(1); ; {
		b, err := r.Next()
		if err == io.EOF {
			return served, gaps
		}
		if gap, ok := errors.AsType[*immuta.GapError](err); ok {
			if gap.From != next || gap.Next <= gap.From || gap.Repaired.IsZero() {
				t.Fatalf("got the gap %+v at %d", gap, next)
			}
			if again, err := r.Next(); err == nil || err.Error() != gap.Error() {
				t.Fatalf("read again: got %v and %v, want the same gap", again, err)
			}
			gaps, next = append(gaps, gap), gap.Next
			r.Seek(next)
			continue
		}
		if err != nil || b.First != next {
			t.Fatalf("got a block at %d and %v, want it at %d", b.First, err, next)
		}
		for _, rec := range b.Records {
			served[next] = string(rec)
			next++
		}
	}
}

// repaired repairs a damaged log and holds what it is then against what it was.
// It returns false when there was nothing to repair.
func (s *small) repaired(t testing.TB, damaged, idx []byte) bool {
	t.Helper()
	fs := faultfs.New()
	fs.WriteFile(logFile, damaged)
	if idx != nil {
		fs.WriteFile(idxFile, idx)
	}
	o := s.o
	o.FS = fs
	before, err := immuta.Verify(dir, name, o)
	if err != nil {
		s.refused(t, fs, damaged, o)
		return false
	}
	if idx != nil { // a part of the cases will do for what does not depend on them
		dry, err := immuta.Repair(dir, name, o, false)
		if err != nil || dry.Done || fs.Calls() > 0 || len(dry.Gaps) > len(before.Damage) {
			t.Fatalf("dry run: got %+v and %v, %d calls that change something", dry, err, fs.Calls())
		}
	}
	did, err := immuta.Repair(dir, name, o, true)
	if err != nil || did.Done != (len(before.Damage) > 0) {
		t.Fatalf("repair: got %+v and %v, verify found %+v", did, err, before)
	}
	if !did.Done {
		if now, _ := fs.ReadFile(logFile); !slices.Equal(now, damaged) {
			t.Fatal("a log without damage was written to")
		}
		return false
	}
	for _, g := range did.Gaps {
		got, _ := fs.ReadFile(path.Join(dir, g.Saved))
		if len(got) == 0 || !slices.Equal(got, damaged[g.Offset:g.Offset+int64(len(got))]) {
			t.Fatalf("got %d bytes in %q, want the damaged ones at %d", len(got), g.Saved, g.Offset)
		}
	}
	s.isGood(t, fs, before)
	return true
}

// refused wants a log that cannot be opened at all to be left alone.
func (s *small) refused(t testing.TB, fs *faultfs.FS, damaged []byte, o immuta.Options) {
	t.Helper()
	_, err := immuta.Repair(dir, name, o, true)
	now, _ := fs.ReadFile(logFile)
	if err == nil || fs.Calls() > 0 || !slices.Equal(now, damaged) {
		t.Fatalf("a log that cannot be opened: got %v after %d calls", err, fs.Calls())
	}
}

// isGood wants a repaired log to serve all that was outside the damage, to say
// what was in it, to take more behind it, and to need no second repair.
func (s *small) isGood(t testing.TB, fs *faultfs.FS, before immuta.Report) {
	t.Helper()
	o := s.o
	o.FS = fs
	calls := fs.Calls()
	if again, err := immuta.Repair(dir, name, o, true); err != nil || again.Done || fs.Calls() != calls {
		t.Fatalf("second repair: got %+v and %v after %d calls, want nothing done", again, err, fs.Calls()-calls)
	}
	// What reads as an unfinished commit behind the damage is cut at open.
	last := uint64(len(s.records))
	if now, err := immuta.Verify(dir, name, o); err == nil && now.Torn != nil {
		last = min(last, now.Next-1)
	}
	l, err := immuta.Open(dir, name, o)
	if err != nil || l.Err() != nil {
		t.Fatalf("open: %v, %v", err, l.Err())
	}
	served, gaps := readOver(t, l)
	for i, rec := range s.records[:last] {
		index := uint64(i + 1)
		got, there := served[index]
		if there && got != rec {
			t.Fatalf("record %d: got %.40q, want %.40q", index, got, rec)
		}
		if !there && !inDamage(before.Damage, index) {
			t.Fatalf("record %d is gone, and was in no damage: %+v", index, before.Damage)
		}
		if !there && !slices.ContainsFunc(gaps, func(g *immuta.GapError) bool { return g.From <= index && index < g.Next }) {
			_, next := l.Bounds()
			t.Fatalf("record %d is gone, and no gap says so: %v; the end is %d", index, gaps, next)
		}
	}
	got, err := l.Append(context.Background(), [][]byte{[]byte("new")})
	if err != nil || got.First <= last {
		t.Fatalf("append: got index %d and %v, want one that was never given, over %d", got.First, err, last)
	}
	l.Close()
	o.FS = fs.After(faultfs.None, nil)
	if l, err = immuta.Open(dir, name, o); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err := l.Reader(got.First).Next(); err != nil || string(b.Records[0]) != "new" {
		t.Fatalf("what was appended behind the gap: got %v and %v", b, err)
	}
	if after, err := immuta.Verify(dir, name, o); err != nil || len(after.Damage) > 0 || len(after.Gaps) != len(gaps) {
		t.Fatalf("verify: got %+v and %v, want %d gaps", after, err, len(gaps))
	}
}

func inDamage(all []immuta.Damage, index uint64) bool {
	return slices.ContainsFunc(all, func(d immuta.Damage) bool {
		return d.From <= index && (index < d.Next || d.Next == 0)
	})
}

// shortCommits have all kinds of commits in little room: each bit is turned.
var shortCommits = [][]string{
	{"a", ""},
	{"first block of the second commit", "second block " + strings.Repeat("s", 30), "third"},
	{"the last commit has blocks too", strings.Repeat("\x00", 40)},
}

func TestAfterARepairEveryTurnedBitHasCostWhatVerifySaidAndNoMore(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		// Of a longer log some bits: there are pieces of zeros in it.
		for stride, commits := range map[int][][]string{1: shortCommits, 5: shortCommits[:1], 43: someCommits} {
			s := makeSmall(t, o, commits...)
			for bit := 0; bit < len(s.log)*8; bit += stride {
				var idx []byte
				if bit%7 == 0 {
					idx = s.idx
				}
				done := s.repaired(t, s.turned(bit), idx)
				if want := bit/8 >= s.ends[0]; done != want {
					t.Fatalf("bit %d of byte %d: repaired is %v, want %v", bit%8, bit/8, done, want)
				}
			}
		}
	})
}

func TestManyWoundsAreRepairedAtOnce(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, slices.Concat(someCommits, someCommits, someCommits)...)
		for seed := range uint64(400) {
			rng := rand.New(rand.NewPCG(seed, 3))
			bad := slices.Clone(s.log)
			for range 1 + rng.IntN(6) {
				at := s.ends[0] + rng.IntN(len(bad)-s.ends[0])
				for i := range 1 + rng.IntN(200) {
					if at+i < len(bad) {
						bad[at+i] ^= byte(1 + rng.IntN(255))
					}
				}
			}
			s.repaired(t, bad, s.idx)
		}
	})
}

func TestMisplacedSectorsAreRepairedOrCutAsTorn(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		n, first := len(s.log)/512, (s.ends[0]+511)/512
		for a := first; a < n; a++ {
			for b := range n {
				s.tornOrRepaired(t, overlay(s.log, a, make([]byte, 512)))
				s.tornOrRepaired(t, overlay(s.log, a, s.log[b*512:b*512+512]))
			}
		}
	})
}

// tornOrRepaired lets what reads as an unfinished commit be: the next open cuts
// it, and it is not repaired.
func (s *small) tornOrRepaired(t *testing.T, bad []byte) {
	t.Helper()
	fs := faultfs.New()
	fs.WriteFile(logFile, bad)
	o := s.o
	o.FS = fs
	if before, err := immuta.Verify(dir, name, o); err == nil && len(before.Damage) > 0 {
		s.repaired(t, bad, nil)
	}
}

func TestGoodBlocksOfADamagedCommitAreKeptAndRead(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		records := []string{strings.Repeat("a", 50), strings.Repeat("b", 50), strings.Repeat("c", 50), strings.Repeat("d", 50)}
		s := makeSmall(t, o, []string{"before"}, records, []string{"after"})
		size := (s.ends[2] - s.ends[1]) / len(records)
		for lost := range records {
			bad := slices.Clone(s.log)
			bad[s.ends[1]+lost*size+70] ^= 4
			fs := faultfs.New()
			fs.WriteFile(logFile, bad)
			o := s.o
			o.FS = fs
			if _, err := immuta.Repair(dir, name, o, true); err != nil {
				t.Fatal(err)
			}
			l := open(t, fs, o)
			served, gaps := readOver(t, l)
			l.Close()
			if len(served) != len(s.records)-1 || len(gaps) != 1 || gaps[0].From != uint64(2+lost) || gaps[0].Next != gaps[0].From+1 || gaps[0].AtMost {
				t.Fatalf("block %d: got %d records and gaps %v, want all but that one", lost, len(served), gaps)
			}
		}
	})
}

func TestDamageAtTheEndTakesAllIndexesThatItMayHaveHeld(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		for _, records := range []int{60, 4000} { // empty ones: the most that fit, and zeros
			for _, space := range []int{0, 100_000} {
				takesAllIndexes(t, o, records, space)
			}
		}
	})
}

func takesAllIndexes(t *testing.T, o immuta.Options, records, space int) {
	disk := faultfs.New()
	o.FS = disk
	l := open(t, disk, o)
	if _, err := l.Append(t.Context(), [][]byte{[]byte("one")}); err != nil {
		t.Fatal(err)
	}
	end := l.Stat().Bytes
	if _, err := l.Append(t.Context(), make([][]byte, records)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	bad, _ := disk.ReadFile(logFile)
	bad[end+3] ^= 1 // the header of the last commit
	fs := diskOf(append(bad, make([]byte, space)...))
	o.FS = fs
	o.Now = func() time.Time { return time.Unix(2_000_000_000, 0) }
	got, err := immuta.Repair(dir, name, o, true)
	if err != nil || len(got.Gaps) != 1 || !got.Gaps[0].AtMost || got.Gaps[0].Next < uint64(records+2) || !strings.Contains(got.Gaps[0].Error(), "at most") {
		t.Fatalf("got %+v and %v, want a gap of at most %d records and more", got.Gaps, err, records)
	}
	l = open(t, fs, o)
	defer l.Close()
	r, err := l.Append(t.Context(), [][]byte{[]byte("next")})
	if err != nil || r.First != got.Gaps[0].Next {
		t.Fatalf("got index %d and %v, want %d", r.First, err, got.Gaps[0].Next)
	}
	_, gaps := readOver(t, l)
	if len(gaps) != 1 || !gaps[0].AtMost || !gaps[0].Repaired.Equal(o.Now()) || gaps[0].Saved != got.Gaps[0].Saved {
		t.Fatalf("got %+v, want what the repair said: %+v", gaps, got.Gaps)
	}
}

// TestDamageWhoseNextBlockIsCutToZerosTakesItsIndexToo has a broken block that is
// counted by its header, and of the block behind it so little, or nothing, that
// no record seems to fit.
func TestDamageWhoseNextBlockIsCutToZerosTakesItsIndexToo(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		end := makeSmall(t, o, []string{strings.Repeat("x", 400)}).ends[1]
		for _, left := range []int{0, 8, 40} { // bytes of the second block
			first := strings.Repeat("x", 400+(2*512-left-end%512)%512)
			s := makeSmall(t, o, []string{first, "second"})
			start := makeSmall(t, o, []string{first}).ends[1]
			if (start+left)%512 != 0 {
				t.Fatalf("the second block starts at %d, want it %d in front of a sector", start, left)
			}
			s.log[s.ends[0]+100] ^= 0x55
			clear(s.log[start+left:])
			if !s.repaired(t, s.log, nil) {
				t.Fatalf("with %d bytes of the second block: not repaired", left)
			}
		}
	})
}

func TestDamageAtTheEndTakesAtLeastOneIndex(t *testing.T) {
	s := makeSmall(t, immuta.Options{}, []string{strings.Repeat("x", 512-56-128-56-2)}, []string{"answered, and not zero"})
	if (s.ends[1]+56)%512 != 0 {
		t.Fatalf("the second header ends at %d, want it at the end of a sector", s.ends[1]+56)
	}
	s.log[s.ends[1]+3] ^= 1
	clear(s.log[s.ends[1]+56:])
	fs := diskOf(s.log)
	if got, err := immuta.Repair(dir, name, immuta.Options{FS: fs}, true); err != nil || !got.Done {
		t.Fatalf("got %+v and %v", got, err)
	}
	l := open(t, fs, immuta.Options{})
	if r, err := l.Append(t.Context(), [][]byte{[]byte("new")}); err != nil || r.First <= 2 {
		t.Errorf("got index %d and %v, 1 and 2 were answered", r.First, err)
	}
}

func TestASealedLogIsRepairedWithItsKeyOnly(t *testing.T) {
	s := makeSmall(t, immuta.Options{Sealing: immuta.FakeSealing(1)}, someCommits...)
	for bit := s.ends[0] * 8; bit < len(s.log)*8; bit += 97 {
		fs := faultfs.New()
		fs.WriteFile(logFile, s.turned(bit))
		for _, write := range []bool{false, true} {
			if _, err := immuta.Repair(dir, name, immuta.Options{FS: fs}, write); !errors.Is(err, immuta.ErrSealed) {
				t.Fatalf("without the key: got %v, want %v", err, immuta.ErrSealed)
			}
			if _, err := immuta.Repair(dir, name, immuta.Options{FS: fs, Sealing: immuta.FakeSealing(2)}, write); err == nil {
				t.Fatal("another key was taken")
			}
		}
		if fs.Calls() > 0 {
			t.Fatalf("%d calls changed something", fs.Calls())
		}
	}
}

func TestALogThatIsOpenForWritingIsNotRepaired(t *testing.T) {
	s := makeSmall(t, immuta.Options{}, someCommits...)
	fs := faultfs.New()
	fs.WriteFile(logFile, s.turned(s.ends[2]*8+99))
	l := open(t, fs, immuta.Options{})
	defer l.Close()
	if _, err := immuta.Repair(dir, name, immuta.Options{FS: fs}, true); !errors.Is(err, immuta.ErrLocked) {
		t.Fatalf("got %v, want %v", err, immuta.ErrLocked)
	}
	if got, err := immuta.Repair(dir, name, immuta.Options{FS: fs}, false); err != nil || len(got.Gaps) != 1 {
		t.Fatalf("a dry run beside the writer: got %+v and %v", got, err)
	}
	if _, err := immuta.Repair(dir, "none", immuta.Options{FS: fs}, true); err == nil {
		t.Fatal("a log that is not there was repaired")
	}
	if names := fs.Names(); slices.Contains(names, "data/none.log") {
		t.Fatalf("got %v: a log was created", names)
	}
}

// TestAPowerCutAfterAnyCallOfARepairLeavesTheOldLogOrTheNewOne cuts the power,
// and kills the process, after each call.
func TestAPowerCutAfterAnyCallOfARepairLeavesTheOldLogOrTheNewOne(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		bad := s.turned(s.ends[1]*8 + 700)
		bad[s.ends[3]+60] ^= 1
		bad[len(bad)-30] ^= 1
		for cut := 1; ; cut++ {
			fs := faultfs.New()
			fs.WriteFile(logFile, bad)
			fs.WriteFile(idxFile, s.idx)
			fs.CutAfter(cut)
			o := s.o
			o.FS = fs
			_, failed := immuta.Repair(dir, name, o, true)
			calls := fs.Calls()
			for seed := range uint64(9) {
				keep := faultfs.Random
				if seed < 2 {
					keep = faultfs.Keep(seed)
				}
				s.oldOrNew(t, fs.After(keep, rand.New(rand.NewPCG(seed, uint64(cut)))), bad, failed == nil && calls < cut)
				if t.Failed() {
					t.Fatalf("cut after call %d, seed %d", cut, seed)
				}
			}
			if calls < cut {
				break
			}
		}
	})
}

func (s *small) oldOrNew(t *testing.T, fs *faultfs.FS, bad []byte, done bool) {
	t.Helper()
	now, _ := fs.ReadFile(logFile)
	switch {
	case slices.Equal(now, bad) && !done:
		o := s.o // over what the first one has left
		o.FS = fs
		before, _ := immuta.Verify(dir, name, o)
		if _, err := immuta.Repair(dir, name, o, true); err != nil {
			t.Fatalf("the second try: %v", err)
		}
		s.isGood(t, fs, before)
	case slices.Equal(now, bad):
		t.Fatal("a repair that was done is gone")
	default:
		if saved := slices.DeleteFunc(fs.Names(), func(path string) bool { return !strings.Contains(path, ".damaged-") }); len(saved) != 3 {
			t.Fatalf("got %v put aside, want all three wounds", saved)
		}
		s.isGood(t, fs, immuta.Report{Damage: []immuta.Damage{{From: 1}}})
	}
}
