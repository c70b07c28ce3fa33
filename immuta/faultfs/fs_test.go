package faultfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

func create(t *testing.T, f *faultfs.FS, path string) immuta.File {
	t.Helper()
	file, err := f.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func write(t *testing.T, f immuta.File, b []byte, offset int64) {
	t.Helper()
	if _, err := f.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnsyncedContentsAreLostAndSyncedOnesStay(t *testing.T) {
	f := faultfs.New()
	file := create(t, f, "d/a")
	must(t, f.SyncDir("d"))
	write(t, file, []byte("synced"), 0)
	must(t, file.Datasync())
	write(t, file, []byte(" not"), 6)
	if got, _ := f.After(faultfs.None, nil).ReadFile("d/a"); string(got) != "synced" {
		t.Fatalf("got %q, want what was synced", got)
	}
	if got, _ := f.After(faultfs.All, nil).ReadFile("d/a"); string(got) != "synced not" {
		t.Fatalf("got %q, want all", got)
	}
}

func TestNamesAreLostUntilTheirDirectoryIsSynced(t *testing.T) {
	f := faultfs.New()
	file := create(t, f, "d/a")
	must(t, file.Sync())
	if got := f.After(faultfs.None, nil).Names(); len(got) != 0 {
		t.Fatalf("got %v of a directory that was not synced", got)
	}
	must(t, f.SyncDir("d"))
	must(t, f.Rename("d/a", "d/b"))
	if got := f.After(faultfs.None, nil).Names(); !slices.Equal(got, []string{"d/a"}) {
		t.Fatalf("got %v, want the old name", got)
	}
	must(t, f.SyncDir("d"))
	if got := f.After(faultfs.None, nil).Names(); !slices.Equal(got, []string{"d/b"}) {
		t.Fatalf("got %v, want the new name", got)
	}
}

func TestARandomCutLeavesEachSectorOldOrNewAndAnyLength(t *testing.T) {
	f := faultfs.New()
	file := create(t, f, "a")
	must(t, f.SyncDir("."))
	write(t, file, bytes.Repeat([]byte("1"), 700), 0)
	must(t, file.Sync())
	write(t, file, bytes.Repeat([]byte("2"), 1400), 600)
	seen := map[string]bool{}
	lengths := map[int]bool{}
	for seed := range uint64(400) {
		got, _ := f.After(faultfs.Random, rand.New(rand.NewPCG(seed, 0))).ReadFile("a")
		lengths[len(got)] = true
		if len(got) < 700 || len(got) > 2000 {
			t.Fatalf("got %d bytes, want 700 to 2000", len(got))
		}
		if len(got) == 2000 {
			seen[string([]byte{got[0], got[650], got[1100], got[1999]})] = true
		}
	}
	// Byte 650 is in a sector that was there; the others are old zeros or new.
	for _, want := range []string{"11\x00\x00", "1222", "12\x002", "122\x00"} {
		if !seen[want] {
			t.Errorf("%q was never drawn of %d", want, len(seen))
		}
	}
	if len(lengths) < 50 {
		t.Errorf("got %d lengths, want many", len(lengths))
	}
}

func TestAFailedSyncLosesWhatASecondOneDoesNotBringBack(t *testing.T) {
	f := faultfs.New()
	file := create(t, f, "a")
	must(t, f.SyncDir("."))
	write(t, file, []byte("lost"), 0)
	f.Inject(func(c faultfs.Call) error {
		if c.Op == "sync" {
			return syscall.EIO
		}
		return nil
	})
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v, want EIO", err)
	}
	f.Inject(nil)
	must(t, file.Sync())
	if got, _ := f.ReadFile("a"); string(got) != "lost" {
		t.Fatalf("got %q from memory, want what was written", got)
	}
	if got, _ := f.After(faultfs.None, nil).ReadFile("a"); string(got) != "\x00\x00\x00\x00" {
		t.Fatalf("got %q from the disk, want zeros", got)
	}
	write(t, file, []byte("lost"), 0)
	must(t, file.Sync())
	if got, _ := f.After(faultfs.None, nil).ReadFile("a"); string(got) != "lost" {
		t.Fatalf("got %q after it was written again", got)
	}
}

func TestNothingWorksWithoutPowerAndAllDoesAfterARestart(t *testing.T) {
	f := faultfs.New()
	f.CutAfter(2)
	file := create(t, f, "a")
	write(t, file, []byte("x"), 0)
	if _, err := file.WriteAt([]byte("y"), 0); !errors.Is(err, faultfs.ErrCut) {
		t.Fatalf("got %v, want ErrCut", err)
	}
	if _, err := file.ReadAt(make([]byte, 1), 0); !errors.Is(err, faultfs.ErrCut) {
		t.Fatalf("got %v, want ErrCut", err)
	}
	must(t, file.Lock())
	f.Restart()
	again := create(t, f, "a")
	must(t, again.Lock())
	if err := create(t, f, "a").Lock(); !errors.Is(err, immuta.ErrLocked) {
		t.Fatalf("got %v, want ErrLocked", err)
	}
	if _, err := f.OpenFile("b", os.O_RDWR, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want fs.ErrNotExist", err)
	}
	if got, _ := f.ReadFile("a"); string(got) != "x" {
		t.Fatalf("got %q, want what was written before the cut", got)
	}
}

// liar says that it has synced.
type liar struct{ *faultfs.FS }

func (l liar) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := l.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return lyingFile{f}, nil
}

type lyingFile struct{ immuta.File }

func (lyingFile) Datasync() error { return nil }

// TestALogWithoutSyncsIsFoundOut shows that the cuts find what they are for.
func TestALogWithoutSyncsIsFoundOut(t *testing.T) {
	f := faultfs.New()
	l, err := immuta.Open("d", "orders", immuta.Options{FS: liar{f}})
	must(t, err)
	_, err = l.Append(t.Context(), [][]byte{[]byte("answered")})
	must(t, err)
	after, err := immuta.Open("d", "orders", immuta.Options{FS: f.After(faultfs.None, nil)})
	must(t, err)
	defer after.Close()
	if _, next := after.Bounds(); next != 1 {
		t.Fatalf("got next %d: a log that never synced kept its answer", next)
	}
	l.Close()
}
