//go:build ignore

// Command gotest runs go test with its arguments and tells briefly what
// happened: a line a package, everything that a failed test said, and a count.
// It fails when a test failed, when one was skipped, and when none ran, because
// a check that did not happen must not look like one that passed.
//
//	go run .ci/gotest.go -race ./...
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// event is a line of go test -json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a package that did not build
	Test       string
	Elapsed    float64
	Output     string
}

// report counts tests, and keeps what each has said until it is known whether
// anybody needs to read it.
type report struct {
	out                      io.Writer
	said                     map[string]*strings.Builder
	passed, failed, packages int
	skipped                  []string
}

func main() {
	r := &report{out: os.Stdout, said: make(map[string]*strings.Builder)}
	err := r.run(os.Args[1:])
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	if err == nil {
		err = r.verdict()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

func (r *report) run(args []string) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := json.NewDecoder(stdout)
	for {
		var e event
		err := lines.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			cmd.Process.Kill()
			return errors.Join(fmt.Errorf("reading what go test says: %w", err), cmd.Wait())
		}
		r.take(e)
	}
	return cmd.Wait()
}

func (r *report) take(e event) {
	key := e.Package + e.ImportPath + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if r.said[key] == nil {
			r.said[key] = &strings.Builder{}
		}
		r.said[key].WriteString(e.Output)
	case "build-fail":
		fmt.Fprint(r.out, r.said[key])
	case "pass", "fail", "skip":
		r.end(key, e)
	}
}

// end takes the end of a test, or of a package when no test is named.
func (r *report) end(key string, e event) {
	said := r.said[key]
	delete(r.said, key)
	if e.Action == "fail" && said != nil {
		fmt.Fprintf(r.out, "--- FAIL %s %s\n%s", e.Package, e.Test, said)
	}
	if e.Action == "fail" && e.Test == "" {
		r.unfinished(e.Package)
	}
	switch {
	case e.Test == "" && e.Action == "pass":
		r.packages++
		fmt.Fprintf(r.out, "ok    %s %.1fs\n", e.Package, e.Elapsed)
	case e.Test == "" && e.Action == "fail":
		fmt.Fprintf(r.out, "FAIL  %s %.1fs\n", e.Package, e.Elapsed)
	case e.Test == "": // a package without tests
	case e.Action == "pass":
		r.passed++
	case e.Action == "fail":
		r.failed++
	default:
		r.skipped = append(r.skipped, e.Package+" "+e.Test)
	}
}

// unfinished tells what tests said that never ended: the process died in one of
// them.
func (r *report) unfinished(name string) {
	for key, said := range r.said {
		if test, ours := strings.CutPrefix(key, name+" "); ours {
			fmt.Fprintf(r.out, "--- DIED %s %s\n%s", name, test, said)
		}
	}
}

func (r *report) verdict() error {
	switch {
	case len(r.skipped) > 0:
		return fmt.Errorf("skipped tests: %s; make them run, or take them out", strings.Join(r.skipped, ", "))
	case r.passed == 0 || r.packages == 0:
		return errors.New("no test ran")
	}
	return nil
}
