package immuta_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// moving is a log's file that somebody else writes on: the rest of it comes with
// the n-th read.
type moving struct {
	*faultfs.FS
	reads *atomic.Int64
	rest  []byte
	at    int64
}

type movingFile struct {
	immuta.File
	disk moving
}

func (m moving) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := m.FS.OpenFile(path, flag, perm)
	if err == nil && path == logFile {
		f = movingFile{f, m}
	}
	return f, err
}

func (f movingFile) ReadAt(b []byte, offset int64) (int, error) {
	if f.disk.reads.Add(-1) == 0 {
		w, err := f.disk.FS.OpenFile(logFile, os.O_RDWR, 0)
		if err != nil {
			return 0, err
		}
		defer w.Close()
		if _, err := w.WriteAt(f.disk.rest, f.disk.at); err != nil {
			return 0, err
		}
	}
	return f.File.ReadAt(b, offset)
}

// besideWays are the ways to look at a log beside the process that writes it.
// Each returns the next index, and what was found damaged.
var besideWays = map[string]func(o immuta.Options) (next uint64, damage error){
	"read-only": func(o immuta.Options) (uint64, error) {
		o.ReadOnly = true
		l, err := immuta.Open(dir, name, o)
		if err != nil {
			return 0, err
		}
		defer l.Close()
		_, next := l.Bounds()
		return next, l.Err()
	},
	"verify": func(o immuta.Options) (uint64, error) {
		report, err := immuta.Verify(dir, name, immuta.Options{FS: o.FS, Sealing: o.Sealing})
		return report.Next, errors.Join(err, damageOf(report))
	},
	"verify without the key": func(o immuta.Options) (uint64, error) {
		report, err := immuta.Verify(dir, name, immuta.Options{FS: o.FS})
		return report.Next, errors.Join(err, damageOf(report))
	},
	"dry run of a repair": func(o immuta.Options) (uint64, error) {
		done, err := immuta.Repair(dir, name, o, false)
		return done.Report.Next, errors.Join(err, damageOf(done.Report))
	},
}

func damageOf(r immuta.Report) error {
	if len(r.Damage) > 0 {
		return fmt.Errorf("%+v", r.Damage)
	}
	return nil
}

// A commit that is written while the log is looked at may be there up to any
// word, and be whole at the next look.
func TestWhoLooksBesideAWriterSeesACommitThatIsBeingWrittenWholeOrNotYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forSealingsInside(t, func(t *testing.T, o immuta.Options) {
			s := makeSmall(t, o, someCommits...)
			n := len(s.ends)
			for what, way := range besideWays {
				for _, first := range []int{n - 3, n - 2} { // of two commits to come, and of one
					for cut := s.ends[first]; cut < s.ends[first+1]; cut += 8 {
						for reads := int64(1); reads < 20; reads++ {
							disk := faultfs.New()
							disk.WriteFile(logFile, withSpace(s.log[:cut], len(s.log)))
							m := moving{FS: disk, reads: new(atomic.Int64), rest: s.log[cut:], at: int64(cut)}
							m.reads.Store(reads + 2) // past the file header
							b := o
							b.FS = m
							begun := time.Now()
							next, damage := way(b)
							if time.Since(begun) >= 30*time.Millisecond {
								break // it did not move for so long that it was judged
							}
							if damage != nil || !slices.Contains(s.counts[first:], int(next)-1) {
								t.Fatalf("%s, cut at %d, rest with read %d: got next %d and %v", what, cut, reads, next, damage)
							}
						}
					}
				}
			}
		})
	})
}

// Whoever has stopped in the middle of a write has stopped between two sectors.
func TestAWriteThatStoppedBetweenTwoSectorsIsNoDamageToWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forSealingsInside(t, func(t *testing.T, o immuta.Options) {
			s := makeSmall(t, o, someCommits...)
			n := len(s.ends)
			for what, way := range besideWays {
				for cut := (s.ends[n-2] + 511) / 512 * 512; cut < s.ends[n-1]; cut += 512 {
					b := o
					b.FS = diskOf(withSpace(s.log[:cut], len(s.log)))
					if next, damage := way(b); damage != nil || int(next) != s.counts[n-2]+1 {
						t.Fatalf("%s, cut at %d: got next %d and %v", what, cut, next, damage)
					}
				}
			}
		})
	})
}

func TestDamageOfACommitThatEndsInZerosIsToldToWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := makeSmall(t, immuta.Options{}, []string{"one"}, []string{"two" + strings.Repeat("\x00", 36)})
		s.log[s.ends[1]+57] ^= 0x33 // the t of two
		for _, space := range []int{0, 4096 - len(s.log)%4096} {
			for what, way := range besideWays {
				o := immuta.Options{FS: diskOf(append(slices.Clone(s.log), make([]byte, space)...))}
				if next, damage := way(o); damage == nil {
					t.Errorf("%s, space %d: got next %d and no damage", what, space, next)
				}
			}
		}
	})
}

func forSealingsInside(t *testing.T, test func(t *testing.T, o immuta.Options)) {
	test(t, immuta.Options{})
	test(t, immuta.Options{Sealing: immuta.FakeSealing(1)})
}

func diskOf(log []byte) *faultfs.FS {
	disk := faultfs.New()
	disk.WriteFile(logFile, log)
	return disk
}

// withSpace is a log as one that is being written to has it: up to a whole page.
func withSpace(log []byte, most int) []byte {
	return append(slices.Clone(log), make([]byte, (most+4095)/4096*4096-len(log))...)
}

func TestWhoReadsBesideAWriterNeverFindsDamageNorFewerThanWereAnswered(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		dir := t.TempDir()
		log, err := immuta.Open(dir, name, o)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			for i := range 3000 {
				if _, err := log.Append(t.Context(), [][]byte{bytes.Repeat([]byte{byte(i)}, 1+i*7%2500)}); err != nil {
					done <- err
					return
				}
			}
			done <- log.Close()
		}()
		for running := true; running; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				running = false
			default:
			}
			_, answered := log.Bounds()
			report, err := immuta.Verify(dir, name, immuta.Options{Sealing: o.Sealing})
			if err != nil || len(report.Damage) > 0 || report.Next < answered {
				t.Fatalf("verify: got %+v and %v, %d were there", report, err, answered)
			}
			dry, err := immuta.Repair(dir, name, o, false)
			if err != nil || len(dry.Report.Damage) > 0 || dry.Report.Next < answered {
				t.Fatalf("dry run: got %+v and %v, %d were there", dry.Report, err, answered)
			}
			ro := o
			ro.ReadOnly = true
			beside, err := immuta.Open(dir, name, ro)
			if err != nil {
				t.Fatal(err)
			}
			got, err := all(beside)
			if err != nil || beside.Err() != nil || len(got)+1 < int(answered) {
				t.Fatalf("got %d records, %v and %v, %d were there", len(got), err, beside.Err(), answered)
			}
			beside.Close()
		}
	})
}
