package immuta_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// tornOnFull is a log with two commits and half of a third, on a disk that has no
// room to put that half aside: op on a copy of it fails.
func tornOnFull(t *testing.T, op string, sync immuta.SyncMode) *faultfs.FS {
	t.Helper()
	fs := faultfs.New()
	l := open(t, fs, immuta.Options{Sync: sync})
	for _, record := range []string{"one", "two", strings.Repeat("x", 3000)} {
		add(t, l, record)
	}
	l.Close()
	b, _ := fs.ReadFile(logFile)
	fs.WriteFile(logFile, b[:len(b)-100])
	fs.Inject(func(c faultfs.Call) error {
		if c.Op == op && strings.Contains(c.Path, ".torn-") {
			return syscall.ENOSPC
		}
		return nil
	})
	return fs
}

func copies(fs *faultfs.FS) (all []string) {
	for _, path := range fs.Names() {
		if strings.Contains(path, ".torn-") {
			all = append(all, path)
		}
	}
	return all
}

func TestATornLogThatIsOpenedOnAFullDiskTakesAppendsOnceThereIsRoom(t *testing.T) {
	for _, op := range []string{"create", "write", "sync"} {
		for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncOS} {
			fs := tornOnFull(t, op, mode)
			l := open(t, fs, immuta.Options{Sync: mode})
			for range 3 {
				if _, err := l.Append(t.Context(), [][]byte{[]byte("no")}); !errors.Is(err, syscall.ENOSPC) || l.Err() != nil {
					t.Fatalf("%s: got %v and a log that says %v, want ENOSPC and nil", op, err, l.Err())
				}
				if err := l.Roll(t.Context()); !errors.Is(err, syscall.ENOSPC) || l.Err() != nil {
					t.Fatalf("%s: roll: got %v and a log that says %v, want ENOSPC and nil", op, err, l.Err())
				}
			}
			if got, err := all(l); err != nil || fmt.Sprint(got) != "[one two]" {
				t.Fatalf("%s: got %v and %v, want what was whole", op, got, err)
			}
			fs.Inject(nil)
			add(t, l, "three")
			if got := copies(fs); len(got) != 1 || l.Stat().TornCuts != 1 {
				t.Fatalf("%s: got the copies %v and %d cuts, want one of each", op, got, l.Stat().TornCuts)
			}
			l.Close()
			got, err := all(open(t, fs.After(faultfs.All, nil), immuta.Options{}))
			if want := "[one two three]"; err != nil || fmt.Sprint(got) != want {
				t.Fatalf("%s: got %v and %v, want %s", op, got, err, want)
			}
		}
	}
}

func TestATornLogThatNeverHadRoomIsClosedAsItWas(t *testing.T) {
	fs := tornOnFull(t, "write", immuta.SyncAlways)
	before, _ := fs.ReadFile(logFile)
	for range 2 {
		l := open(t, fs, immuta.Options{})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after, _ := fs.ReadFile(logFile); string(after) != string(before) || len(copies(fs)) != 0 {
		t.Fatalf("got %d bytes and the copies %v, want the %d of before and none", len(after), copies(fs), len(before))
	}
	fs.Inject(nil)
	l := open(t, fs, immuta.Options{})
	add(t, l, "three")
	if got, err := all(l); err != nil || fmt.Sprint(got) != "[one two three]" {
		t.Fatalf("got %v and %v, want all three", got, err)
	}
}
