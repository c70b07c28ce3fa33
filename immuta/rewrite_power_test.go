package immuta_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// shrinking is a life in which records are removed from closed segments, from some
// of them twice.
type shrinking struct {
	*life
	tries []try
	last  error // of the last Rewrite
}

// try is one Rewrite: what it was to remove, and whether it said that it has.
type try struct {
	records []uint64
	done    bool
}

// reasonFor is why a record is to be removed in a process; 0: it is not.
func reasonFor(process int, index uint64) uint8 {
	if index%3 != uint64(process) {
		return 0
	}
	return uint8(1 + index/6%2)
}

func newShrinking(o immuta.Options) *shrinking {
	return &shrinking{life: newLife(o)}
}

// run lives: two processes, the last of which never closes the log.
func (s *shrinking) run(fs *faultfs.FS) {
	s.o.FS = fs
	for process := range 2 {
		log, err := immuta.Open(dir, name, s.o)
		if err != nil {
			s.failed = err
			return
		}
		for i := range 4 {
			if !s.append(log) {
				break
			}
			if i%2 == 1 {
				_ = log.Roll(context.Background())
				s.shrink(log, process)
			}
		}
		if process == 1 || s.failed != nil {
			fs.CutAfter(0)
		}
		s.look(log)
		if err := log.Close(); err != nil || s.failed != nil {
			return
		}
	}
}

// shrink rewrites all closed segments, which may fail.
func (s *shrinking) shrink(log *immuta.Log, process int) {
	for _, seg := range log.Segments() {
		if seg.Open {
			continue
		}
		var t try
		_, err := log.Rewrite(context.Background(), seg.First, func(i uint64, _ time.Time, _ []byte) uint8 {
			reason := reasonFor(process, i)
			if reason > 0 {
				t.records = append(t.records, i)
			}
			return reason
		})
		t.done = err == nil
		s.tries, s.last = append(s.tries, t), err
	}
}

// left reads all and says what is removed.
func left(log *immuta.Log) (served map[uint64]string, removed map[uint64]bool, err error) {
	served, removed = map[uint64]string{}, map[uint64]bool{}
	r := log.Reader(1)
	defer r.Close()
	for {
		b, err := r.Next()
		if gone, is := errors.AsType[*immuta.RemovedError](err); is {
			for i := gone.From; i < gone.Next; i++ {
				removed[i] = true
			}
			r.Seek(gone.Next)
			continue
		}
		if err == io.EOF {
			return served, removed, nil
		}
		if err != nil {
			return served, removed, err
		}
		for i, rec := range b.Records {
			served[b.First+uint64(i)] = string(rec)
		}
	}
}

// compare wants all that was answered to be there as it was, or to be removed
// where somebody has asked for that: of each Rewrite all or nothing.
func (s *shrinking) compare(t *testing.T, fs *faultfs.FS, log *immuta.Log) {
	t.Helper()
	served, removed, err := left(log)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	asked := map[uint64]bool{}
	for _, try := range s.tries {
		n := 0
		for _, i := range try.records {
			asked[i] = true
			if removed[i] {
				n++
			}
		}
		if n != len(try.records) && (n > 0 || try.done) {
			t.Fatalf("%d of the records %d are removed; it was said: %v", n, try.records, try.done)
		}
	}
	for i := range uint64(s.promised()) {
		want := s.answered[i]
		if got, ok := served[i+1]; ok && got != want || ok == removed[i+1] || removed[i+1] && !asked[i+1] {
			t.Fatalf("record %d: got %.20q, removed %v, asked for %v, want %.20q", i+1, got, removed[i+1], asked[i+1], want)
		}
	}
	if s.o.Sealing == nil {
		s.contentIsGone(t, fs)
	}
}

// contentIsGone looks for the bytes of records that were removed in all files.
func (s *shrinking) contentIsGone(t *testing.T, fs *faultfs.FS) {
	t.Helper()
	for _, try := range s.tries {
		for _, i := range try.records {
			record := []byte(s.answered[i-1])
			if !try.done || len(record) < 128 || record[0] == 'b' { // that one is there several times
				continue
			}
			record = append(binary.AppendUvarint(nil, uint64(len(record))), record...)
			for _, path := range fs.Names() {
				if b, _ := fs.ReadFile(path); bytes.Contains(b, record) {
					t.Fatalf("record %d was removed, and is in %s", i, path)
				}
			}
		}
	}
}

// hold opens what is left, holds it against what was promised, and tries again.
func (s *shrinking) hold(t *testing.T, fs *faultfs.FS) {
	t.Helper()
	o := s.o
	o.FS = fs
	log, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer log.Close()
	for _, path := range fs.Names() {
		if strings.HasSuffix(path, ".log.tmp") {
			t.Fatalf("%s is left", path)
		}
	}
	s.compare(t, fs, log)
	if found, err := immuta.Verify(dir, name, o); err != nil || len(found.Damage) > 0 {
		t.Fatalf("verify: got %+v and %v, want no damage", found.Damage, err)
	}
	again := *s
	again.tries = append([]try(nil), s.tries...)
	for process := range 2 {
		if again.shrink(log, process); again.last != nil {
			t.Fatalf("the next try: %v", again.last)
		}
	}
	again.compare(t, fs, log)
	_, next := log.Bounds()
	got, err := log.Append(context.Background(), [][]byte{[]byte("after")})
	if err != nil || got.First != next {
		t.Fatalf("append: got index %d and %v, want %d", got.First, err, next)
	}
}

func TestAPowerCutAfterAnyCallOfARewriteLeavesTheOldSegmentOrTheNewOne(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		r := newShrinking(o)
		r.run(whole)
		if n := len(r.tries); n < 6 || r.last != nil {
			t.Fatalf("got %d rewrites and %v, want some", n, r.last)
		}
		for cut := range whole.Calls() + 1 {
			fs := faultfs.New()
			fs.CutAfter(cut)
			r := newShrinking(o)
			r.run(fs)
			for seed := range uint64(5) {
				keep := faultfs.Random
				if seed < 2 {
					keep = faultfs.Keep(seed)
				}
				r.hold(t, fs.After(keep, rand.New(rand.NewPCG(seed, uint64(cut)))))
				if t.Failed() {
					t.Fatalf("cut after call %d, seed %d", cut, seed)
				}
			}
		}
	})
}

func TestAKillInARewriteTakesNothingBackThatIsSaidAfterIt(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		newShrinking(o).run(whole)
		for cut := range whole.Calls() + 1 {
			fs := faultfs.New()
			fs.CutAfter(cut)
			r := newShrinking(o)
			r.run(fs)
			fs.Restart()
			again := *r
			again.o.FS = fs
			log, err := immuta.Open(dir, name, again.o)
			if err != nil {
				t.Fatal(err)
			}
			again.shrink(log, 0)
			again.shrink(log, 1)
			for seed := range uint64(2) {
				after := fs.After(faultfs.Keep(2*seed), rand.New(rand.NewPCG(seed, uint64(cut))))
				if again.hold(t, after); t.Failed() {
					t.Fatalf("killed after call %d, seed %d", cut, seed)
				}
			}
			log.Close()
		}
	})
}

// TestAFailingCallOfARewriteLeavesTheLogAndSaysSo fails each call once. What is
// said of the log is what a reader sees.
func TestAFailingCallOfARewriteLeavesTheLogAndSaysSo(t *testing.T) {
	forSealings(t, func(t *testing.T, o immuta.Options) {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			for n := 2; ; n++ {
				fs := faultfs.New()
				log := batches(t, fs, o, 3, 3, 3)
				atOnce := n%2 == 0 // each call twice: a second try by this process, and one by the next
				start, op := fs.Calls(), ""
				fs.Inject(func(c faultfs.Call) error {
					if c.Changes() && c.N == start+n/2 {
						op = c.Op + " " + c.Path[strings.LastIndexByte(c.Path, '/')+1:]
						return cause
					}
					return nil
				})
				did, err := log.Rewrite(t.Context(), 1, without(1, 2, 3, 4))
				fs.Inject(nil)
				want := "1 2 3 4 5 6 7 8 9 10"
				if removed := did.Removed > 0; removed {
					want = "1 2-4:1 5 6 7 8 9 10"
				} else if err == nil || !errors.Is(err, cause) || !strings.Contains(err.Error(), "the log is as it was") {
					t.Fatalf("%s: got %+v and %v", op, did, err)
				}
				if err != nil && did.Removed > 0 && !strings.Contains(err.Error(), "may bring the old one back") {
					t.Fatalf("%s: got %v", op, err)
				}
				if wantTold(t, log, 1, want); atOnce {
					rewrite(t, log, 1, without(1, 2, 3, 4))
					want = "1 2-4:1 5 6 7 8 9 10"
					wantTold(t, open(t, fs.After(faultfs.None, nil), o), 1, want)
				}
				for range 2 {
					wantTold(t, log, 1, want)
					appendOne(t, log, "11")
					want += " 11"
					log.Close()
					log = open(t, fs, o)
				}
				for _, path := range fs.Names() {
					if strings.HasSuffix(path, ".log.tmp") {
						t.Fatalf("%s: %s is left", op, path)
					}
				}
				rewrite(t, log, 1, without(1, 2, 3, 4))
				log.Close()
				wantTold(t, open(t, fs.After(faultfs.None, nil), o), 1, "1 2-4:1 5 6 7 8 9 10 11 11")
				if t.Failed() || op == "" {
					break
				}
			}
		}
	})
}

func TestARewriteMakesTheFileDurableBeforeItsName(t *testing.T) {
	fs := faultfs.New()
	log := batches(t, fs, immuta.Options{}, 3, 3)
	var calls []string
	fs.Inject(func(c faultfs.Call) error {
		if c.Changes() {
			calls = append(calls, c.Op+" "+strings.TrimPrefix(c.Path, dir+"/orders.1"))
		}
		return nil
	})
	rewrite(t, log, 1, without(1, 2))
	want := "create .log.tmp, truncate .log.tmp, write .log.tmp, write .log.tmp, sync .log.tmp, remove .idx, rename .log.tmp, syncdir data, " +
		"create .idx.tmp, truncate .idx.tmp, write .idx.tmp, sync .idx.tmp, rename .idx.tmp, syncdir data"
	if got := strings.Join(calls, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
