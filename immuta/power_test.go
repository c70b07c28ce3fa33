package immuta_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

const dir, name = "data", "orders"

// life is what one process after another does to a log, and what it was told.
type life struct {
	o        immuta.Options
	answered []string // records of answered appends
	seen     uint64   // highest next that Bounds has shown
	pending  []string // of the append that failed, which may be there or not
	failed   error
	refused  int // appends that found the disk full, after which life goes on; failOnce sets 1
	draw     *rand.Rand
}

func newLife(o immuta.Options) *life {
	o.BlockSize, o.SyncEvery = 200, time.Hour
	return &life{o: o, draw: rand.New(rand.NewPCG(1, 2))}
}

// batch makes records that share sectors, span them, and are zeros.
func (l *life) batch() []string {
	if len(l.answered)%5 == 0 { // long enough for the log to make space ahead of its end
		return []string{strings.Repeat("b", 20_000)}
	}
	out := make([]string, 1+l.draw.IntN(4))
	for i := range out {
		b := bytes.Repeat([]byte{byte('a' + l.draw.IntN(26))}, l.draw.IntN(300))
		if l.draw.IntN(4) == 0 {
			b = make([]byte, l.draw.IntN(1500))
		}
		out[i] = fmt.Sprintf("%d:%s", len(l.answered)+i, b)
	}
	return out
}

func (l *life) append(log *immuta.Log) bool {
	batch := l.batch()
	records := make([][]byte, len(batch))
	for i := range batch {
		records[i] = []byte(batch[i])
	}
	got, err := log.Append(context.Background(), records)
	if err != nil && errors.Is(err, syscall.ENOSPC) && log.Err() == nil && l.refused == 0 {
		l.refused++ // it is not to come back; the log goes on
		return l.append(log)
	}
	if err != nil {
		l.pending, l.failed = batch, err
		return false
	}
	if want := uint64(len(l.answered) + 1); got.First != want {
		l.failed = fmt.Errorf("got index %d, want %d", got.First, want)
		return false
	}
	l.answered = append(l.answered, batch...)
	l.look(log)
	return true
}

func (l *life) look(log *immuta.Log) {
	_, next := log.Bounds()
	l.seen = max(l.seen, next)
}

// run lives: three processes, the last of which never closes the log.
func (l *life) run(fs *faultfs.FS) {
	l.o.FS = fs
	for process := range 3 {
		log, err := immuta.Open(dir, name, l.o)
		if err != nil {
			l.failed = err
			return
		}
		for range 4 {
			if !l.append(log) {
				break
			}
		}
		l.look(log)
		if process == 2 || l.failed != nil {
			fs.CutAfter(0)
		}
		err = log.Close()
		l.look(log)
		if err != nil && l.failed == nil && process != 2 {
			l.failed = err
		}
		if l.failed != nil {
			return
		}
	}
}

// all reads everything; the error is what ended it, nil for the end.
func all(log *immuta.Log) (out []string, err error) {
	r := log.Reader(1)
	defer r.Close()
	for {
		b, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if b.First != uint64(len(out)+1) {
			return out, fmt.Errorf("got a block at %d, want it at %d", b.First, len(out)+1)
		}
		for _, rec := range b.Records {
			out = append(out, string(rec))
		}
	}
}

// check opens what is left and holds it against what was promised. least is how
// many records must be there.
func (l *life) check(t *testing.T, fs *faultfs.FS, least int) {
	t.Helper()
	o := l.o
	o.FS = fs
	log, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer log.Close()
	if log.Err() != nil {
		t.Fatalf("the log takes no appends: %v", log.Err())
	}
	got, err := all(log)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	l.compare(t, got, least)
	ctx := context.Background()
	for range 2 {
		if _, err := log.Append(ctx, [][]byte{[]byte("after"), []byte("wards")}); err != nil {
			t.Fatalf("append: %v", err)
		}
		got = append(got, "after", "wards")
	}
	log.Close()
	// What was cut must stay cut, and what was read must stay read.
	o.FS = fs.After(faultfs.None, nil)
	again, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	defer again.Close()
	if now, err := all(again); err != nil || fmt.Sprint(now) != fmt.Sprint(got) {
		t.Fatalf("after a second crash: got %d records and %v, want %d", len(now), err, len(got))
	}
}

func (l *life) compare(t *testing.T, got []string, least int) {
	t.Helper()
	if len(got) < least {
		t.Fatalf("got %d records, want the %d promised", len(got), least)
	}
	want := l.answered
	if len(got) > len(want) { // the pending commit may be there, but only whole
		want = append(want[:len(want):len(want)], l.pending...)
		if len(got) != len(want) {
			t.Fatalf("got %d records, want %d or %d", len(got), len(l.answered), len(want))
		}
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("record %d: got %.60q, want %.60q", i+1, got[i], want[i])
		}
	}
}

// promised is how many records no power cut may take.
func (l *life) promised() int {
	switch l.o.Sync {
	case immuta.SyncAlways:
		return len(l.answered)
	case immuta.SyncInterval:
		return int(max(l.seen, 1) - 1)
	}
	return 0
}

func forModes(t *testing.T, test func(t *testing.T, o immuta.Options)) {
	for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncInterval, immuta.SyncOS} {
		for _, sealing := range []immuta.Sealing{nil, immuta.FakeSealing(1)} {
			kind := "plain"
			if sealing != nil {
				kind = "sealed"
			}
			t.Run(mode.String()+"/"+kind, func(t *testing.T) {
				test(t, immuta.Options{Sync: mode, Sealing: sealing})
			})
		}
	}
}

func TestAPowerCutAfterAnyCallTakesNothingThatWasPromised(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		newLife(o).run(whole)
		for cut := range whole.Calls() + 1 {
			fs := faultfs.New()
			fs.CutAfter(cut)
			l := newLife(o)
			l.run(fs)
			if l.failed != nil && !errors.Is(l.failed, faultfs.ErrCut) && !errors.Is(l.failed, immuta.ErrClosed) {
				t.Fatalf("cut after call %d: %v", cut, l.failed)
			}
			for seed := range uint64(22) {
				keep := faultfs.Random
				if seed < 2 {
					keep = faultfs.Keep(seed)
				}
				l.check(t, fs.After(keep, rand.New(rand.NewPCG(seed, uint64(cut)))), l.promised())
				if t.Failed() {
					t.Fatalf("cut after call %d, seed %d", cut, seed)
				}
			}
		}
	})
}

func TestAKillAfterAnyCallTakesNothingNorDoesAPowerCutSoonAfter(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		newLife(o).run(whole)
		for cut := range whole.Calls() + 1 {
			fs := faultfs.New()
			fs.CutAfter(cut)
			l := newLife(o)
			l.run(fs)
			fs.Restart()
			l.shownIsDurable(t, fs)
			l.check(t, fs, len(l.answered))
			if t.Failed() {
				t.Fatalf("killed after call %d", cut)
			}
		}
	})
}

// shownIsDurable wants what an open log shows at once to survive a power cut.
func (l *life) shownIsDurable(t *testing.T, fs *faultfs.FS) {
	t.Helper()
	log := open(t, fs, l.o)
	shown := visible(log)
	after := open(t, fs.After(faultfs.None, nil), l.o)
	if got := visible(after); got < shown {
		t.Fatalf("got %d records after a power cut, %d had been shown", got, shown)
	}
	after.Close()
	log.Close()
}

// TestAPowerCutAfterAFullDiskFindsNoMixture fails each write for want of space
// and cuts the power soon after: what the refused commit has left in the file
// must not come to stand in the frames of the next.
func TestAPowerCutAfterAFullDiskFindsNoMixture(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		newLife(o).run(whole)
		for n := range whole.Calls() {
			for soon := range 6 {
				fs := faultfs.New()
				fs.Inject(func(c faultfs.Call) error {
					if c.N == n && c.Op == "write" {
						return syscall.ENOSPC
					}
					return nil
				})
				fs.CutAfter(n + soon + 1)
				l := newLife(o)
				l.run(fs)
				for seed := range uint64(8) {
					l.check(t, fs.After(faultfs.Random, rand.New(rand.NewPCG(seed, uint64(n)))), l.promised())
				}
			}
		}
	})
}

func TestAPowerCutDuringRecoveryLosesNothingEither(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		fs := faultfs.New()
		l := newLife(o)
		l.run(fs)
		for seed := range uint64(60) {
			found := fs.After(faultfs.Random, rand.New(rand.NewPCG(seed, 1)))
			for cut := 1; ; cut++ {
				recovering := found.After(faultfs.All, nil)
				recovering.CutAfter(cut)
				o := l.o
				o.FS = recovering
				log, err := immuta.Open(dir, name, o)
				calls := recovering.Calls()
				if err == nil {
					recovering.CutAfter(0)
					log.Close()
				}
				l.check(t, recovering.After(faultfs.Random, rand.New(rand.NewPCG(seed, uint64(cut)))), l.promised())
				if calls < cut {
					break
				}
			}
		}
	})
}

// TestAFailingCallNeverLosesAnAnswer fails each call once, and lets the log go
// on if it will.
func TestAFailingCallNeverLosesAnAnswer(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		newLife(o).run(whole)
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			for n := range whole.Calls() {
				failOnce(t, o, n+1, cause)
			}
		}
	})
}

func failOnce(t *testing.T, o immuta.Options, n int, cause error) {
	t.Helper()
	fs := faultfs.New()
	var failedOp string
	fs.Inject(func(c faultfs.Call) error {
		if c.N == n && c.Changes() && failedOp == "" {
			failedOp = c.Op
			return cause
		}
		return nil
	})
	l := newLife(o)
	l.o.FS, l.refused = fs, 1
	for range 3 {
		log, err := immuta.Open(dir, name, l.o)
		if err != nil {
			if !errors.Is(err, cause) {
				t.Fatalf("call %d (%s): open: got %v, want %v", n, failedOp, err, cause)
			}
			continue
		}
		got, err := all(log)
		if err != nil {
			t.Fatalf("call %d (%s): read: %v", n, failedOp, err)
		}
		l.compare(t, got, l.promised())
		l.answered, l.pending, l.failed = got, nil, nil
		for range 4 {
			if log.Err() != nil {
				if _, err := log.Append(context.Background(), [][]byte{nil}); !errors.Is(err, cause) {
					t.Fatalf("call %d (%s): after the log failed: append got %v", n, failedOp, err)
				}
				continue
			}
			if !l.append(log) {
				if !errors.Is(l.failed, cause) {
					t.Fatalf("call %d (%s): append: got %v, want %v", n, failedOp, l.failed, cause)
				}
				if full := cause == syscall.ENOSPC && failedOp == "write"; full != (log.Err() == nil) {
					t.Fatalf("call %d (%s): after %v the log says %v", n, failedOp, cause, log.Err())
				}
				if log.Err() == nil {
					l.pending = nil // refused: it may not come back
				}
			}
		}
		shown, err := all(log)
		if _, next := log.Bounds(); err != nil || len(shown) != int(next-1) {
			t.Fatalf("call %d (%s): read %d records and %v, want %d", n, failedOp, len(shown), err, next-1)
		}
		l.compare(t, shown, l.promised())
		log.Close()
	}
	if failedOp == "" {
		return
	}
	for seed := range uint64(6) {
		l.check(t, fs.After(faultfs.Random, rand.New(rand.NewPCG(seed, uint64(n)))), l.promised())
	}
}
