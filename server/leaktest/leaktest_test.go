package leaktest

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestWhatIsLeftIsFoundAndNamed(t *testing.T) {
	before := Now()
	if err := before.Left(0); err != nil {
		t.Fatalf("got %v, want nothing left", err)
	}
	end := make(chan struct{})
	go linger(end)
	f, err := os.Create(filepath.Join(t.TempDir(), "forgotten"))
	if err != nil {
		t.Fatal(err)
	}
	err = before.Left(50 * time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "leaktest.linger") || runtime.GOOS == "linux" && !strings.Contains(err.Error(), "forgotten open") {
		t.Errorf("got %v, want the goroutine and the file", err)
	}
	close(end)
	f.Close()
	if err := before.Left(grace); err != nil {
		t.Errorf("got %v, want nothing left", err)
	}
}

func linger(end chan struct{}) { <-end }

// passed is a package whose tests pass, and leave what leave does.
type passed struct{ leave func() }

func (p passed) Run() int { p.leave(); return 0 }

func TestOnlyACleanPackagePasses(t *testing.T) {
	if got := Main(passed{func() {}}); got != 0 {
		t.Errorf("got exit code %d, want 0", got)
	}
	if got := Main(failed{}); got != 3 {
		t.Errorf("got exit code %d of tests that failed, want theirs", got)
	}
}

type failed struct{}

func (failed) Run() int { return 3 }
