package immuta_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// A full disk takes half of a commit. That half is cut off; the sync behind it fails,
// or the process is killed before. The next one writes there, and loses its power: the
// disk may have the half in its sector.
func TestHalfACommitThatWasCutOffComesBackAfterNoPowerCut(t *testing.T) {
	for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncOS} {
		for kill := range 7 { // behind so many calls; 0: the sync fails
			fs := faultfs.New()
			l := open(t, fs, immuta.Options{Sync: mode})
			add(t, l, "one")
			l.Close()
			l = open(t, fs, immuta.Options{Sync: mode})
			fs.Inject(func(c faultfs.Call) error {
				if c.Path == logFile && (c.Op == "write" || kill == 0 && strings.HasSuffix(c.Op, "sync")) {
					return syscall.ENOSPC
				}
				return nil
			})
			if kill > 0 {
				fs.CutAfter(fs.Calls() + kill)
			}
			if _, err := l.Append(t.Context(), [][]byte{[]byte(strings.Repeat("x", 100))}); err == nil {
				t.Fatal("a commit was taken by a full disk")
			}
			l.Close()
			fs.Restart()
			fs.Inject(nil)
			l = open(t, fs, immuta.Options{Sync: mode})
			if mode == immuta.SyncAlways { // else the power goes behind the answer
				fs.CutAfter(fs.Calls() + 1)
			}
			_, _ = l.Append(t.Context(), [][]byte{[]byte(strings.Repeat("y", 100))})
			for seed := range uint64(60) {
				after := open(t, fs.After(faultfs.Random, rand.New(rand.NewPCG(seed, 1))), immuta.Options{Sync: mode})
				got, err := all(after)
				if after.Err() != nil || err != nil || len(got) == 0 || got[0] != "one" {
					t.Fatalf("%v, %d, seed %d: got %.50s, %v and a log that says %v, want the first record and no damage", mode, kill, seed, fmt.Sprint(got), err, after.Err())
				}
			}
		}
	}
}

func TestCommitsThatAFullDiskRefusesTakeOneEntryOfTheIndexAtMost(t *testing.T) {
	fs := faultfs.New()
	l := open(t, fs, immuta.Options{})
	for range 20 {
		add(t, l, strings.Repeat("x", 70<<10))
	}
	l.Close()
	indexFile := strings.TrimSuffix(logFile, ".log") + ".idx"
	before, _ := fs.ReadFile(indexFile)
	l = open(t, fs, immuta.Options{})
	fs.Inject(func(c faultfs.Call) error {
		if c.Path == logFile && c.Op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 9 {
		if _, err := l.Append(t.Context(), [][]byte{[]byte("no")}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v, want ENOSPC", err)
		}
	}
	const entry = 32
	if after, _ := fs.ReadFile(indexFile); len(after) != len(before)-entry {
		t.Errorf("got %d bytes of index, want the %d of before without one entry", len(after), len(before))
	}
}
