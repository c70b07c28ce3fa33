//go:build ignore

// Command fuzz runs every fuzz target of the tree for a time, as many side by
// side as there are processors, and says how many inputs each has seen. It fails
// when one of them finds something, when one did not run, and when there is
// none.
//
//	go run .ci/fuzz.go [-time 30s] [-run REGEXP] [folder]
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

// target is one fuzz function.
type target struct{ folder, name string }

var (
	declared = regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9_]+)\(`)
	inputs   = regexp.MustCompile(`(?m)^fuzz: .*execs: ([0-9]+)`)
	// Go takes the end of the time for a failure now and then: the target's last
	// line is this then, and nothing was found.
	timeIsUp = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\S+ \([0-9.]+s\)\n +context deadline exceeded\n(FAIL|exit status 1)`)
)

func main() {
	long := flag.Duration("time", 30*time.Second, "of each target")
	only := flag.String("run", "", "targets whose names match; all by default")
	flag.Parse()
	root := "."
	if flag.NArg() > 0 {
		root = flag.Arg(0)
	}
	if err := run(root, *only, *long); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(root, only string, long time.Duration) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	targets, err := find(root, match)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("there is no such target")
	}
	var (
		wait    sync.WaitGroup
		mu      sync.Mutex
		failed  []error
		waiting = make(chan target)
	)
	for range runtime.NumCPU() {
		wait.Go(func() {
			for t := range waiting {
				said, err := t.fuzz(long)
				mu.Lock()
				fmt.Println(said)
				if err != nil {
					failed = append(failed, err)
				}
				mu.Unlock()
			}
		})
	}
	for _, t := range targets {
		waiting <- t
	}
	close(waiting)
	wait.Wait()
	return errors.Join(failed...)
}

// find reads the tree's tests. A folder that the go command ignores is not part
// of the tree.
func find(root string, match *regexp.Regexp) (targets []target, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, found := range declared.FindAllSubmatch(text, -1) {
			if name := string(found[1]); match.MatchString(name) {
				targets = append(targets, target{folder: filepath.Dir(path), name: name})
			}
		}
		return err
	})
	return targets, err
}

func (t target) fuzz(long time.Duration) (said string, err error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", long.String(), "-fuzzminimizetime", "10x", "-parallel", "1", ".")
	cmd.Dir = t.folder
	out, err := cmd.CombinedOutput()
	count := inputs.FindAllSubmatch(out, -1)
	switch {
	case err != nil && !timeIsUp.Match(out):
		return fmt.Sprintf("--- FAIL %s in %s\n%s", t.name, t.folder, out), fmt.Errorf("%s in %s: %w", t.name, t.folder, err)
	case len(count) == 0 || string(count[len(count)-1][1]) == "0":
		return fmt.Sprintf("--- FAIL %s in %s\n%s", t.name, t.folder, out), fmt.Errorf("%s in %s did not run", t.name, t.folder)
	}
	return fmt.Sprintf("%-60s %12s inputs", t.folder+" "+t.name, count[len(count)-1][1]), nil
}
