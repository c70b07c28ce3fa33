//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// screenshotVariable names a file that outlives the test, for a person to look
// at.
const screenshotVariable = "BUS_E2E_SCREENSHOT"

// welcomeReport is what peers/welcome.mjs prints.
type welcomeReport struct {
	Status int
	Shown  []string
	Curl   string
	Errors []string
}

func TestWelcomePageSubscribesAndPublishes(t *testing.T) {
	t.Parallel()
	s := startServer(t, "orders")
	got := useWelcomePage(t, s)
	want := []string{`refused`, `#2 orders.hello"<b>text is text</b>"`, `#1 orders.hello{"hello":"world"}`}
	if len(got.Shown) != len(want) {
		t.Fatalf("rows on the page: got %q, want %d", got.Shown, len(want))
	}
	for i := range want {
		if !strings.HasPrefix(got.Shown[i], want[i]) {
			t.Errorf("row %d on the page: got %q, want %q", i+1, got.Shown[i], want[i])
		}
	}
	if !strings.Contains(got.Curl, s.url()) {
		t.Errorf("the page's curl lines: got %q, want the address %s in them", got.Curl, s.url())
	}
	wantOnlyRefusals(t, got.Errors)
}

// wantOnlyRefusals: Chromium writes each answer from 400 on into the console,
// and there are two that have to be: GET / without a subject, and the payload
// that is not JSON. Anything else is an error of the page.
func wantOnlyRefusals(t *testing.T, errors []string) {
	t.Helper()
	refusals := 0
	for _, text := range errors {
		if strings.Contains(text, "status of 400") {
			refusals++
			continue
		}
		t.Errorf("console error on the welcome page: %s", text)
	}
	if refusals > 2 {
		t.Errorf("refusals in the console: got %q, want at most 2", errors)
	}
}

func useWelcomePage(t *testing.T, s *server) welcomeReport {
	t.Helper()
	screenshot := os.Getenv(screenshotVariable)
	if screenshot == "" {
		screenshot = filepath.Join(t.TempDir(), "welcome.png")
	}
	var report welcomeReport
	child := launch(t, command{
		name: node(t),
		args: []string{filepath.Join("peers", "welcome.mjs"), chromium(t), s.url() + "/", screenshot},
		stdout: func(line string) {
			if err := json.Unmarshal([]byte(line), &report); err != nil {
				t.Errorf("got %q, want a report", line)
			}
		},
	})
	child.wantExit0(t)
	if report.Status != http.StatusBadRequest {
		t.Errorf("status of the page without a subject: got %d, want 400", report.Status)
	}
	return report
}
