package immuta_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// thinned is a log with a rewritten segment, and what is to be read of it.
func thinned(t testing.TB, o immuta.Options) (files map[string][]byte, want map[uint64]string) {
	t.Helper()
	fs := faultfs.New()
	o.FS, o.BlockSize = fs, 60
	log, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatal(err)
	}
	want = map[uint64]string{}
	for _, commit := range someCommits {
		var records [][]byte
		for _, r := range commit {
			records = append(records, []byte(r))
			want[uint64(len(want)+1)] = r
		}
		if _, err := log.Append(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := log.Append(t.Context(), [][]byte{[]byte("behind")}); err != nil || got.First != uint64(len(want)+1) {
		t.Fatal(got, err)
	}
	for round, gone := range [][]uint64{{2, 5}, {1, 6, 9}} {
		rewrite(t, log, 1, without(uint8(round+1), gone...))
		for _, i := range gone {
			delete(want, i)
		}
	}
	want[uint64(len(want)+6)] = "behind"
	log.Close()
	files = map[string][]byte{}
	for _, path := range fs.Names() {
		files[path], _ = fs.ReadFile(path)
	}
	return files, want
}

func diskWith(files map[string][]byte) *faultfs.FS {
	fs := faultfs.New()
	for path, b := range files {
		fs.WriteFile(path, b)
	}
	return fs
}

// readThrough reads all, over everything that is said.
func readThrough(t testing.TB, log *immuta.Log) (served map[uint64]string, removed, damaged int) {
	t.Helper()
	served = map[uint64]string{}
	r := log.Reader(1)
	defer r.Close()
	for range 1000 {
		b, err := r.Next()
		if err == io.EOF {
			return served, removed, damaged
		}
		if gone, is := errors.AsType[*immuta.RemovedError](err); is {
			removed += int(gone.Next - gone.From)
			r.Seek(gone.Next)
			continue
		}
		if damage, is := errors.AsType[*immuta.CorruptError](err); is {
			if damaged++; damage.Next == 0 {
				return served, removed, damaged
			}
			r.Seek(damage.Next)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, rec := range b.Records {
			served[b.First+uint64(i)] = string(rec)
		}
	}
	t.Fatal("the reader does not get on")
	return nil, 0, 0
}

func TestEveryTurnedBitOfARewrittenSegmentIsReportedAndNothingComesBack(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		files, want := thinned(t, o)
		whole := files[closedFile(1)]
		for bit := 8 * 16; bit < 8*len(whole); bit += 3 { // behind the magic and what a newer version would set
			bad := slices.Clone(whole)
			bad[bit/8] ^= 1 << (bit % 8)
			fs := diskWith(files)
			fs.WriteFile(closedFile(1), bad)
			o := o
			o.FS = fs
			log, err := immuta.Open(dir, name, o)
			if err != nil { // the id in the header, of which there can be but one
				continue
			}
			served, removed, damaged := readThrough(t, log)
			log.Close()
			if damaged == 0 || removed > 5 {
				t.Fatalf("bit %d: got %d removed and %d damaged places", bit, removed, damaged)
			}
			for i, got := range served {
				if text, ok := want[i]; !ok || got != text {
					t.Fatalf("bit %d: record %d: got %.20q, want %.20q", bit, i, got, text)
				}
			}
			report, err := immuta.Verify(dir, name, o)
			lost, _, _ := report.Lost()
			if err != nil || len(report.Damage) == 0 || report.Removed > 5 || report.Records+report.Removed+lost != uint64(len(want)+5) {
				t.Fatalf("bit %d: verify: got %+v and %v", bit, report, err)
			}
		}
	})
}

func TestDamageOfARewrittenSegmentIsRepairedAndWhatIsRemovedStaysSo(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		files, want := thinned(t, o)
		whole := files[closedFile(1)]
		start := 128
		if o.Sealing != nil {
			start = 320 // behind the key check
		}
		for at := start; at < len(whole); at += 11 {
			bad := slices.Clone(whole)
			bad[at] ^= 0x40
			fs := diskWith(files)
			fs.WriteFile(closedFile(1), bad)
			o := o
			o.FS = fs
			if did, err := immuta.Repair(dir, name, o, true); err != nil || !did.Done {
				t.Fatalf("byte %d: got %+v and %v", at, did, err)
			}
			found, err := immuta.Verify(dir, name, o)
			if err != nil || len(found.Damage) > 0 || found.Removed < 3 || len(found.Gaps) > 1 {
				t.Fatalf("byte %d: verify: got %+v and %v", at, found, err)
			}
			log := open(t, fs, o)
			rewrite(t, log, 1, without(9, 4))
			served, gaps := map[uint64]string{}, 0
			r := log.Reader(1)
			for next := uint64(1); ; {
				b, err := r.Next()
				if err == io.EOF {
					break
				}
				if gap, is := errors.AsType[*immuta.GapError](err); is {
					gaps, next = gaps+1, gap.Next
				} else if gone, is := errors.AsType[*immuta.RemovedError](err); is {
					next = gone.Next
				} else if err != nil || b.First != next {
					t.Fatalf("byte %d: got a block at %d and %v, want %d", at, b.First, err, next)
				}
				for _, rec := range b.Records {
					served[next] = string(rec)
					next++
				}
				r.Seek(next)
			}
			r.Close()
			log.Close()
			if gaps > 1 || len(served) < len(want)-4 {
				t.Fatalf("byte %d: got %d records and %d gaps, want one and nearly %d", at, len(served), gaps, len(want))
			}
			for i, got := range served {
				if got != want[i] || i == 4 {
					t.Fatalf("byte %d: record %d: got %.20q, want %.20q", at, i, got, want[i])
				}
			}
		}
	})
}

// TestALogWithRemovedRecordsIsWrittenAndReadForever has a rewritten segment in the
// tree.
func TestALogWithRemovedRecordsIsWrittenAndReadForever(t *testing.T) {
	golden := filepath.Join("testdata", "format-1-removed.hex")
	o := immuta.Options{
		Rand: rand.NewChaCha8([32]byte{1}),
		Now:  func() time.Time { return time.Unix(1_700_000_000, 42) },
	}
	files, served := thinned(t, o)
	made := files[closedFile(1)]
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
	files[closedFile(1)] = want
	got, removed, damaged := readThrough(t, open(t, diskWith(files), immuta.Options{ReadOnly: true}))
	if fmt.Sprint(got) != fmt.Sprint(served) || removed != 5 || damaged != 0 {
		t.Errorf("got %d records, %d removed and %d damaged places, want %d, 5 and none", len(got), removed, damaged, len(served))
	}
}

func TestTheIndexOfTheOldFileIsNotBelievedForTheNewOne(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		second := int64(1000)
		o.Now = func() time.Time { second++; return time.Unix(second, 0) }
		fs := faultfs.New()
		log := open(t, fs, o)
		for i := range 200 {
			two := [][]byte{fmt.Append(nil, 2*i+1, strings.Repeat("x", 2000)), fmt.Append(nil, 2*i+2)}
			if _, err := log.Append(t.Context(), two); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), [][]byte{[]byte("401")}); err != nil {
			t.Fatal(err)
		}
		old, _ := fs.ReadFile(dir + "/" + name + ".1.idx")
		// A record near the end: nearly all places stay the same.
		rewrite(t, log, 1, without(1, 250, 251))
		log.Close()
		fresh, _ := fs.ReadFile(dir + "/" + name + ".1.idx")
		if len(old) < 5*32 || slices.Equal(old, fresh) {
			t.Fatalf("got indexes of %d and %d bytes, want several entries that differ", len(old), len(fresh))
		}
		for what, idx := range map[string][]byte{"of before": old, "of after": fresh, "of half": append(slices.Clone(fresh[:3*32]), old[3*32:]...),
			"of before but for its end": append(slices.Clone(old[:len(old)-32]), fresh[len(fresh)-32:]...), "none": nil} {
			fs.WriteFile(dir+"/"+name+".1.idx", idx)
			log := open(t, fs, o)
			for index := uint64(1); index <= 401; index++ {
				gone := index == 250 || index == 251
				r := log.Reader(index)
				b, err := r.Next()
				r.Close()
				removed, is := errors.AsType[*immuta.RemovedError](err)
				if gone != is || gone && (removed.From != index || removed.Next != 252) || !gone && (err != nil || b.First != index || !strings.HasPrefix(string(b.Records[0]), fmt.Sprint(index))) {
					t.Fatalf("the index %s: record %d: got a block at %d and %v", what, index, b.First, err)
				}
				at := time.Unix(1002+int64(index-1)/2, 0)
				if got, err := log.IndexAt(at); err != nil || got > index || got+2 < index {
					t.Fatalf("the index %s: at the time of %d: got %d and %v", what, index, got, err)
				}
			}
			log.Close()
		}
	})
}

// FuzzRewrite makes any commits, removes any records in two turns, and wants the
// rest as it was.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte{3, 1, 200, 5}, []byte{0b1010}, []byte{1}, uint16(60), false)
	f.Add([]byte{0, 0, 255, 255, 1}, []byte{0xFF, 0xFF, 0xFF}, []byte{}, uint16(1), true)
	f.Add([]byte{9, 9, 9, 9, 9, 9, 9, 9}, []byte{0x55, 0x55}, []byte{0xAA, 0xAA}, uint16(4096), true)
	f.Fuzz(func(t *testing.T, sizes, once, twice []byte, block uint16, seal bool) {
		if len(sizes) == 0 || len(sizes) > 200 {
			return
		}
		o := immuta.Options{BlockSize: int(block)%5000 + 1}
		if seal {
			o.Sealing = immuta.FakeSealing(1)
		}
		fs := faultfs.New()
		log := open(t, fs, o)
		var all []string
		for from := 0; from < len(sizes); { // as many in a commit as the first of them says
			n := min(int(sizes[from])%7+1, len(sizes)-from)
			var records [][]byte
			for _, size := range sizes[from : from+n] {
				all = append(all, fmt.Sprint(len(all)+1, strings.Repeat("r", 3*int(size))))
				records = append(records, []byte(all[len(all)-1]))
			}
			if _, err := log.Append(t.Context(), records); err != nil {
				t.Fatal(err)
			}
			from += n
		}
		if err := log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		reasons := map[uint64]uint8{}
		for turn, mask := range [][]byte{once, twice} {
			rewrite(t, log, 1, func(i uint64, _ time.Time, _ []byte) uint8 {
				if at := int(i-1) / 8; at < len(mask) && mask[at]&(1<<((i-1)%8)) != 0 {
					reasons[i] = uint8(turn + 1)
				}
				return reasons[i]
			})
		}
		log.Close()
		log = open(t, fs, o)
		defer log.Close()
		served, removed, damaged := readThrough(t, log)
		if removed != len(reasons) || damaged != 0 || len(served)+removed != len(all) {
			t.Fatalf("got %d records, %d removed and %d damaged places, want %d removed of %d", len(served), removed, damaged, len(reasons), len(all))
		}
		for i, got := range served {
			if got != all[i-1] || reasons[i] != 0 {
				t.Fatalf("record %d: got %.20q, want %.20q", i, got, all[i-1])
			}
		}
		if got, err := log.Append(t.Context(), [][]byte{nil}); err != nil || got.First != uint64(len(all)+1) {
			t.Fatalf("got index %d and %v, want %d", got.First, err, len(all)+1)
		}
	})
}
