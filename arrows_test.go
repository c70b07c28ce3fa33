package bus_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "example.com/bus"

// arrows are who may import whom inside the module, and which modules of others
// each package may stand on. "" is this package, the vocabulary of all. A
// package that is not listed may not exist. What only tests import is free.
var arrows = map[string]struct{ ours, others []string }{
	"":       {},
	"crypto": {others: []string{"golang.org/x/crypto"}},
	"immuta": {},
	// A file system that loses power, for the tests of others.
	"immuta/faultfs":  {ours: []string{"immuta"}},
	"server/delivery": {ours: []string{""}},
	"server/disk":     {ours: []string{"", "immuta"}},
	// What any engine must do, as a suite that its tests call.
	"server/enginetest": {ours: []string{"", "server"}},
	// What tests leave behind fails them.
	"server/leaktest": {},
	// Lives of the whole server, in tests alone.
	"server/sim": {},
	"server":     {ours: []string{"", "server/delivery"}, others: []string{"github.com/prometheus/"}},
	"client":     {ours: []string{""}},
	// What a machine gives: sockets and processes, and nothing of what it measures.
	"cmd/bus/bench": {},
	"cmd/bus": {
		ours: []string{"", "client", "cmd/bus/bench", "crypto", "server", "server/disk"},
		others: []string{"github.com/caarlos0/env/", "github.com/lmittmann/tint", "github.com/urfave/cli/",
			"golang.org/x/term"},
	},
}

// unknown are packages of the standard library that a package must not know:
// its first sentence says so.
var unknown = map[string][]string{
	"":                {"net", "net/http", "os"},
	"server/delivery": {"net", "net/http", "os"},
	"server/disk":     {"net", "net/http"},
	"server":          {"net/http/pprof"}, // who embeds it would have profiles in http.DefaultServeMux
	"immuta":          {"net", "net/http", "encoding/json"},
	"crypto":          {"net", "net/http", "os"},
}

// folders are all that may stand at the top, beside files.
var folders = []string{"client", "cmd", "crypto", "deploy", "immuta", "server"}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func TestNoPackageImportsWhatItMustNotKnow(t *testing.T) {
	packages := list(t, "-deps", "./...")
	standard := make(map[string]bool)
	for _, p := range packages {
		standard[p.ImportPath] = p.Standard
	}
	for _, p := range packages {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		name = strings.TrimPrefix(name, "/")
		allowed, known := arrows[name]
		if !known {
			t.Errorf("package %q is new: wanted one of those in arrows, or a decision to add it there", name)
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(unknown[name], imported) {
				t.Errorf("%q imports %q, of which it is to know nothing", name, imported)
			}
			if standard[imported] || imported == "C" {
				continue
			}
			if !allows(allowed.ours, allowed.others, imported) {
				t.Errorf("%q imports %q: wanted only the standard library and %q", name, imported, append(allowed.ours, allowed.others...))
			}
		}
	}
}

func allows(ours, others []string, imported string) bool {
	if name, inside := strings.CutPrefix(imported, module); inside {
		return slices.Contains(ours, strings.TrimPrefix(name, "/"))
	}
	return slices.ContainsFunc(others, func(prefix string) bool { return strings.HasPrefix(imported, prefix) })
}

func TestEveryPackageInArrowsExists(t *testing.T) {
	found := make(map[string]bool)
	for _, p := range list(t, "./...") {
		found[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = true
	}
	for name := range arrows {
		if !found[name] {
			t.Errorf("arrows names package %q, which does not exist", name)
		}
	}
}

func TestNoNewFolderStandsAtTheTop(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	ignored := []string{"bin", "data"} // by git; what make and bus server leave
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() && !strings.HasPrefix(name, ".") && !slices.Contains(folders, name) && !slices.Contains(ignored, name) {
			t.Errorf("folder %q is new, wanted one of %q", name, folders)
		}
	}
}

// list asks the go command, which knows build constraints and vendoring.
func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
