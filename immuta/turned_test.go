package immuta_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/bus/immuta"
)

// Records that are empty or zeros, headers across sectors, zeros behind.
func TestATurnedBitOfTheLastCommitIsDamageToWhoeverLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // who reads waits for what may be being written
		turnedBits(t, immuta.Options{})
		turnedBits(t, immuta.Options{Sealing: immuta.FakeSealing(1)})
	})
}

func turnedBits(t *testing.T, o immuta.Options) {
	for _, last := range [][]string{
		{strings.Repeat("\x00", 7)}, make([]string, 8), {strings.Repeat("\x00", 6), "\x00"}, {"x" + strings.Repeat("\x00", 700)},
	} {
		for _, lead := range []int{8, 344, 392, 424} {
			s := makeSmall(t, o, []string{strings.Repeat("y", lead)}, last)
			for i, space := range []int{0, 8, 1000} {
				for bit := s.ends[1]*8 + i; bit < len(s.log)*8; bit += 11 {
					what := fmt.Sprintf("last %.20q lead %d space %d bit %d of %d", last, lead, space, bit-s.ends[1]*8, (len(s.log)-s.ends[1])*8)
					everyWayFindsDamage(t, o, append(s.turned(bit), make([]byte, space)...), what, uint64(2+len(last)))
				}
			}
		}
	}
}

// everyWayFindsDamage also repairs it: what was answered, up to next, is not
// given again.
func everyWayFindsDamage(t *testing.T, o immuta.Options, bad []byte, what string, next uint64) {
	t.Helper()
	disk := diskOf(bad)
	o.FS = disk
	report, err := immuta.Verify(dir, name, immuta.Options{FS: disk, Sealing: o.Sealing})
	if err != nil || len(report.Damage) != 1 || report.Torn != nil {
		t.Fatalf("%s: verify: got %v and %+v", what, err, report)
	}
	dry, err := immuta.Repair(dir, name, o, false)
	if err != nil || len(dry.Gaps) != 1 {
		t.Fatalf("%s: dry run: got %v and %+v", what, err, dry)
	}
	for _, o.ReadOnly = range []bool{true, false} {
		l, err := immuta.Open(dir, name, o)
		if err != nil || l.Err() == nil {
			t.Fatalf("%s: open, read-only %v: got %v and no damage", what, o.ReadOnly, err)
		}
		l.Close()
	}
	if now, _ := disk.ReadFile(logFile); !bytes.Equal(now, bad) {
		t.Fatalf("%s: it was written to", what)
	}
	done, err := immuta.Repair(dir, name, o, true)
	if err != nil || !done.Done || done.Gaps[0].Next < next {
		t.Fatalf("%s: repair: got %v and %+v, want a gap up to %d", what, err, done.Gaps, next)
	}
}

// The sum of a large body is by chance that of one turned bit when sectors are
// missing; then a sector more is missing than a turned bit can make zero.
func TestALargeCommitWithUnwrittenSectorsIsTornWhateverItsSumIs(t *testing.T) {
	b := make([]byte, 900<<10)
	rand.NewChaCha8([32]byte{1}).Read(b)
	s := makeSmall(t, immuta.Options{}, []string{"one"}, []string{string(b)})
	log, ends := s.log, s.ends
	body, table := ends[1]+56, crc32.MakeTable(crc32.Castagnoli)
	off := make([]uint32, 0, 8*len(log))
	r := uint32(1)
	for range 8 * (len(log) - body) {
		r = r>>1 ^ 0x82F63B78&-(r&1)
		off = append(off, r)
	}
	slices.Sort(off)
	first, whole := ends[1]/512+2, crc32.Checksum(log[body:], table)
	tries, hits := 0, 0
	for from := first; from < first+4 && hits == 0; from++ {
		bad := slices.Clone(log)
		for at := from; at < len(log)/512-1 && hits == 0; at++ { // one more sector unwritten
			clear(bad[at*512 : at*512+512])
			tries++
			if _, hit := slices.BinarySearch(off, crc32.Checksum(bad[body:], table)^whole); !hit {
				continue
			}
			hits++
			l, err := immuta.Open(dir, name, immuta.Options{FS: diskOf(bad)})
			if err != nil || l.Err() != nil {
				t.Errorf("try %d, %d sectors unwritten: %v %v", tries, at-from+1, err, l.Err())
			}
			l.Close()
		}
	}
	if hits == 0 {
		t.Fatalf("no sum was that of a turned bit in %d tries", tries)
	}
}
