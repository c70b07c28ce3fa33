package immuta_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func appendOne(t *testing.T, log *immuta.Log, record string) uint64 {
	t.Helper()
	got, err := log.Append(t.Context(), [][]byte{[]byte(record)})
	if err != nil {
		t.Fatal(err)
	}
	return got.First
}

// rolled is a log with so many closed segments of three records each, the i-th
// record being "i".
func rolled(t *testing.T, fs immuta.FS, o immuta.Options, segments int) *immuta.Log {
	t.Helper()
	o.FS = fs
	log, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	for i := range 3 * segments {
		appendOne(t, log, fmt.Sprint(i+1))
		if i%3 == 2 {
			if err := log.Roll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return log
}

func closedFile(first int) string { return fmt.Sprintf("%s/%s.%d.log", dir, name, first) }

func TestARolledLogIsReadAcrossItsSegmentsAndAfterAReopen(t *testing.T) {
	for _, sealing := range []immuta.Sealing{nil, immuta.FakeSealing(1)} {
		fs := faultfs.New()
		log := rolled(t, fs, immuta.Options{Sealing: sealing}, 3)
		appendOne(t, log, "10")
		id := log.ID()
		for reopened := range 2 {
			first, got, err := since(log)
			if want := "1 2 3 4 5 6 7 8 9 10"; first != 1 || err != nil || strings.Join(got, " ") != want {
				t.Fatalf("reopened %d: got %q from %d and %v, want %s", reopened, got, first, err, want)
			}
			if n := log.Stat().Segments; n != 4 || log.ID() != id {
				t.Fatalf("got %d segments of log %x, want 4 of %x", n, log.ID(), id)
			}
			log.Close()
			log = open(t, fs, immuta.Options{Sealing: sealing})
		}
		for _, first := range []int{1, 4, 7} {
			if _, ok := fs.ReadFile(closedFile(first)); !ok {
				t.Errorf("%s is not there: %q", closedFile(first), fs.Names())
			}
		}
	}
}

func TestTheDefaultIsOneFileForEver(t *testing.T) {
	fs := faultfs.New()
	log := open(t, fs, immuta.Options{})
	for range 50 {
		appendOne(t, log, strings.Repeat("x", 100_000))
	}
	log.Close()
	if got, want := fmt.Sprint(fs.Names()), "["+idxFile+" "+logFile+"]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestALogRollsByItselfWhenASegmentIsLongEnough(t *testing.T) {
	log := open(t, faultfs.New(), immuta.Options{SegmentBytes: 10_000})
	for range 30 {
		appendOne(t, log, strings.Repeat("x", 1000))
	}
	if err := log.Roll(t.Context()); err != nil { // behind the one that the last append has led to
		t.Fatal(err)
	}
	for _, s := range log.Segments() {
		if !s.Open && (s.Bytes > 12_000 || s.Next-s.First > 10) {
			t.Errorf("got a segment of %d bytes, want about 10000", s.Bytes)
		}
	}
	if n := log.Stat().Segments; n < 4 {
		t.Errorf("got %d segments, want 4 or more", n)
	}
}

func TestAnEmptySegmentIsNotRolled(t *testing.T) {
	log := rolled(t, faultfs.New(), immuta.Options{}, 1)
	for range 3 {
		if err := log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := log.Stat().Segments; n != 2 {
		t.Errorf("got %d segments, want 2", n)
	}
}

func TestATrimDeletesWholeSegmentsBelowAnIndexAndNoMore(t *testing.T) {
	fs := faultfs.New()
	log := rolled(t, fs, immuta.Options{}, 4)
	for _, c := range []struct {
		before, first uint64
		segments      int
		records       uint64
	}{{3, 1, 0, 0}, {4, 4, 1, 3}, {9, 7, 1, 3}, {100, 13, 2, 6}, {100, 13, 0, 0}} {
		got, err := log.Trim(c.before)
		if err != nil || got.Segments != c.segments || got.Records != c.records || (got.Bytes > 0) != (c.segments > 0) {
			t.Errorf("before %d: got %+v and %v, want %d segments with %d records", c.before, got, err, c.segments, c.records)
		}
		if first, next := log.Bounds(); first != c.first || next != 13 {
			t.Errorf("before %d: got the bounds %d and %d, want %d and 13", c.before, first, next, c.first)
		}
	}
	if got, want := fmt.Sprint(fs.Names()), "["+idxFile+" "+logFile+"]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnIndexIsNeverGivenTwiceWhenAllIsGone(t *testing.T) {
	fs := faultfs.New()
	now := time.Unix(2e9, 0)
	log := rolled(t, fs, immuta.Options{Now: func() time.Time { return now }}, 2)
	if _, err := log.Trim(7); err != nil {
		t.Fatal(err)
	}
	log.Close()
	now = now.Add(-time.Hour) // nor does time go back
	log = open(t, fs, immuta.Options{Now: func() time.Time { return now }})
	if first, next := log.Bounds(); first != 7 || next != 7 {
		t.Errorf("got the bounds %d and %d, want 7 and 7", first, next)
	}
	got, err := log.Append(t.Context(), [][]byte{[]byte("7")})
	if err != nil || got.First != 7 || got.Time.Before(time.Unix(2e9, 0)) {
		t.Errorf("got index %d at %s and %v, want 7, not before %s", got.First, got.Time, err, time.Unix(2e9, 0))
	}
}

func TestAReaderInADeletedSegmentGoesOnAtTheFirstRecordKept(t *testing.T) {
	fs := faultfs.New()
	rolled(t, fs, immuta.Options{}, 3).Close()
	log := open(t, fs, immuta.Options{})
	r := log.Reader(1)
	defer r.Close()
	if b, err := r.Next(); err != nil || b.First != 1 {
		t.Fatalf("got a block at %d and %v, want 1", b.First, err)
	}
	if _, err := log.Trim(7); err != nil {
		t.Fatal(err)
	}
	if b, err := r.Next(); err != nil || b.First != 7 {
		t.Fatalf("got a block at %d and %v, want 7", b.First, err)
	}
}

func TestAMissingSegmentIsToldAsAGapWithItsNumbers(t *testing.T) {
	fs := faultfs.New()
	rolled(t, fs, immuta.Options{}, 3).Close()
	if err := fs.Remove(closedFile(4)); err != nil {
		t.Fatal(err)
	}
	var told []string
	log := open(t, fs, immuta.Options{Report: func(n immuta.Notice) { told = append(told, string(n.Kind)+" "+filepath.Base(n.Path)) }})
	if got, want := fmt.Sprint(told), "[corrupt orders.7.log]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	r := log.Reader(1)
	defer r.Close()
	for range 3 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.Next()
	damage, ok := errors.AsType[*immuta.CorruptError](err)
	if !ok || damage.From != 4 || damage.Next != 7 {
		t.Fatalf("got %v, want the records 4 to 6 lost", err)
	}
	r.Seek(damage.Next)
	if b, err := r.Next(); err != nil || b.First != 7 {
		t.Fatalf("got a block at %d and %v, want 7", b.First, err)
	}
	report, err := immuta.Verify(dir, name, immuta.Options{FS: fs})
	if err != nil || len(report.Damage) != 1 || report.Damage[0].Lost != 3 || report.Damage[0].Path != closedFile(1) {
		t.Errorf("verify: got %+v and %v, want 3 records lost behind %s", report.Damage, err, closedFile(1))
	}
}

func TestALogWithoutItsLastFileIsNotBegunAnew(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		fs := faultfs.New()
		rolled(t, fs, immuta.Options{}, 2).Close()
		if err := fs.Remove(logFile); err != nil {
			t.Fatal(err)
		}
		_, err := immuta.Open(dir, name, immuta.Options{FS: fs, ReadOnly: readOnly})
		damage, ok := errors.AsType[*immuta.CorruptError](err)
		if !ok || damage.Path != logFile || !damage.Missing || !strings.Contains(err.Error(), "orders.4.log are there") {
			t.Errorf("read only %t: got %v, want a sentence on what is missing", readOnly, err)
		}
	}
}

func TestATemporaryFileOfAnotherLogIsNotTakenForAnUnfinishedRoll(t *testing.T) {
	fs, other := faultfs.New(), faultfs.New()
	rolled(t, fs, immuta.Options{}, 2).Close()
	rolled(t, other, immuta.Options{}, 2).Close()
	b, _ := other.ReadFile(logFile)
	fs.Remove(logFile)
	fs.WriteFile(logFile+".tmp", b)
	if log, err := immuta.Open(dir, name, immuta.Options{FS: fs}); err == nil {
		log.Close()
		t.Error("got a log, want an error")
	}
}

func TestAClosedSegmentOfAnotherLogIsRefused(t *testing.T) {
	fs, other := faultfs.New(), faultfs.New()
	rolled(t, fs, immuta.Options{}, 2).Close()
	rolled(t, other, immuta.Options{}, 2).Close()
	b, _ := other.ReadFile(closedFile(4))
	fs.WriteFile(closedFile(4), b)
	_, err := immuta.Open(dir, name, immuta.Options{FS: fs})
	if damage, ok := errors.AsType[*immuta.CorruptError](err); !ok || damage.Path != closedFile(4) {
		t.Errorf("got %v, want an error about %s", err, closedFile(4))
	}
}

func TestATimeIsFoundInTheSegmentThatHasIt(t *testing.T) {
	now := time.Unix(1e9, 0)
	log := rolled(t, faultfs.New(), immuta.Options{Now: func() time.Time { now = now.Add(time.Second); return now }}, 4)
	// The file of the log takes a second of its own, and each roll takes none.
	for i := range uint64(12) {
		at := time.Unix(1e9+2+int64(i), 0)
		if got, err := log.IndexAt(at); err != nil || got != i+1 {
			t.Errorf("at second %d: got %d and %v, want %d", i, got, err, i+1)
		}
	}
	if got, err := log.IndexAt(now.Add(time.Hour)); err != nil || got != 13 {
		t.Errorf("later: got %d and %v, want 13", got, err)
	}
	if _, err := log.Trim(7); err != nil {
		t.Fatal(err)
	}
	if got, err := log.IndexAt(time.Unix(1e9, 0)); err != nil || got != 7 {
		t.Errorf("before all that is kept: got %d and %v, want 7", got, err)
	}
}

func TestALogThatIsOnlyReadMayBeRolledAndTrimmedByAnother(t *testing.T) {
	fs := faultfs.New()
	log := rolled(t, fs, immuta.Options{}, 3)
	reading := open(t, fs, immuta.Options{ReadOnly: true})
	r := reading.Reader(2)
	defer r.Close()
	if b, err := r.Next(); err != nil || b.First != 2 {
		t.Fatalf("got a block at %d and %v, want 2", b.First, err)
	}
	appendOne(t, log, "10")
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Trim(7); err != nil {
		t.Fatal(err)
	}
	// The segment it reads is open still, the next one is gone.
	if b, err := r.Next(); err != nil || b.First != 3 {
		t.Fatalf("got a block at %d and %v, want 3", b.First, err)
	}
	if b, err := r.Next(); err != nil || b.First != 7 {
		t.Fatalf("got a block at %d and %v, want 7", b.First, err)
	}
	if first, next := reading.Bounds(); first != 7 || next != 10 {
		t.Errorf("got the bounds %d and %d, want 7 and 10", first, next)
	}
}

func TestWhoOpensALogBesideRollsAndTrimsSeesOneMomentOfIt(t *testing.T) {
	path := t.TempDir()
	log, err := immuta.Open(path, name, immuta.Options{Sync: immuta.SyncOS, SegmentBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			if _, err := log.Append(context.Background(), [][]byte{fmt.Appendf(nil, "%d", i)}); err != nil {
				t.Error(err)
				return
			}
			if _, next := log.Bounds(); i%50 == 0 {
				if _, err := log.Trim(next - min(next-1, 100)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 100 {
		reading, err := immuta.Open(path, name, immuta.Options{ReadOnly: true, Sync: immuta.SyncOS, Report: func(n immuta.Notice) {
			if n.Kind == immuta.Corrupt {
				t.Error(n.Text)
			}
		}})
		if err != nil {
			t.Error(err)
			break
		}
		readOn(t, reading)
		reading.Close()
		if found, err := immuta.Verify(path, name, immuta.Options{}); err != nil || len(found.Damage) > 0 {
			t.Errorf("verify: got %+v and %v, want no damage", found.Damage, err)
		}
	}
	stop()
	writing.Wait()
}

// readOn reads all there is of a log whose i-th record is "i".
func readOn(t *testing.T, log *immuta.Log) {
	t.Helper()
	r := log.Reader(1)
	defer r.Close()
	for {
		b, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		for i, rec := range b.Records {
			if got, want := string(rec), fmt.Sprint(b.First+uint64(i)); got != want {
				t.Errorf("got record %q, want %q", got, want)
				return
			}
		}
	}
}

func TestClosedSegmentsHoldFewFiles(t *testing.T) {
	counting := &countingFS{FS: faultfs.New()}
	log := rolled(t, counting, immuta.Options{}, 40)
	log.Close()
	if counting.open != 0 {
		t.Errorf("got %d open files behind Close, want none", counting.open)
	}
	log, err := immuta.Open(dir, name, immuta.Options{FS: counting})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	readOn(t, log)
	if got, most := counting.open, 20; got > most {
		t.Errorf("got %d open files, want at most %d", got, most)
	}
}

// countingFS counts open files.
type countingFS struct {
	immuta.FS
	mu   sync.Mutex
	open int
}

type countedFile struct {
	immuta.File
	fs *countingFS
}

func (c *countingFS) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := c.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	return countedFile{f, c}, nil
}

func (f countedFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.File.Close()
	if err == nil {
		f.fs.open--
	}
	return err
}

func TestAnIndexOfAClosedSegmentIsMadeAnew(t *testing.T) {
	path := t.TempDir()
	log := rolledIn(t, path, 3)
	log.Close()
	for _, first := range []int{1, 4} {
		if err := os.WriteFile(filepath.Join(path, fmt.Sprintf("orders.%d.idx", first)), []byte("no index"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := immuta.Open(path, name, immuta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	readOn(t, log)
	if got, err := os.ReadFile(filepath.Join(path, "orders.4.idx")); err != nil || string(got[1:7]) != "immidx" {
		t.Errorf("got the index %q and %v, want a new one", got, err)
	}
}

func rolledIn(t *testing.T, path string, segments int) *immuta.Log {
	t.Helper()
	log, err := immuta.Open(path, name, immuta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	for i := range 3 * segments {
		appendOne(t, log, fmt.Sprint(i+1))
		if i%3 == 2 {
			if err := log.Roll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return log
}
