package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withStrace is a life of which strace has told this.
func withStrace(t *testing.T, text string) *life {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "strace"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &life{dir: dir, server: &server{dir: "/d"}, journal: newJournal()}
}

func TestAFailedSyncThatNobodyWasToldOfIsAFault(t *testing.T) {
	l := withStrace(t, "7 fdatasync(8</d/a.log>) = 0\n7 fdatasync(8</d/a.log>) = -1 EIO (Input/output error) (INJECTED)\n")
	if err := l.toldOf(0); err == nil || !strings.Contains(err.Error(), "nobody who published to a") {
		t.Errorf("got %v, want a fault of a", err)
	}
	if err := l.toldOf(1); err != nil {
		t.Errorf("got %v for a call that failed while the server opened, want none", err)
	}
	l.journal.refuse(receipt{Code: "storage_failed", Detail: "namespace a takes no more events"})
	if err := l.toldOf(0); err != nil {
		t.Errorf("got %v when it was told, want none", err)
	}
}

func TestWhatIsNoPromiseToAPublisherNeedNotBeTold(t *testing.T) {
	l := withStrace(t, "7 pwrite64(9</d/a.idx>, \"\"..., 32, 0) = -1 EIO (Input/output error) (INJECTED)\n7 openat(AT_FDCWD</>, \"/d/a.log\", O_RDWR) = -1 EIO (Input/output error) (INJECTED)\n")
	if got := len(l.madeToFail()); got != 2 {
		t.Fatalf("got %d failed calls, want 2", got)
	}
	if err := l.toldOf(0); err != nil {
		t.Errorf("got %v, want none", err)
	}
}

func TestOnlyZerosThatHadNoRoomNeedNotBeTold(t *testing.T) {
	const zeros, frame = `7 pwrite64(8</d/a.log>, "\0\0\0\0\0"..., 4096, 512) = -1 `, `7 pwrite64(8</d/a.log>, "1BLK\1"..., 4096, 512) = -1 `
	for text, told := range map[string]bool{zeros + "ENOSPC": false, zeros + "EIO": true, frame + "ENOSPC": true} {
		if err := withStrace(t, text+" (INJECTED)\n").toldOf(0); (err != nil) != told {
			t.Errorf("%s: got %v, want a fault: %t", text, err, told)
		}
	}
}

func TestStraceIsToldOfTheFilesOfTheLogsAlone(t *testing.T) {
	got := strings.Join(injection{"fdatasync", "EIO", 3, true}.strace("strace", "out", "/d"), " ")
	for _, want := range []string{"-e inject=fdatasync:error=EIO:when=3+", "-P /d ", "-P /d/a.log ", "-P /d/b.idx.tmp"} {
		if !strings.Contains(got+" ", want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}
