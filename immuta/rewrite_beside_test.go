package immuta_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func TestASegmentThatIsDeletedMeanwhileIsNotPutBack(t *testing.T) {
	fs := faultfs.New()
	log := batches(t, fs, immuta.Options{}, 3)
	_, err := log.Rewrite(t.Context(), 1, func(i uint64, _ time.Time, _ []byte) uint8 {
		if i == 3 {
			done := make(chan error)
			go func() {
				_, err := log.Trim(4)
				done <- err
			}()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		return 1
	})
	if !errors.Is(err, immuta.ErrNoSegment) {
		t.Errorf("got %v, want %v", err, immuta.ErrNoSegment)
	}
	if got, want := fmt.Sprint(fs.Names()), "["+idxFile+" "+logFile+"]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	wantTold(t, log, 4, "4")
}

// lateTrim deletes all that is closed when a rewritten file is about to get its
// name, beside that, and gives it time to be too fast.
type lateTrim struct {
	immuta.FS
	log  *immuta.Log
	done chan error
}

func (l *lateTrim) Rename(from, to string) error {
	if strings.HasSuffix(from, ".1.log.tmp") {
		go func() {
			_, err := l.log.Trim(4)
			l.done <- err
		}()
		for range 10_000 {
			runtime.Gosched()
		}
	}
	return l.FS.Rename(from, to)
}

func TestASegmentThatIsToBeDeletedAtTheLastMomentIsDeletedBehindTheRewrite(t *testing.T) {
	files := faultfs.New()
	late := &lateTrim{FS: files, done: make(chan error, 1)}
	late.log = batches(t, late, immuta.Options{}, 3)
	rewrite(t, late.log, 1, without(1, 2))
	if err := <-late.done; err != nil {
		t.Error(err)
	}
	if got, want := fmt.Sprint(files.Names()), "["+idxFile+" "+logFile+"]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	wantTold(t, late.log, 4, "4")
}

// lyingDisk turns a bit of what is written to a file, or leaves its end out.
type lyingDisk struct {
	immuta.FS
	short bool
}

type lyingFile struct {
	immuta.File
	short bool
}

func (l lyingDisk) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := l.FS.OpenFile(path, flag, perm)
	if err == nil && strings.HasSuffix(path, ".1.log.tmp") {
		f = lyingFile{f, l.short}
	}
	return f, err
}

func (f lyingFile) WriteAt(b []byte, at int64) (int, error) {
	if at == 0 {
		return f.File.WriteAt(b, at)
	}
	bad := slices.Clone(b)
	if bad[len(bad)/2] ^= 8; f.short {
		bad = b[:len(b)-64]
	}
	_, err := f.File.WriteAt(bad, at)
	return len(b), err
}

func TestAFileThatDoesNotReadBackDoesNotGetTheName(t *testing.T) {
	for _, short := range []bool{false, true} {
		files := faultfs.New()
		log := batches(t, lyingDisk{files, short}, immuta.Options{}, 1, 1, 1, 1)
		_, err := log.Rewrite(t.Context(), 1, without(1, 2))
		if _, damaged := errors.AsType[*immuta.CorruptError](err); err == nil || damaged || !strings.Contains(err.Error(), "does not read back") {
			t.Errorf("short %v: got %v, want an error that is not of the log", short, err)
		}
		wantTold(t, log, 1, "1 2 3 4 5")
		if slices.Contains(files.Names(), closedFile(1)+".tmp") {
			t.Error("the new file is left")
		}
	}
}

func TestCloseEndsARewriteAndWaitsForIt(t *testing.T) {
	for at := uint64(1); at <= 3; at++ {
		fs := faultfs.New()
		log := batches(t, fs, immuta.Options{}, 1, 1, 1)
		closed := make(chan error)
		_, err := log.Rewrite(t.Context(), 1, func(i uint64, _ time.Time, _ []byte) uint8 {
			if i == at {
				go func() { closed <- log.Close() }()
				for err := error(nil); err != immuta.ErrClosed; {
					_, err = log.Reader(99).Next()
				}
				select {
				case <-closed:
					t.Error("Close has not waited")
				default:
				}
			}
			return 1
		})
		if err != immuta.ErrClosed {
			t.Errorf("got %v, want %v", err, immuta.ErrClosed)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if slices.Contains(fs.Names(), closedFile(1)+".tmp") {
			t.Error("the new file is left")
		}
		if got := told(t, open(t, fs, immuta.Options{}), 1); len(got) < 4 || got[0] != "1" || got[2] != "3" {
			t.Errorf("got %q, want all records", got)
		}
	}
}

func TestRewritesRollsTrimsReadersAndAppendsGoOnBesideEachOther(t *testing.T) {
	const last = 3000
	for _, sealing := range []immuta.Sealing{nil, immuta.FakeSealing(1)} {
		o := immuta.Options{Sync: immuta.SyncOS, SegmentBytes: 3000, Sealing: sealing}
		path := t.TempDir()
		log, err := immuta.Open(path, name, o)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		ctx, stop := context.WithCancel(t.Context())
		var beside, readers sync.WaitGroup
		for by := range uint64(2) {
			beside.Go(func() { rewriteAll(ctx, t, log, 5+2*by) })
		}
		beside.Go(func() {
			for ctx.Err() == nil {
				o := o
				if got, err := immuta.Verify(path, name, o); err != nil || len(got.Damage) > 0 {
					t.Errorf("verify: got %+v and %v", got.Damage, err)
				}
				if _, err := log.IndexAt(time.Now().Add(-5 * time.Millisecond)); err != nil {
					t.Error(err)
				}
			}
		})
		for range 4 {
			readers.Go(func() {
				if err := followRemoved(ctx, log, last); err != nil {
					t.Error(err)
				}
			})
		}
		for i := 1; i <= last; i++ {
			appendOne(t, log, fmt.Sprint(i))
			if i%500 == 0 {
				if _, err := log.Trim(uint64(i) - 400); err != nil {
					t.Fatal(err)
				}
			}
		}
		readers.Wait()
		stop()
		beside.Wait()
		if err := log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, by := range []uint64{5, 7} {
			rewriteOnce(t.Context(), t, log, by)
		}
		_, gone, err := left(log)
		if err != nil {
			t.Fatal(err)
		}
		for i, _ := log.Bounds(); i <= last; i++ {
			if gone[i] != (i%5 == 0 || i%7 == 0) {
				t.Fatalf("record %d: removed is %v", i, gone[i])
			}
		}
	}
}

// rewriteAll removes each record whose index has a divisor, again and again.
func rewriteAll(ctx context.Context, t *testing.T, log *immuta.Log, by uint64) {
	for ctx.Err() == nil {
		rewriteOnce(ctx, t, log, by)
	}
}

func rewriteOnce(ctx context.Context, t *testing.T, log *immuta.Log, by uint64) {
	for _, s := range log.Segments() {
		_, err := log.Rewrite(ctx, s.First, func(i uint64, _ time.Time, rec []byte) uint8 {
			if string(rec) != fmt.Sprint(i) {
				t.Errorf("record %d: got %q", i, rec)
			}
			if i%by == 0 {
				return uint8(by)
			}
			return 0
		})
		if err != nil && !errors.Is(err, immuta.ErrNoSegment) && ctx.Err() == nil {
			t.Error(err)
		}
	}
}

// followRemoved reads to a record, and wants those that are removed to have been meant.
func followRemoved(ctx context.Context, log *immuta.Log, last uint64) error {
	r := log.Reader(1)
	defer r.Close()
	for due := uint64(1); due <= last; {
		b, err := r.Next()
		if removed, is := errors.AsType[*immuta.RemovedError](err); is {
			for i := removed.From; i < removed.Next; i++ {
				if i%uint64(removed.Reason) != 0 {
					return fmt.Errorf("record %d was removed for %d", i, removed.Reason)
				}
			}
			if first, _ := log.Bounds(); removed.From != due && removed.From > first {
				return fmt.Errorf("got %v, want record %d", removed, due)
			}
			due = removed.Next
			r.Seek(due)
			continue
		}
		if err == io.EOF {
			if err := log.Wait(ctx, due); err != nil {
				return err
			}
			continue
		}
		if err != nil || b.First < due {
			return fmt.Errorf("got a block at %d and %w, want %d or later", b.First, err, due)
		}
		for i, rec := range b.Records {
			if string(rec) != fmt.Sprint(b.First+uint64(i)) {
				return fmt.Errorf("record %d: got %q", b.First+uint64(i), rec)
			}
		}
		due = b.First + uint64(len(b.Records))
	}
	return nil
}
