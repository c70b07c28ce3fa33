package immuta_test

import (
	"context"
	"errors"
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
