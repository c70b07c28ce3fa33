// Package leaktest fails the tests of a package that leave goroutines or open
// files behind. It knows nothing of the bus, and only tests use it.
package leaktest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// grace is how long what the tests have begun to end may take to be gone.
const grace = 20 * time.Second

// Main runs the tests of a package and returns its exit code: 1 also when all
// have passed and something is left. It is for TestMain. Tests that failed may
// leave what they like.
func Main(m interface{ Run() int }) int {
	before := Now()
	if code := m.Run(); code != 0 {
		return code
	}
	if err := before.Left(grace); err != nil {
		fmt.Fprintln(os.Stderr, "the tests passed, but", err)
		return 1
	}
	return 0
}

// State is what a process has at one moment.
type State struct {
	goroutines int
	files      map[string]int // by what they are
}

// Now returns what there is.
func Now() State { return State{goroutines: len(stacks()), files: files()} }

// Left returns nil once there is no more than there was, or after a while an
// error that lists what is new. Connections that net/http keeps for later are
// closed first: they are nobody's.
func (s State) Left(patience time.Duration) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		http.DefaultClient.CloseIdleConnections()
		report := s.report()
		if report == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("something is left:\n%s", report)
		}
	}
}

func (s State) report() string {
	var b strings.Builder
	if now := stacks(); len(now) > s.goroutines {
		fmt.Fprintf(&b, "%d goroutines, there were %d:\n\n%s\n", len(now), s.goroutines, strings.Join(now, "\n\n"))
	}
	for name, n := range files() {
		if n > s.files[name] {
			fmt.Fprintf(&b, "%d times %s open, it was %d times\n", n, name, s.files[name])
		}
	}
	return b.String()
}

// forever are goroutines of the standard library that begin with the first use
// and never end.
var forever = []string{"os/signal.loop", "os/signal.signal_recv"}

// stacks returns those of all goroutines that can be a leak.
func stacks() (all []string) {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	for stack := range bytes.SplitSeq(bytes.TrimSpace(buf), []byte("\n\n")) {
		if !slices.ContainsFunc(forever, func(name string) bool { return bytes.Contains(stack, []byte(name)) }) {
			all = append(all, string(stack))
		}
	}
	return all
}

// files returns what is open, as Linux tells it; nothing elsewhere. What the
// runtime polls with stays open, and go test has a file of its own.
func files() map[string]int {
	const dir = "/proc/self/fd"
	open := make(map[string]int)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return open
	}
	for _, e := range entries {
		name, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || strings.HasPrefix(name, "anon_inode:[event") || strings.Contains(name, "testlog") {
			continue // the directory just read is gone by now
		}
		open[name]++
	}
	return open
}
