package bus_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// rows are what a bus has to withstand, as cmd/bus-torture/README.md numbers it.
var rows = strings.Fields(`D1 D2 D3 D4 D5 D6 D7 D8 D9 D10 D11 D12 D13
	C1 C2 C3 C4 C5 C6 C7 C8 – H1 H2 H3 H4 H5 H6 H7 H8 H9 S1 S2 S3 S4 S5`)

// What a test or a check is called in the table: `immuta.TestName`,
// `server.FuzzName`, or `check kills`.
var (
	planRow   = regexp.MustCompile(`(?m)^\| ([A-Z]\d+|–) \|(.*)\|$`)
	namedTest = regexp.MustCompile("`([a-z0-9/-]+)\\.((?:Test|Fuzz)\\w+)`")
	namedRun  = regexp.MustCompile("`check ([a-z0-9-]+)`")
)

// A plan whose tests have been renamed or thrown away is a promise that nobody
// keeps any more.
func TestEveryRowOfThePlanNamesATestThatExists(t *testing.T) {
	found := make(map[string]string)
	for _, m := range planRow.FindAllStringSubmatch(text(t, "cmd/bus-torture/README.md"), -1) {
		found[m[1]] = m[2]
	}
	checks := text(t, "cmd/bus-torture/checks.go")
	for _, row := range rows {
		shownBy, ok := found[row]
		if !ok {
			t.Errorf("the plan has no row %s", row)
			continue
		}
		tests, runs := namedTest.FindAllStringSubmatch(shownBy, -1), namedRun.FindAllStringSubmatch(shownBy, -1)
		if len(tests)+len(runs) == 0 && !strings.Contains(shownBy, "does not apply") {
			t.Errorf("row %s names neither a test nor a check, and does not say that it does not apply", row)
		}
		for _, m := range tests {
			if !declares(t, m[1], m[2]) {
				t.Errorf("row %s: %s has no %s", row, m[1], m[2])
			}
		}
		for _, m := range runs {
			if !strings.Contains(checks, `"`+m[1]+`"`) {
				t.Errorf("row %s: the harness has no check %s", row, m[1])
			}
		}
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// declares reports whether a test file of the folder has the function.
func declares(t *testing.T, folder, name string) bool {
	if folder == "bus" {
		folder = "." // the package at the root
	}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.Contains(text(t, file), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
