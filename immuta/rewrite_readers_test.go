package immuta_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func TestAReaderInTheMiddleOfASegmentGoesOnInTheNewOne(t *testing.T) {
	for _, reopened := range []bool{false, true} { // from the recent blocks, and from the file
		forBlocks(t, func(t *testing.T, o immuta.Options) {
			fs := faultfs.New()
			log := batches(t, fs, o, 1, 2, 3, 3)
			if reopened {
				log.Close()
				log = open(t, fs, o)
			}
			r := log.Reader(1)
			defer r.Close()
			if b, err := r.Next(); err != nil || string(b.Records[0]) != "1" {
				t.Fatalf("got %v and %v, want record 1", b, err)
			}
			rewrite(t, log, 1, without(4, 1, 2, 5))
			var got []string
			for {
				b, err := r.Next()
				if removed, is := errors.AsType[*immuta.RemovedError](err); is {
					got = append(got, fmt.Sprintf("-%d", removed.From))
					r.Seek(removed.Next)
					continue
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, rec := range b.Records {
					got = append(got, string(rec))
				}
			}
			if got, want := strings.Join(got, " "), "-2 3 4 -5 6 7 8 9 10"; got != want {
				t.Errorf("got %s behind record 1, want %s", got, want)
			}
		})
	}
}

func TestABlockThatReadersShareIsNotServedWhenItsFileWasRewritten(t *testing.T) {
	fs := faultfs.New()
	o := immuta.Options{Sealing: immuta.FakeSealing(1)}
	batches(t, fs, o, 3, 3).Close()
	log := open(t, fs, o)
	for range 2 {
		r := log.Reader(1)
		defer r.Close()
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(t, log, 1, without(1, 2))
	wantTold(t, log, 1, "1 2-2:1 3 4 5 6 7")
}

func TestWhoOnlyReadsFindsASegmentThatAnotherProcessHasRewritten(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		fs := faultfs.New()
		log := batches(t, fs, o, 3, 3)
		if err := log.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		reading := o
		reading.ReadOnly = true
		first, second, third := open(t, fs, reading), open(t, fs, reading), open(t, fs, reading)
		r := third.Reader(1) // has the file open
		defer r.Close()
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		rewrite(t, log, 1, without(9, 2, 3, 4))
		rewrite(t, log, 1, without(9, 5))
		wantTold(t, first, 1, "1 2-5:9 6 7")
		if got, err := second.IndexAt(time.Unix(0, 1)); got != 1 || err != nil {
			t.Errorf("got %d and %v, want 1", got, err)
		}
		wantTold(t, second, 3, "3-5:9 6 7")
		if b, err := r.Next(); err != nil || b.First != 4 || string(b.Records[0]) != "4" {
			t.Errorf("got %v and %v, want record 4 of the file that it has", b, err)
		}
		if _, err := log.Trim(7); err != nil {
			t.Fatal(err)
		}
		wantTold(t, open(t, fs, reading), 7, "7")
	})
}

func TestAnotherFileInThePlaceOfASegmentIsNotTakenForARewrittenOne(t *testing.T) {
	files, other := faultfs.New(), faultfs.New()
	batches(t, files, immuta.Options{}, 3).Close()
	rewritten := batches(t, other, immuta.Options{}, 3)
	rewrite(t, rewritten, 1, without(1, 2))
	b, _ := other.ReadFile(closedFile(1))
	for _, readOnly := range []bool{true, false} {
		log := open(t, files, immuta.Options{ReadOnly: readOnly})
		files.WriteFile(closedFile(1), b)
		_, err := log.Reader(1).Next()
		if damage, ok := errors.AsType[*immuta.CorruptError](err); !ok || !strings.Contains(damage.Why, "another file") {
			t.Errorf("got %v, want an error about another file", err)
		}
		log.Close()
		files = faultfs.New()
		batches(t, files, immuta.Options{}, 3).Close()
	}
}

func TestALogMayBeRewrittenWhileItIsVerified(t *testing.T) {
	for what, look := range map[string]func(immuta.Options) (immuta.Report, error){
		"verify": func(o immuta.Options) (immuta.Report, error) { return immuta.Verify(dir, name, o) },
		"repair": func(o immuta.Options) (immuta.Report, error) {
			r, err := immuta.Repair(dir, name, o, false)
			return r.Report, err
		},
	} {
		files := faultfs.New()
		log := rolled(t, files, immuta.Options{}, 4)
		late := &laterLook{FS: files, path: closedFile(4), do: func() { rewrite(t, log, 4, without(1, 5, 6)) }}
		got, err := look(immuta.Options{FS: late})
		if err != nil || len(got.Damage) > 0 || got.First != 1 || got.Next != 13 || got.Records != 10 || got.Removed != 2 {
			t.Errorf("%s: got %+v and %v, want 10 records and 2 removed", what, got, err)
		}
	}
}

func TestTheOldFileIsClosedWhenItsLastReaderHasLeft(t *testing.T) {
	files := &countingFS{FS: faultfs.New()}
	batches(t, files, immuta.Options{}, 20).Close()
	log, err := immuta.Open(dir, name, immuta.Options{FS: files})
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, log, 1, without(1, 19))
	before := files.open
	for i := range uint64(15) {
		r := log.Reader(i + 2)
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		rewrite(t, log, 1, without(1, i+1))
		if got := files.open; got > before+2 {
			t.Errorf("rewrite %d: got %d files open, want the %d of before and the reader's two", i, got, before)
		}
		r.Close()
		if got := files.open; got != before {
			t.Errorf("rewrite %d: got %d files open, want %d", i, got, before)
		}
	}
	log.Close()
	if got := files.open; got != 0 {
		t.Errorf("got %d files open behind Close, want none", got)
	}
}

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
