package immuta_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func open(t *testing.T, fs *faultfs.FS, o immuta.Options) *immuta.Log {
	t.Helper()
	o.FS = fs
	l, err := immuta.Open(dir, name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *immuta.Log, record string) {
	t.Helper()
	if _, err := l.Append(t.Context(), [][]byte{[]byte(record)}); err != nil {
		t.Fatal(err)
	}
}

func visible(l *immuta.Log) int {
	_, next := l.Bounds()
	return int(next - 1)
}

// surviving is how many records are there after the worst power cut.
func surviving(t *testing.T, fs *faultfs.FS) int {
	t.Helper()
	return visible(open(t, fs.After(faultfs.None, nil), immuta.Options{}))
}

func TestAlwaysAnswersAndShowsWhatIsOnStableStorage(t *testing.T) {
	fs := faultfs.New()
	l := open(t, fs, immuta.Options{})
	for i := 1; i < 5; i++ {
		add(t, l, "a")
		if got, there := visible(l), surviving(t, fs); got != i || there != i {
			t.Fatalf("got %d visible and %d on stable storage, want %d", got, there, i)
		}
		if s := l.Stat(); s.Durable != s.Bytes {
			t.Fatalf("got %d durable bytes of %d", s.Durable, s.Bytes)
		}
	}
}

func TestIntervalShowsNothingThatAPowerCutCouldTakeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		l := open(t, fs, immuta.Options{Sync: immuta.SyncInterval, SyncEvery: 50 * time.Millisecond})
		start := time.Now()
		add(t, l, "a")
		add(t, l, "b")
		if got := visible(l); got != 0 || !time.Now().Equal(start) {
			t.Fatalf("got %d visible before the sync, want 0, answered at once", got)
		}
		if err := l.Wait(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 50*time.Millisecond {
			t.Fatalf("got a sync after %s, want 50ms", took)
		}
		if got, there := visible(l), surviving(t, fs); got != 2 || there != 2 {
			t.Fatalf("got %d visible and %d on stable storage, want 2", got, there)
		}
		add(t, l, "c")
		l.Close()
		if got := surviving(t, fs); got != 3 {
			t.Fatalf("got %d on stable storage after Close, want 3", got)
		}
	})
}

func TestOSShowsAtOnceAndSyncsAtClose(t *testing.T) {
	fs := faultfs.New()
	l := open(t, fs, immuta.Options{Sync: immuta.SyncOS})
	add(t, l, "a")
	if got, there := visible(l), surviving(t, fs); got != 1 || there != 0 {
		t.Fatalf("got %d visible and %d on stable storage, want 1 and 0", got, there)
	}
	l.Close()
	if got := surviving(t, fs); got != 1 {
		t.Fatalf("got %d on stable storage after Close, want 1", got)
	}
}

func TestAFullDiskRefusesOneCommitAndTheLogGoesOn(t *testing.T) {
	for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncInterval, immuta.SyncOS} {
		fs := faultfs.New()
		l := open(t, fs, immuta.Options{Sync: mode, SyncEvery: time.Hour})
		add(t, l, "before")
		fs.Inject(func(c faultfs.Call) error {
			if c.Op == "write" && strings.Contains(c.Path, ".log") {
				return syscall.ENOSPC
			}
			return nil
		})
		_, err := l.Append(t.Context(), [][]byte{bytes.Repeat([]byte("x"), 3000)})
		if !errors.Is(err, syscall.ENOSPC) || l.Err() != nil {
			t.Fatalf("%s: got %v and a log that says %v, want ENOSPC and nil", mode, err, l.Err())
		}
		fs.Inject(nil)
		add(t, l, "after")
		l.Close()
		got, err := all(open(t, fs, immuta.Options{}))
		if want := "[before after]"; err != nil || fmt.Sprint(got) != want {
			t.Fatalf("%s: got %v and %v, want %s", mode, got, err, want)
		}
	}
}

func TestAfterAFailedSyncNothingIsTakenNorSyncedAgainAndReadsGoOn(t *testing.T) {
	fs := faultfs.New()
	l := open(t, fs, immuta.Options{})
	add(t, l, "good")
	syncs := 0
	fs.Inject(func(c faultfs.Call) error {
		if c.Op == "datasync" || c.Op == "sync" {
			syncs++
			return syscall.EIO
		}
		return nil
	})
	for range 3 {
		if _, err := l.Append(t.Context(), [][]byte{[]byte("bad")}); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v, want EIO", err)
		}
	}
	if got, err := all(l); err != nil || fmt.Sprint(got) != "[good]" {
		t.Fatalf("got %v and %v, want the good record", got, err)
	}
	if err := l.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("close: got %v, want EIO", err)
	}
	if syncs != 1 {
		t.Fatalf("got %d syncs, want 1", syncs)
	}
}

func TestADiskThatCannotBeReadIsNotCalledDamage(t *testing.T) {
	fs := faultfs.New()
	l := open(t, fs, immuta.Options{})
	add(t, l, "a")
	l.Close()
	l = open(t, fs, immuta.Options{})
	fs.Inject(func(c faultfs.Call) error {
		if c.Op == "read" {
			return syscall.EIO
		}
		return nil
	})
	_, err := l.Reader(1).Next()
	var c *immuta.CorruptError
	if !errors.Is(err, syscall.EIO) || errors.As(err, &c) {
		t.Fatalf("got %v, want EIO", err)
	}
	fs.Inject(nil)
	if got, err := all(l); err != nil || len(got) != 1 {
		t.Fatalf("got %v and %v once the disk reads again", got, err)
	}
}
