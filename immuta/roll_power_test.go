package immuta_test

import (
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

// rolling is a life in which segments are rolled, by size and on request, and
// deleted.
type rolling struct {
	*life
	kept uint64 // no record from here on may have been deleted
}

func newRolling(o immuta.Options) *rolling {
	o.SegmentBytes = 2500
	return &rolling{life: newLife(o), kept: 1}
}

// run lives: three processes, the last of which never closes the log.
func (r *rolling) run(fs *faultfs.FS) {
	r.o.FS = fs
	for process := range 3 {
		log, err := immuta.Open(dir, name, r.o)
		if err != nil {
			r.failed = err
			return
		}
		for i := range 5 {
			if !r.append(log) {
				break
			}
			if i == 2 {
				r.shrink(log)
			}
		}
		if process == 2 || r.failed != nil {
			fs.CutAfter(0)
		}
		r.look(log)
		if err := log.Close(); err != nil || r.failed != nil {
			return
		}
	}
}

// shrink rolls and deletes; both may fail.
func (r *rolling) shrink(log *immuta.Log) {
	_ = log.Roll(context.Background())
	_, next := log.Bounds()
	r.kept = next - min(next-1, 6)
	_, _ = log.Trim(r.kept)
}

// since reads all from the first record kept.
func since(log *immuta.Log) (first uint64, out []string, err error) {
	first, _ = log.Bounds()
	r := log.Reader(1)
	defer r.Close()
	for {
		b, err := r.Next()
		if err == io.EOF {
			return first, out, nil
		}
		if err == nil && b.First != first+uint64(len(out)) {
			err = fmt.Errorf("got a block at %d, want it at %d", b.First, first+uint64(len(out)))
		}
		if err != nil {
			return first, out, err
		}
		for _, rec := range b.Records {
			out = append(out, string(rec))
		}
	}
}

// hold opens what is left and holds it against what was promised.
func (r *rolling) hold(t *testing.T, fs *faultfs.FS) {
	t.Helper()
	o := r.o
	o.FS = fs
	log, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer log.Close()
	if log.Err() != nil {
		t.Fatalf("the log takes no appends: %v", log.Err())
	}
	r.compareKept(t, log)
	if found, err := immuta.Verify(dir, name, o); err != nil || len(found.Damage) > 0 {
		t.Fatalf("verify: got %+v and %v, want no damage", found.Damage, err)
	}
	_, next := log.Bounds()
	got, err := log.Append(context.Background(), [][]byte{[]byte("after")})
	if err != nil || got.First != next {
		t.Fatalf("append: got index %d and %v, want %d", got.First, err, next)
	}
	if err := log.Roll(context.Background()); err != nil {
		t.Fatalf("roll: %v", err)
	}
}

func (r *rolling) compareKept(t *testing.T, log *immuta.Log) {
	t.Helper()
	first, got, err := since(log)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if first > r.kept {
		t.Fatalf("got the records from %d on, want those from %d", first, r.kept)
	}
	whole := append(append([]string(nil), r.answered[:min(first-1, uint64(len(r.answered)))]...), got...)
	r.compare(t, whole, r.promised())
}

func TestAPowerCutAfterAnyCallOfARollOrATrimLeavesNoHoleAndTakesNothing(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		newRolling(o).run(whole)
		if n := len(whole.Names()); n < 5 {
			t.Fatalf("got the files %q, want several segments", whole.Names())
		}
		for cut := range whole.Calls() + 1 {
			fs := faultfs.New()
			fs.CutAfter(cut)
			r := newRolling(o)
			r.run(fs)
			for seed := range uint64(6) {
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

func TestAKillInARollTakesNothingNorDoesAPowerCutWhileItIsFinished(t *testing.T) {
	for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncInterval} {
		o := immuta.Options{Sync: mode}
		whole := faultfs.New()
		newRolling(o).run(whole)
		for cut := range whole.Calls() + 1 {
			for second, finished := 1, false; !finished; second++ {
				fs := faultfs.New()
				fs.CutAfter(cut)
				r := newRolling(o)
				r.run(fs)
				fs.Restart()
				killed := fs.Calls()
				fs.CutAfter(killed + second)
				o := r.o
				o.FS = fs
				if log, err := immuta.Open(dir, name, o); err == nil {
					finished = fs.Calls() < killed+second
					log.Close()
				}
				r.hold(t, fs.After(faultfs.Random, rand.New(rand.NewPCG(uint64(second), uint64(cut)))))
				if t.Failed() {
					t.Fatalf("killed after call %d, cut %d calls later", cut, second)
				}
			}
		}
	}
}

func TestAnUnfinishedRollIsFinishedInOrderAndAnUnbegunOneIsUndone(t *testing.T) {
	for _, c := range []struct{ undo, want string }{{"", "syncdir rename syncdir"}, {"log", "remove"}} {
		fs := faultfs.New()
		rolled(t, fs, immuta.Options{}, 2).Close()
		b, _ := fs.ReadFile(logFile)
		if c.undo == "" {
			if err := fs.Rename(logFile, logFile+".tmp"); err != nil {
				t.Fatal(err)
			}
		}
		fs.WriteFile(logFile+".tmp", b)
		var calls []string
		fs.Inject(func(c faultfs.Call) error {
			if c.Op == "rename" || c.Op == "remove" || c.Op == "syncdir" {
				calls = append(calls, c.Op)
			}
			return nil
		})
		log := open(t, fs, immuta.Options{})
		if got := strings.Join(calls, " "); !strings.HasPrefix(got, c.want) {
			t.Errorf("got %s, want %s first", got, c.want)
		}
		if _, there := fs.ReadFile(logFile + ".tmp"); there {
			t.Error("the temporary file is still there")
		}
		if got := appendOne(t, log, "7"); got != 7 {
			t.Errorf("got index %d, want 7", got)
		}
	}
}

func TestAFailingCallOfARollOrATrimNeverLosesAnAnswer(t *testing.T) {
	forModes(t, func(t *testing.T, o immuta.Options) {
		whole := faultfs.New()
		newRolling(o).run(whole)
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			for n := range whole.Calls() {
				failing := faultfs.New()
				failed := ""
				failing.Inject(func(c faultfs.Call) error {
					if c.N == n+1 && c.Changes() && failed == "" {
						failed = c.Op
						return cause
					}
					return nil
				})
				r := newRolling(o)
				r.refused = 1
				r.run(failing)
				if r.failed != nil && !errors.Is(r.failed, cause) && !errors.Is(r.failed, faultfs.ErrCut) {
					t.Fatalf("call %d (%s): %v", n+1, failed, r.failed)
				}
				for seed := range uint64(2) {
					r.hold(t, failing.After(faultfs.Random, rand.New(rand.NewPCG(seed, uint64(n)))))
				}
			}
		}
	})
}

func TestARollThatHasNoRoomIsPutOffAndTheLogGoesOn(t *testing.T) {
	fs := faultfs.New()
	full := false
	fs.Inject(func(c faultfs.Call) error {
		if full && c.Op == "create" {
			return syscall.ENOSPC
		}
		return nil
	})
	var told []immuta.NoticeKind
	log := open(t, fs, immuta.Options{SyncEvery: time.Hour, Report: func(n immuta.Notice) { told = append(told, n.Kind) }})
	appendOne(t, log, "one")
	full = true
	if err := log.Roll(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v, want %v", err, syscall.ENOSPC)
	}
	appendOne(t, log, "two")
	full = false
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	appendOne(t, log, "three")
	if got, err := all(log); err != nil || len(got) != 3 {
		t.Fatalf("got %q and %v, want three records", got, err)
	}
	if got, want := fmt.Sprint(told), "[roll failed rolled]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestARollMakesEachNameDurableBeforeTheNextOne(t *testing.T) {
	fs := faultfs.New()
	var calls []string
	fs.Inject(func(c faultfs.Call) error {
		if c.Changes() && !strings.HasSuffix(c.Path, ".idx") {
			calls = append(calls, c.Op)
		}
		return nil
	})
	log := rolled(t, fs, immuta.Options{}, 2)
	appendOne(t, log, "7")
	calls = nil
	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "create truncate write sync syncdir rename syncdir rename syncdir"
	if got := strings.Join(calls, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	calls = nil
	if _, err := log.Trim(7); err != nil {
		t.Fatal(err)
	}
	want = "remove syncdir remove syncdir"
	if got := strings.Join(calls, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
