package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/bus"
	"example.com/bus/server/disk"
)

// sources returns the code of the files that a pattern names, without tests.
func sources(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(code)
	}
	return all.String()
}

func readDocument(t *testing.T) string {
	t.Helper()
	document, err := os.ReadFile("../HTTP_API.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

// found returns the first group of every match, and fails when there is none:
// then the code has changed its shape and the test would look at nothing.
func found(t *testing.T, pattern, code string) []string {
	t.Helper()
	var all []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(code, -1) {
		all = append(all, match[1])
	}
	if len(all) == 0 {
		t.Fatalf("nothing in the code looks like %s", pattern)
	}
	return all
}

// inTables returns what stands in code quotes in the first cells of tables.
func inTables(document string) map[string]bool {
	names := make(map[string]bool)
	for _, line := range strings.Split(document, "\n") {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cell, _, _ := strings.Cut(line[2:], " | ")
		for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			names[match[1]] = true
		}
	}
	return names
}

func TestEveryErrorCodeIsDocumentedWithStatusAndTitle(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\| ([^|]+) \\|")
	documented := make(map[string]string)
	for _, match := range row.FindAllStringSubmatch(readDocument(t), -1) {
		documented[match[1]] = match[2] + " " + match[3]
	}
	declared := regexp.MustCompile(`newError\((\d+), "(\w+)", "([^"]+)"\)`).FindAllStringSubmatch(sources(t, "../error.go"), -1)
	if len(declared) == 0 {
		t.Fatal("error.go declares no error that this test can read")
	}
	for _, e := range declared {
		want := e[1] + " " + e[3]
		if got := documented[e[2]]; got != want {
			t.Errorf("code %s: the document says %q, the code %q", e[2], got, want)
		}
		delete(documented, e[2])
	}
	for code := range documented {
		t.Errorf("the document has the code %s, error.go has not", code)
	}
}

func TestEveryQueryParameterIsDocumented(t *testing.T) {
	tables := inTables(readDocument(t))
	for _, list := range found(t, `var \w+Params = \[\]string\{([^}]*)\}`, sources(t, "*.go")) {
		for _, name := range found(t, `"(\w+)"`, list) {
			if !tables[name] {
				t.Errorf("the parameter %s is in no table of HTTP_API.md", name)
			}
		}
	}
}

func TestEveryHeaderFrameAndGapReasonIsDocumented(t *testing.T) {
	document, code := readDocument(t), sources(t, "*.go")
	exposed := found(t, `corsAnswer += "([^"]*)"`, code)[0]
	for _, name := range found(t, `"(X-Bus-[A-Za-z-]+)"`, code) {
		name = strings.ToUpper(name)
		if !strings.Contains(exposed, name+", ") {
			t.Errorf("a page of another origin cannot read the header %s", name)
		}
		if !strings.Contains(document, name+": ") && !strings.Contains(document, name+"`") {
			t.Errorf("the header %s is not in HTTP_API.md", name)
		}
	}
	tables := inTables(document)
	for _, name := range append(found(t, `control\([^,]+, "(\w+)"`, code), found(t, `\bgap[A-Z]\w+ += "(\w+)"`, code)...) {
		if !tables[name] {
			t.Errorf("%s is in no table of HTTP_API.md", name)
		}
	}
}

func TestEveryMetricAndEveryPathIsDocumented(t *testing.T) {
	document, tables := readDocument(t), inTables(readDocument(t))
	for _, name := range found(t, `"(bus_[a-z_]+)"`, sources(t, "*metrics.go")+sources(t, "limits.go")) {
		if !tables[name] {
			t.Errorf("the metric %s is in no table of HTTP_API.md", name)
		}
	}
	for _, path := range found(t, `s\.get\(mux, "([^"]+)"`, sources(t, "admin.go")) {
		if !strings.Contains(document, "`"+path+"`") && !tables["GET "+path] {
			t.Errorf("the path %s is not in HTTP_API.md", path)
		}
	}
}

// Every limit has a row with its flag and with the name that it has in /metrics,
// and every flag that sets a limit has a row.
func TestEveryLimitIsDocumentedWithFlagAndMetric(t *testing.T) {
	document := readDocument(t)
	table := document[strings.Index(document, "\n## Limits\n"):]
	table = table[:strings.Index(table, "\n## Browsers\n")]
	rows := make(map[string]string)
	for _, match := range regexp.MustCompile("(?m)^\\|[^|]+\\|[^|]+\\| ([^|]*) \\| `(\\w+)` \\|$").FindAllStringSubmatch(table, -1) {
		rows[match[2]] = match[1]
	}
	for _, name := range found(t, `limit[A-Z]\w+ += "(\w+)"`, sources(t, "limits.go")) {
		if !strings.Contains(rows[name], "`--") {
			t.Errorf("the limit %s has no row with a flag in HTTP_API.md, got %q", name, rows[name])
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("HTTP_API.md has the limit %s, limits.go has not", name)
	}
	for _, flag := range found(t, `flag:"(max-[a-z-]+|min-[a-z]+|dedup-[a-z]+|[a-z]+-timeout)[,"]`, sources(t, "../cmd/bus/config.go")) {
		if !strings.Contains(table, "`--"+flag+"`") && flag != "shutdown-timeout" { // which is no client's affair
			t.Errorf("the flag --%s is not in the table of limits in HTTP_API.md", flag)
		}
	}
}

func TestLimitsAreDocumentedAsTheyAre(t *testing.T) {
	document := readDocument(t)
	for _, row := range []string{
		fmt.Sprintf("| one event as published | %d MiB |", bus.DefaultMaxEvent>>20),
		fmt.Sprintf("| one batch | %d MiB, %d,000 events |", bus.DefaultMaxBatch>>20, bus.DefaultBatchCount/1000),
		fmt.Sprintf("| subject | %d bytes, %d to %d segments of 1 to %d |", bus.MaxSubjectLen, bus.MinSegments, bus.MaxSegments, bus.MaxSegmentLen),
		"| subjects, namespaces on one stream | 64, 16 |",
		"| unacknowledged events of a stream | 64, up to 10,000, and 16 MiB |",
		"| connections at once | 20,000",
		"| streams at once | 20,000",
		"| streams of one address at once | 16,000",
		fmt.Sprintf("| pattern | %d bytes |", bus.MaxSubjectLen),
		fmt.Sprintf("| subjects whose last index is kept | %d,%03d,%03d a namespace |", disk.DefaultLastSubjects/1_000_000, disk.DefaultLastSubjects/1000%1000, disk.DefaultLastSubjects%1000),
		fmt.Sprintf("| id | %d bytes |", bus.MaxIDLen),
		fmt.Sprintf("| trace id, key, content type | %d bytes each |", bus.MaxTextLen),
	} {
		if !strings.Contains(document, row) {
			t.Errorf("HTTP_API.md does not have the row %s", row)
		}
	}
	code := sources(t, "*.go")
	for name, wanted := range map[string]string{
		"maxNamespaces": "16", "maxNewest": "100_000", "maxAcks": "1000",
		"maxOpenDead": "100_000", "maxDeadPage": "1000",
		"maxResumeLen": "256", "maxArrayBytes": "4 << 20", "maxAnswerWait": "time.Hour",
		"defaultMaxSubjects": "64", "defaultMaxInflight": "10_000", "defaultMaxConnections": "20_000", "defaultMaxStreams": "20_000",
		"defaultMaxStreamsPerAddress": "16_000", "defaultInflight": "64", "maxRedelivery": "24 * time.Hour", "maxWait": "time.Hour",
	} {
		if !regexp.MustCompile(name + ` += ` + regexp.QuoteMeta(wanted) + `\b`).MatchString(code) {
			t.Errorf("%s is no longer %s: put the new limit into HTTP_API.md and here", name, wanted)
		}
	}
}
