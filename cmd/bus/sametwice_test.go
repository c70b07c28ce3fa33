package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestATargetThatIsTheSourceOrACopyOfItsFilesIsRefused(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	a.count(2)
	a.close()
	copied := filepath.Join(t.TempDir(), "copied")
	if err := os.CopyFS(copied, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	a = openTestBus(t, a.dir, "")
	for from, to := range map[string]string{a.url: a.url + "/", a.dir: copied} {
		startMirror(t, "--from", from, "--to", to, "--namespaces", "app").exit(exitFailed, "the target is the log of the source itself in namespace app, or a copy of its files")
	}
}
