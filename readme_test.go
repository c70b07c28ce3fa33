package bus_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// Every setting of the server has a row with its flag, variable and default,
// and every row stands for a setting.
func TestTheTableOfTheReadmeHasEverySetting(t *testing.T) {
	document, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| `(BUS_[A-Z_]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(string(document), -1) {
		rows[m[1]] = m[2] + " " + strings.Trim(m[3], "`")
	}
	settings := regexp.MustCompile(`env:"([A-Z_]+)"(?: envDefault:"([^"]*)")? flag:"([a-z-]+)`)
	found := 0
	for _, name := range []string{"config.go", "secret.go"} {
		code, err := os.ReadFile(filepath.Join("cmd", "bus", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range settings.FindAllStringSubmatch(string(code), -1) {
			found++
			want := "BUS_" + m[1] + " " + m[2]
			if got := rows[m[3]]; got != want && (m[2] != "" || got != want+"none" && got != want+"required") {
				t.Errorf("--%s: the README says %q, the code %q", m[3], got, want)
			}
			delete(rows, m[3])
		}
	}
	if found == 0 {
		t.Error("no setting was found in the code")
	}
	for flag := range rows {
		t.Errorf("the README has a row for --%s, the server has no such flag", flag)
	}
}

func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range documents {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)# ]*)(#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
			file, anchor := m[1], strings.TrimPrefix(m[2], "#")
			if strings.Contains(file, "://") {
				continue
			}
			if file == "" {
				file = name
			}
			target, err := os.ReadFile(file)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(target)), anchor) {
				t.Errorf("%s: %s has no heading #%s", name, file, anchor)
			}
		}
	}
}

// anchors are the names that headings get where the documents are shown.
func anchors(document string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(document, -1) {
		name := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
