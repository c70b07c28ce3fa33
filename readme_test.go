package bus_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fenced returns the contents of a document's blocks of one language.
func fenced(t *testing.T, name, language string) []string {
	t.Helper()
	document, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	parts := strings.Split("\n"+string(document), "\n```"+language+"\n")
	for _, part := range parts[1:] {
		body, _, _ := strings.Cut(part, "\n```")
		blocks = append(blocks, body)
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no blocks of %s", name, language)
	}
	return blocks
}

// exampleHead is what stands around an example that is no whole program.
const exampleHead = `package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/bus"
	"example.com/bus/client"
)

var (
	_ = json.Unmarshal
	_ = errors.Is
	_ = fmt.Println
	_ = time.Second
	_ = bus.ErrConfirmTimeout
)

func main() { _ = example(context.Background(), client.NewClient("http://localhost:2021")) }

func example(ctx context.Context, c *client.Client) error {
%s
	return nil
}
`

// The examples are built as a stranger's program: in a module of its own, with
// nothing but the packages that the README tells them to import.
func TestTheGoExamplesOfTheReadmeCompile(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module readme\n\ngo 1.26\n\nrequire example.com/bus v0.0.0\n\nreplace example.com/bus => "+here+"\n")
	for i, code := range fenced(t, "README.md", "go") {
		if !strings.HasPrefix(code, "package ") {
			code = fmt.Sprintf(exampleHead, code)
		}
		write(t, filepath.Join(dir, fmt.Sprintf("example%d", i+1), "main.go"), code)
	}
	build := exec.CommandContext(t.Context(), "go", "vet", "./...")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("the examples do not build: %v\n%s", err, out)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
