package immuta_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// spaceOf is how many zeros a file has ahead of a log's end.
func spaceOf(t *testing.T, fs *faultfs.FS, log *immuta.Log) int64 {
	t.Helper()
	b, _ := fs.ReadFile(logFile)
	end := log.Stat().Bytes
	if left := bytes.Trim(b[end:], "\x00"); len(left) > 0 {
		t.Fatalf("ahead of the end at %d is %q", end, left)
	}
	return int64(len(b)) - end
}

func write(t *testing.T, log *immuta.Log, n int) {
	t.Helper()
	if _, err := log.Append(t.Context(), [][]byte{bytes.Repeat([]byte("x"), n)}); err != nil {
		t.Fatal(err)
	}
}

func TestSpaceAheadIsNeverMoreThanWasAppendedNorThanTheLimit(t *testing.T) {
	const page = 4096
	for most, size := range map[int64]int{0: 1500, 10_000: 200, -1: 200} {
		fs := faultfs.New()
		log := open(t, fs, immuta.Options{Ahead: int(most)})
		limit := most
		if most == 0 {
			limit = 1 << 20
		}
		before, largest := log.Stat().Bytes, int64(0)
		for i := range 1500 {
			write(t, log, size)
			if i > 50 && i%61 > 0 {
				continue
			}
			got := spaceOf(t, fs, log)
			if appended := log.Stat().Bytes - before; got > min(max(limit, 0), appended)+page {
				t.Fatalf("limit %d: got %d bytes of space after %d were appended", most, got, appended)
			}
			largest = max(largest, got)
		}
		if used := largest > 0; used != (most >= 0) || most >= 0 && largest < limit*9/10 {
			t.Errorf("limit %d: the most space was %d bytes", most, largest)
		}
		log.Close()
		if b, _ := fs.ReadFile(logFile); int64(len(b)) != log.Stat().Bytes {
			t.Errorf("limit %d: after Close the file has %d bytes, the log %d", most, len(b), log.Stat().Bytes)
		}
	}
}

func TestOnlySmallCommitsOfALogThatSyncsEachMakeSpace(t *testing.T) {
	for _, c := range []struct {
		mode immuta.SyncMode
		size int
		want bool
	}{{immuta.SyncAlways, 1000, true}, {immuta.SyncAlways, 1 << 20, false}, {immuta.SyncInterval, 1000, false}, {immuta.SyncOS, 1000, false}} {
		fs := faultfs.New()
		log := open(t, fs, immuta.Options{Sync: c.mode})
		for range 20 {
			write(t, log, c.size)
		}
		b, _ := fs.ReadFile(logFile)
		if got := len(b) > 20*c.size+20*100; got != c.want {
			t.Errorf("%s, commits of %d bytes: the file has %d bytes, space is wanted: %v", c.mode, c.size, len(b), c.want)
		}
		log.Close()
	}
}

func TestALogThatWasKilledWithSpaceAheadGoesOnWhereItEnded(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		fs := faultfs.New()
		log := open(t, fs, o)
		for range 40 {
			write(t, log, 100)
		}
		end := log.Stat().Bytes
		if spaceOf(t, fs, log) == 0 {
			t.Fatal("there is no space ahead")
		}
		fs.CutAfter(0)
		log.Close()
		fs = fs.After(faultfs.None, nil)

		report, err := immuta.Verify(dir, name, immuta.Options{FS: fs, Sealing: o.Sealing})
		if err != nil || report.Torn != nil || len(report.Damage) > 0 || report.Bytes != end || report.Next != 41 {
			t.Errorf("verify: got %+v and %v", report, err)
		}
		var said []immuta.Notice
		o.Report = func(n immuta.Notice) { said = append(said, n) }
		log = open(t, fs, o)
		defer log.Close()
		if len(said) != 1 || said[0].Kind != immuta.Unclosed || said[0].Offset != end || !strings.Contains(said[0].Text, "ends with record 40") {
			t.Errorf("got notices %+v", said)
		}
		if got := log.Stat(); got.TornCuts != 0 || got.Bytes != end || spaceOf(t, fs, log) != 0 {
			t.Errorf("got %+v", got)
		}
		write(t, log, 1)
		if got, err := all(log); err != nil || len(got) != 41 {
			t.Errorf("got %d records and %v", len(got), err)
		}
	})
}

// roomyFS is a file system that says how much is free on it.
type roomyFS struct {
	*faultfs.FS
	free int64
}

func (f roomyFS) Free(string) (int64, error) { return f.free, nil }

func TestOnANearlyFullDiskNoSpaceIsTakenFromOtherLogs(t *testing.T) {
	for _, free := range []int64{100_000, 1 << 30} {
		fs := faultfs.New()
		log, err := immuta.Open(dir, name, immuta.Options{FS: roomyFS{fs, free}})
		if err != nil {
			t.Fatal(err)
		}
		most := int64(0)
		for range 400 {
			write(t, log, 100)
			most = max(most, spaceOf(t, fs, log))
		}
		if tight := free < 1<<20; tight && most > free/64+4096 || !tight && most < 10_000 {
			t.Errorf("%d bytes are free: got %d bytes of space", free, most)
		}
		log.Close()
	}
}

func TestADiskThatIsFullForTheSpaceAheadTakesTheCommit(t *testing.T) {
	fs := faultfs.New()
	log := open(t, fs, immuta.Options{})
	defer log.Close()
	writes := 0
	fs.Inject(func(c faultfs.Call) error {
		if c.Op == "datasync" || c.Op == "sync" {
			writes = 0
		}
		if c.Op != "write" || !strings.HasPrefix(c.Path, logFile) {
			return nil
		}
		if writes++; writes > 1 {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 100 {
		write(t, log, 100)
		if got := spaceOf(t, fs, log); got != 0 {
			t.Fatalf("got %d bytes of space on a full disk", got)
		}
	}
	fs.Inject(nil)
	for range 100 {
		write(t, log, 100)
	}
	if got := spaceOf(t, fs, log); got == 0 {
		t.Error("got no space when there was room again")
	}
}

// Zeros that end the last record are no space, whatever is wrong in front of them.
func TestDamageInFrontHidesNoRecordThatEndsWithZerosFromWhoReads(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, []string{"one"}, []string{"two"}, []string{strings.Repeat("\x00", 5*8-2)})
		for _, at := range []int{s.ends[0] + 8, s.ends[0] + 60, s.ends[1] + 24, s.ends[1] + 58} {
			bad := slices.Clone(s.log)
			bad[at], bad[at+2] = bad[at]^0x33, bad[at+2]^0x5a
			fs := faultfs.New()
			fs.WriteFile(logFile, bad)
			ro := o
			ro.ReadOnly = true
			log := open(t, fs, ro)
			if _, next := log.Bounds(); next != 4 || log.Err() == nil {
				t.Errorf("byte %d: got %d as next index and %v", at, next, log.Err())
			}
			report, err := immuta.Verify(dir, name, immuta.Options{FS: fs, Sealing: o.Sealing})
			if err != nil || len(report.Damage) != 1 || report.Torn != nil || report.Next != 4 {
				t.Errorf("byte %d: verify: got %+v and %v", at, report, err)
			}
		}
	})
}

func TestWholeSectorsMissingAheadOfSpaceAreTorn(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		n := len(s.ends)
		for cut := (s.ends[n-2] + 511) / 512 * 512; cut < s.ends[n-1]; cut += 512 {
			out := study(t, o, append(slices.Clone(s.log[:cut]), make([]byte, 4000)...), nil)
			if err := s.honest(out); err != nil || out.torn != 1 || out.spaces != 0 || len(out.reports) > 0 || len(out.served) != s.counts[n-2] {
				t.Fatalf("cut at %d: %v; torn %d, served %d, reports %v", cut, err, out.torn, len(out.served), out.reports)
			}
		}
	})
}

func TestATurnedBitInTheSpaceAheadLosesNothing(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		for bit := range 700 * 8 {
			bad := append(slices.Clone(s.log), make([]byte, 700)...)
			bad[len(s.log)+bit/8] |= 1 << (bit % 8)
			out := study(t, o, bad, nil)
			if err := s.honest(out); err != nil || out.torn != 1 || len(out.reports) > 0 || len(out.served) != len(s.records) {
				t.Fatalf("bit %d: %v; torn %d, served %d, reports %v", bit, err, out.torn, len(out.served), out.reports)
			}
		}
	})
}

// Damage in front of space is told as that of a log without: what is said to be
// lost, and what a repair takes for it, does not count the zeros.
func TestSpaceBehindDamageIsNotCountedAsLost(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		s := makeSmall(t, o, someCommits...)
		n := len(s.ends)
		s.log[s.ends[n-2]+70] ^= 1
		var reports []string
		for _, space := range []int{0, 1 << 20} {
			fs := faultfs.New()
			fs.WriteFile(logFile, append(slices.Clone(s.log), make([]byte, space)...))
			ro := o
			ro.FS = fs
			done, err := immuta.Repair(dir, name, ro, true)
			if err != nil || !done.Done {
				t.Fatalf("space %d: got %+v and %v", space, done, err)
			}
			b, _ := fs.ReadFile(logFile)
			lost, bytes, atMost := done.Report.Lost()
			reports = append(reports, fmt.Sprint(done.Report.Bytes, done.Report.Damage, lost, bytes, atMost, done.Room, len(b)))
		}
		if reports[0] != reports[1] {
			t.Errorf("got %s with space ahead, want %s", reports[1], reports[0])
		}
	})
}

func TestAFailedWriteOfSpaceEndsAppendingAsAnyFailedWrite(t *testing.T) {
	fs := faultfs.New()
	log := open(t, fs, immuta.Options{})
	defer log.Close()
	zeros := false
	fs.Inject(func(c faultfs.Call) error {
		if c.Op == "datasync" {
			zeros = false
		}
		if c.Op == "write" && strings.HasPrefix(c.Path, logFile) {
			if zeros {
				return syscall.EIO
			}
			zeros = true
		}
		return nil
	})
	var failed error
	for range 100 {
		if _, failed = log.Append(t.Context(), [][]byte{[]byte("x")}); failed != nil {
			break
		}
	}
	if !errors.Is(failed, syscall.EIO) || !errors.Is(log.Err(), syscall.EIO) || !strings.Contains(fmt.Sprint(failed), "ahead of the end") {
		t.Errorf("got %v and %v, want EIO", failed, log.Err())
	}
}

// In the modes that make no space zeros at the end were commits, and may have been
// answered: they count as cut.
func TestZerosBehindALogThatMakesNoSpaceAreCountedAsCut(t *testing.T) {
	s := makeSmall(t, immuta.Options{}, someCommits...)
	for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncInterval, immuta.SyncOS} {
		var said []immuta.Notice
		log := open(t, diskOf(append(slices.Clone(s.log), make([]byte, 700)...)), immuta.Options{Sync: mode, Report: func(n immuta.Notice) {
			if n.Kind != immuta.IndexRebuilt {
				said = append(said, n)
			}
		}})
		kind, cuts := immuta.TornTail, 1
		if mode == immuta.SyncAlways {
			kind, cuts = immuta.Unclosed, 0
		}
		if len(said) != 1 || said[0].Kind != kind || said[0].Saved != "" || log.Stat().TornCuts != cuts {
			t.Errorf("%s: got %+v and %d cuts, want one notice of kind %q", mode, said, log.Stat().TornCuts, kind)
		}
	}
}
