package immuta_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// small is a log of few bytes with every kind of thing in it: commits of one and
// of several blocks, empty records, zeros, a single bit set in zeros. The last
// commit is given.
type small struct {
	o       immuta.Options
	log     []byte
	idx     []byte
	records []string
	ends    []int // where each commit ends in the file
	counts  []int // records up to there
}

const logFile, idxFile = dir + "/" + name + ".log", dir + "/" + name + ".idx"

func makeSmall(t testing.TB, o immuta.Options, commits ...[]string) *small {
	t.Helper()
	o.BlockSize = 60
	s := &small{o: o}
	fs := faultfs.New()
	o.FS = fs
	log, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatal(err)
	}
	note := func() {
		s.ends, s.counts = append(s.ends, int(log.Stat().Bytes)), append(s.counts, len(s.records))
	}
	note()
	for _, c := range commits {
		records := make([][]byte, len(c))
		for i := range c {
			records[i] = []byte(c[i])
		}
		if _, err := log.Append(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		s.records = append(s.records, c...)
		note()
	}
	log.Close()
	s.log, _ = fs.ReadFile(logFile)
	s.idx, _ = fs.ReadFile(idxFile)
	return s
}

var someCommits = [][]string{
	{"a", "", "ccc"},
	{"first block of the second commit, which is long enough", "second block " + strings.Repeat("s", 50), "third"},
	{strings.Repeat("\x00", 700), "\x00\x00"},
	{"one"},
	{"the last commit has blocks too" + strings.Repeat("l", 40), strings.Repeat("\x00", 600) + "\x10" + strings.Repeat("\x00", 900), "end"},
}

// outcome is what a user of a log learns of it.
type outcome struct {
	served  map[int]string
	reports []error // from Open, Err and Next
	torn    int
	spaces  int // zeros behind the end that were cut
	openErr error
}

// study opens files and reads all, stepping over damage as its errors say.
func study(t *testing.T, o immuta.Options, log, idx []byte) outcome {
	t.Helper()
	fs := faultfs.New()
	fs.WriteFile(logFile, log)
	if idx != nil {
		fs.WriteFile(idxFile, idx)
	}
	out := outcome{served: map[int]string{}}
	o.FS = fs
	o.Report = func(n immuta.Notice) {
		switch n.Kind {
		case immuta.TornTail:
			out.torn++
		case immuta.Unclosed:
			out.spaces++
		}
	}
	l, err := immuta.Open(dir, name, o)
	if err != nil {
		out.openErr, out.reports = err, append(out.reports, err)
		return out
	}
	if l.Err() != nil {
		out.reports = append(out.reports, l.Err())
		if _, err := l.Append(t.Context(), [][]byte{nil}); err == nil {
			t.Fatal("a damaged log took an append")
		}
	}
	out.read(t, l)
	l.Close()
	if now, _ := fs.ReadFile(logFile); len(out.reports) > 0 && !slices.Equal(now, log) {
		t.Fatal("a damaged log was written to")
	}
	return out
}

func (out *outcome) read(t *testing.T, l *immuta.Log) {
	t.Helper()
	r := l.Reader(1)
	for next := uint64(1); ; {
		b, err := r.Next()
		var c *immuta.CorruptError
		switch {
		case errors.As(err, &c):
			if out.reports = append(out.reports, err); len(out.reports) > 1000 {
				t.Fatalf("a reader does not get past its damage: %v", err)
			}
			if c.Next == 0 {
				return
			}
			next = c.Next
			r.Seek(next)
			continue
		case err != nil:
			return // io.EOF
		}
		if b.First != next {
			t.Fatalf("got a block at %d, want %d", b.First, next)
		}
		for _, rec := range b.Records {
			out.served[int(next)] = string(rec)
			next++
		}
	}
}

// honest fails when something wrong was served.
func (s *small) honest(out outcome) error {
	for i, got := range out.served {
		if i > len(s.records) || got != s.records[i-1] {
			return fmt.Errorf("served wrong: record %d is %.40q", i, got)
		}
	}
	if missing := len(s.records) - len(out.served); missing > 0 && len(out.reports) == 0 && out.torn+out.spaces == 0 {
		return fmt.Errorf("%d records are gone and nothing is said", missing)
	}
	return nil
}

func forSealings(t *testing.T, test func(t *testing.T, o immuta.Options)) {
	t.Run("plain", func(t *testing.T) { test(t, immuta.Options{}) })
	t.Run("sealed", func(t *testing.T) { test(t, immuta.Options{Sealing: immuta.FakeSealing(1)}) })
}

func TestEveryTurnedBitIsReportedAndNeverServedNorCut(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		// With one commit the first is the last; the index makes no difference
		// to what is damage, so that it is there for some of the bits only.
		for _, commits := range []int{1, len(someCommits)} {
			s := makeSmall(t, o, someCommits[:commits]...)
			for bit := range len(s.log) * 8 {
				s.turn(t, bit, nil)
				if bit%11 == 0 {
					s.turn(t, bit, s.idx)
				}
				if bit%13 == 0 {
					s.verifies(t, bit)
				}
			}
			s.log = append(s.log, make([]byte, 700)...) // as a server that was killed leaves it
			for bit := range (len(s.log) - 700) * 8 {
				if bit%5 == 0 || bit > (len(s.log)-800)*8 {
					s.turn(t, bit, nil)
					s.verifies(t, bit)
				}
			}
		}
	})
}

func (s *small) turned(bit int) []byte {
	bad := slices.Clone(s.log)
	bad[bit/8] ^= 1 << (bit % 8)
	return bad
}

func (s *small) turn(t *testing.T, bit int, idx []byte) {
	t.Helper()
	out := study(t, s.o, s.turned(bit), idx)
	err := s.honest(out)
	if err == nil && len(out.reports) == 0 {
		err = errors.New("nothing is reported")
	}
	if err == nil && out.torn > 0 {
		err = errors.New("the damage was cut off as if a crash had left it")
	}
	if err == nil && out.openErr == nil && len(out.served) == 0 && len(s.counts) > 2 {
		err = errors.New("no good block can be read")
	}
	if err != nil {
		t.Fatalf("bit %d of byte %d of %d (index %v): %v; reports: %v", bit%8, bit/8, len(s.log), idx != nil, err, out.reports)
	}
}

// verifies wants Verify to find damage, with and without the key.
func (s *small) verifies(t *testing.T, bit int) {
	t.Helper()
	fs := faultfs.New()
	fs.WriteFile(logFile, s.turned(bit))
	for _, sealing := range []immuta.Sealing{s.o.Sealing, nil} {
		got, err := immuta.Verify(dir, name, immuta.Options{FS: fs, Sealing: sealing})
		if err == nil && len(got.Damage) == 0 {
			t.Fatalf("bit %d of byte %d: verify (%s) found nothing: %+v", bit%8, bit/8, got.Checked, got)
		}
	}
}

func TestEveryTurnedBitOfTheIndexIsHarmless(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		for bit := range len(s.idx) * 8 {
			bad := slices.Clone(s.idx)
			bad[bit/8] ^= 1 << (bit % 8)
			out := study(t, s.o, s.log, bad)
			if err := s.honest(out); err != nil || len(out.reports) > 0 || out.torn > 0 || len(out.served) != len(s.records) {
				t.Fatalf("bit %d: %v; served %d of %d, reports: %v", bit, err, len(out.served), len(s.records), out.reports)
			}
		}
	})
}

func TestATailCutAtAnyByteOfTheLastCommitsKeepsWholeOnesAndTakesMore(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		for cut := range len(s.log) {
			if cut < s.ends[0] || cut >= s.ends[len(s.ends)-4] {
				s.cutAt(t, cut)
			}
		}
	})
}

func (s *small) cutAt(t *testing.T, cut int) {
	t.Helper()
	fs := faultfs.New()
	fs.WriteFile(logFile, s.log[:cut])
	fs.WriteFile(idxFile, s.idx)
	o := s.o
	o.FS = fs
	var notices []immuta.Notice
	o.Report = func(n immuta.Notice) {
		if n.Kind != immuta.IndexRebuilt {
			notices = append(notices, n)
		}
	}
	l, err := immuta.Open(dir, name, o)
	var c *immuta.CorruptError
	if cut < s.ends[0] {
		if !errors.As(err, &c) {
			t.Fatalf("cut at %d, inside the file header: got %v, want a CorruptError", cut, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("cut at %d: %v", cut, err)
	}
	commit := 0
	for commit+1 < len(s.ends) && s.ends[commit+1] <= cut {
		commit++
	}
	if torn := cut > s.ends[commit]; torn != (len(notices) == 1 && notices[0].Kind == immuta.TornTail) {
		t.Fatalf("cut at %d: torn is %v, notices are %v", cut, torn, notices)
	}
	if len(notices) == 1 {
		want := s.log[s.ends[commit]:cut]
		// What is left of a sector is not kept when it is zeros.
		if got, _ := fs.ReadFile(notices[0].Saved); !bytes.HasPrefix(want, got) || len(bytes.Trim(want[len(got):], "\x00")) > 0 || len(want)-len(got) >= 512 {
			t.Fatalf("cut at %d: got %d bytes saved in %q, want %d", cut, len(got), notices[0].Saved, len(want))
		}
	}
	if _, err := l.Append(t.Context(), [][]byte{[]byte("new")}); err != nil {
		t.Fatalf("cut at %d: append: %v", cut, err)
	}
	o.FS = fs.After(faultfs.None, nil) // the second crash
	l.Close()
	l, err = immuta.Open(dir, name, o)
	if err != nil {
		t.Fatalf("cut at %d: open again: %v", cut, err)
	}
	defer l.Close()
	want := append(slices.Clone(s.records[:s.counts[commit]]), "new")
	if got, err := all(l); err != nil || !slices.Equal(got, want) {
		t.Fatalf("cut at %d: got %d records and %v, want %d", cut, len(got), err, len(want))
	}
	if len(notices) > 1 {
		t.Fatalf("cut at %d: got notices %v", cut, notices[1:])
	}
}

// TestAnySetOfUnwrittenSectorsOfTheLastCommitIsTorn zeroes every set of sectors
// that the last commit touches; what lay in front of it stays.
func TestAnySetOfUnwrittenSectorsOfTheLastCommitIsTorn(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		// Where a sector's only set bit is gone nobody can say whether it rotted
		// or was never written: that counts as damage, and is not in this test.
		last := []string{"the last", strings.Repeat("\x00", 600) + "\x30" + strings.Repeat("\x00", 900), strings.Repeat("z", 70), "end"}
		s := makeSmall(t, o, append(slices.Clone(someCommits[:4]), last)...)
		start := s.ends[len(s.ends)-2]
		sectors := (len(s.log)-1)/512 - start/512 + 1
		for set := 1; set < 1<<sectors; set++ {
			bad := slices.Clone(s.log)
			for i := range sectors {
				if set&(1<<i) != 0 {
					from := (start/512 + i) * 512
					clear(bad[max(from, start):min(from+512, len(bad))])
				}
			}
			if slices.Equal(bad, s.log) {
				continue
			}
			torn := 1
			if len(bytes.Trim(bad[start:], "\x00")) == 0 { // that is how space looks
				torn = 0
			}
			out := study(t, s.o, bad, s.idx[:32])
			if err := s.honest(out); err != nil || out.torn != torn || out.spaces != 1-torn || len(out.reports) > 0 || len(out.served) != s.counts[len(s.counts)-2] {
				t.Fatalf("sectors %b: %v; torn %d, served %d, reports %v", set, err, out.torn, len(out.served), out.reports)
			}
		}
	})
}

func TestMisplacedSectorsAreNeverServed(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		last := s.ends[len(s.ends)-2]
		other := makeSmall(t, o, someCommits...) // a stale or foreign copy
		n := len(s.log) / 512
		for a := range n {
			for b := range n {
				for what, bad := range map[string][]byte{
					"zeroed":  overlay(s.log, a, make([]byte, 512)),
					"copied":  overlay(s.log, a, s.log[b*512:b*512+512]),
					"foreign": overlay(s.log, a, other.log[b*512:b*512+512]),
					"swapped": overlay(overlay(s.log, a, s.log[b*512:b*512+512]), b, s.log[a*512:a*512+512]),
				} {
					idx := s.idx
					if (a+b)%2 == 0 { // the whole log is then judged at open
						idx = nil
					}
					out := study(t, s.o, bad, idx)
					err := s.honest(out)
					if changed := !slices.Equal(bad, s.log); err == nil && changed && len(out.reports) == 0 && (out.torn == 0 || a*512+512 <= last && b*512+512 <= last) {
						err = fmt.Errorf("not reported; torn %d", out.torn)
					}
					if err != nil {
						t.Fatalf("sector %d %s (%d): %v; reports %v", a, what, b, err, out.reports)
					}
				}
			}
		}
	})
}

func TestAWholeCommitOfZerosBetweenGoodOnesIsDamageAndTheOthersAreServed(t *testing.T) {
	s := makeSmall(t, immuta.Options{BlockSize: 60}, someCommits...)
	l := slices.Clone(s.log)
	clear(l[s.ends[2]:s.ends[3]])
	out := study(t, s.o, l, nil)
	if err := s.honest(out); err != nil || len(out.reports) == 0 || len(out.served) != len(s.records)-(s.counts[3]-s.counts[2]) {
		t.Fatalf("%v; served %d, reports %v", err, len(out.served), out.reports)
	}
}

func overlay(log []byte, sector int, b []byte) []byte {
	out := slices.Clone(log)
	copy(out[sector*512:], b)
	return out
}
