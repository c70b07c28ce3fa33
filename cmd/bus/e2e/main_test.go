//go:build e2e

// Package e2e runs the real bus, built with the race detector, in a process of
// its own, and talks to it only as others do: with a browser, with SSE clients
// that are not ours, with curl, and with the words of its predecessor.
//
// The tests stand behind the build tag e2e, because they need more than Go:
//
//	npm ci                          (in this folder, once)
//	go test -tags e2e ./cmd/bus/e2e/
//
// and Chromium, curl, nginx and Caddy from the system, with the neighbours of
// cmd/bus/bench/neighbours.sh. sh .ci/test installs all of it.
package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long anything may take before a test gives up. No test asks
// for speed: it is only there so that a hang becomes a failure.
const patience = 90 * time.Second

// binaryVariable names a bus to test instead of one built from this tree, for
// instance the one that is about to be released.
const binaryVariable = "BUS_E2E_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(binaryVariable) != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "bus-e2e-")
	if err == nil {
		err = build(filepath.Join(dir, "bus"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// build makes the binary and leaves its path in the environment, where the
// tests, and the processes that they start, find it.
func build(path string) error {
	cmd := exec.Command("go", "build", "-race", "-o", path, "example.com/bus/cmd/bus")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building bus: %w\n%s", err, out)
	}
	return os.Setenv(binaryVariable, path)
}

// until checks a condition again and again until it holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("gave up after %v waiting for %s", patience, what)
		}
	}
}

// tool finds a program that has to be there. A test that cannot run fails: one
// that is skipped would look like one that passed.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("none of %v is installed; sh .ci/test installs what the tests need", names)
	return ""
}

// node finds the Node.js that npm ci has put beside the clients, so that it is
// new enough for them whatever the system has.
func node(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("node_modules/node-linux-*/bin/node")
	if len(found) == 0 {
		t.Fatal("there is no Node.js in node_modules; run npm ci in cmd/bus/e2e, or sh .ci/test")
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
