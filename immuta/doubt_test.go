package immuta_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// A full disk takes half of a commit, and then not even the sync behind cutting that
// half off. The next process writes there; the disk may have the half in its sector.
func TestHalfACommitThatCouldNotBeCutOffComesBackAfterNoPowerCut(t *testing.T) {
	for _, mode := range []immuta.SyncMode{immuta.SyncAlways, immuta.SyncOS} {
		fs := faultfs.New()
		l := open(t, fs, immuta.Options{Sync: mode})
		add(t, l, "one")
		l.Close()
		l = open(t, fs, immuta.Options{Sync: mode})
		fs.Inject(func(c faultfs.Call) error {
			if c.Path == logFile && (c.Op == "write" || c.Op == "sync" || c.Op == "datasync") {
				return syscall.ENOSPC
			}
			return nil
		})
		if _, err := l.Append(t.Context(), [][]byte{[]byte(strings.Repeat("x", 100))}); err == nil || l.Err() == nil {
			t.Fatalf("%v: got %v and a log that says %v, want both to say that it failed", mode, err, l.Err())
		}
		l.Close()
		fs.Inject(nil)
		l = open(t, fs, immuta.Options{Sync: mode})
		if mode == immuta.SyncAlways { // else the power goes behind the answer
			fs.CutAfter(fs.Calls() + 1)
		}
		_, _ = l.Append(t.Context(), [][]byte{[]byte(strings.Repeat("y", 100))})
		for seed := range uint64(200) {
			after := open(t, fs.After(faultfs.Random, rand.New(rand.NewPCG(seed, 1))), immuta.Options{Sync: mode})
			got, err := all(after)
			if after.Err() != nil || err != nil || len(got) == 0 || got[0] != "one" {
				t.Fatalf("%v, seed %d: got %.50s, %v and a log that says %v, want the first record and no damage", mode, seed, fmt.Sprint(got), err, after.Err())
			}
		}
	}
}
