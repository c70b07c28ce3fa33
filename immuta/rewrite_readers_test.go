package immuta_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
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
