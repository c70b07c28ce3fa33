package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// errFault is what a check returns that ran and found that a promise is broken.
// Any other error means that the check could not run, which is as bad: nothing
// was shown.
var errFault = errors.New("a promise is broken")

// maxEvidence bounds how many directories are kept for a person to look at.
const maxEvidence = 5

// What is said again of a fault at the end: enough to repeat it.
const (
	openingLines = 5
	openingBytes = 1 << 10
)

// harness is what all checks share: where they may write, what they begin with,
// and whom they tell.
type harness struct {
	out      io.Writer
	work     string // removed at the end
	evidence string // kept
	seed     uint64
	tags     string // of the bus
	life     int    // only this one; -1: all
	kept     int
	expected bool        // faults are what is looked for, and not to be kept
	mounts   error       // why nothing can be mounted
	stopped  func() bool // by a signal: what is broken off is no fault
}

// say prints the one line of a check.
func (h *harness) say(check, format string, args ...any) {
	fmt.Fprintf(h.out, "%-24s %s\n", check, fmt.Sprintf(format, args...))
}

// repeat tells how to come back to a fault. The seed gives the same
// configurations, sizes and delays again; what the kernel's scheduler does in
// between is not in anyone's hand, so a fault may take several attempts.
func (h *harness) repeat(check string, seed uint64, life int) {
	tags := ""
	if h.tags != "" {
		tags = " --tags " + h.tags
	}
	fmt.Fprintf(h.out, "  to repeat: go run . --checks %s --seed %d --life %d%s (again and again: the timing is not in the seed)\n", check, seed, life, tags)
}

// keep copies what a fault has left: the logs, what the server said and what
// the clients know.
func (h *harness) keep(name string, dirs ...string) {
	if h.kept++; h.kept > maxEvidence {
		return
	}
	to := filepath.Join(h.evidence, fmt.Sprintf("%s-%d", name, time.Now().UnixNano()))
	for _, dir := range dirs {
		into := filepath.Join(to, filepath.Base(dir))
		if err := copyTree(dir, into); err != nil {
			fmt.Fprintf(h.out, "  could not keep %s: %v\n", dir, err)
		}
	}
	fmt.Fprintf(h.out, "  kept in %s\n", to)
}

func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// until waits for what has to come, and calls it a fault when it does not.
func until(ctx context.Context, what string, done func() bool) error {
	for deadline := time.Now().Add(patience); !done(); pause(ctx, time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: waited %s in vain for %s", errFault, patience, what)
		}
	}
	return nil
}

// indent sets text below the line of its check.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

// opening is how a long text begins: what failed is said once more at the very
// end, and there it has to be short.
func opening(text string) string {
	lines := strings.SplitN(text, "\n", openingLines+1)
	if lines = lines[:min(len(lines), openingLines)]; len(strings.Join(lines, "\n")) > openingBytes {
		return strings.Join(lines, "\n")[:openingBytes] + " …"
	}
	return strings.Join(lines, "\n")
}
