package immuta_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// half leaves a log whose last appends are written, answered and not synced, as a
// server has it at any moment.
func half(t *testing.T, mode immuta.SyncMode) *faultfs.FS {
	t.Helper()
	fs := faultfs.New()
	log, err := immuta.Open(dir, name, immuta.Options{FS: fs, Sync: mode, SyncEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	for _, r := range []string{"one", "two", "three"} {
		if _, err := log.Append(context.Background(), [][]byte{[]byte(r)}); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

func TestAPowerCutTakesNothingBackThatAReadOnlyOpenHasShown(t *testing.T) {
	for _, mode := range []immuta.SyncMode{immuta.SyncInterval, immuta.SyncOS} {
		fs := half(t, mode)
		reading, err := immuta.Open(dir, name, immuta.Options{FS: fs, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		seen, err := all(reading)
		if err != nil || len(seen) != 3 {
			t.Fatalf("%s: got %q and %v, want three records", mode, seen, err)
		}
		reading.Close()
		after, err := immuta.Open(dir, name, immuta.Options{FS: fs.After(faultfs.None, nil)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := all(after); err != nil || len(got) < len(seen) {
			t.Errorf("%s: after the power cut: got %q and %v, %q were shown", mode, got, err, seen)
		}
		after.Close()
	}
}

func TestAReadOnlyOpenGoesOnWhereAFileCannotBeSynced(t *testing.T) {
	for fault, goesOn := range map[error]bool{
		syscall.EROFS: true, syscall.EINVAL: true, syscall.ENOTSUP: true, syscall.EACCES: true,
		syscall.EIO: false, syscall.ENOSPC: false,
	} {
		fs := half(t, immuta.SyncOS)
		fs.Inject(func(c faultfs.Call) error {
			if c.Op == "sync" {
				return fault
			}
			return nil
		})
		log, err := immuta.Open(dir, name, immuta.Options{FS: fs, ReadOnly: true})
		if goesOn != (err == nil) || err != nil && !errors.Is(err, fault) {
			t.Errorf("%v: got %v", fault, err)
		}
		if err == nil {
			log.Close()
		}
		fs.Inject(nil)
	}
}

// afterSync is a file system on which something happens right after a file was
// synced by who opened it for reading.
type afterSync struct {
	*faultfs.FS
	then func()
}

type syncedFile struct {
	immuta.File
	then func()
}

func (a afterSync) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := a.FS.OpenFile(path, flag, perm)
	return syncedFile{f, a.then}, err
}

func (f syncedFile) Sync() error {
	err := f.File.Sync()
	f.then()
	return err
}

// A commit that goes into the space ahead is within the length that a reader has
// seen: only what was read before the sync is known to be durable.
func TestAReadOnlyOpenShowsNothingThatWasWrittenIntoTheSpaceBehindItsSync(t *testing.T) {
	s := makeSmall(t, immuta.Options{}, someCommits...)
	n := len(s.ends)
	disk := faultfs.New()
	disk.WriteFile(logFile, append(slices.Clone(s.log[:s.ends[n-2]]), make([]byte, 8000)...))
	late := func() {
		f, err := disk.OpenFile(logFile, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(s.log[s.ends[n-2]:], int64(s.ends[n-2])); err != nil {
			t.Fatal(err)
		}
	}
	log, err := immuta.Open(dir, name, immuta.Options{FS: afterSync{disk, late}, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	shown := visible(log)
	after := open(t, disk.After(faultfs.None, nil), immuta.Options{ReadOnly: true})
	if got := visible(after); got < shown || shown == 0 {
		t.Errorf("got %d records after a power cut, %d had been shown", got, shown)
	}
}
