package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The mirror is idle meanwhile: it has no failed write to tell it by.
func TestATargetThatIsPutBackUnnoticedLacksNothing(t *testing.T) {
	for name, mirrored := range map[string]int{"put back": 1, "made anew": 0} {
		t.Run(name, func(t *testing.T) {
			a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
			a.count(mirrored)
			older := filepath.Join(t.TempDir(), "older")
			m := startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
			b.events("app", mirrored)
			m.end(exitOK)
			b.close()
			if err := os.CopyFS(older, os.DirFS(b.dir)); err != nil {
				t.Fatal(err)
			}
			b = openTestBus(t, b.dir, b.addr)
			m = startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
			a.count(3 - mirrored)
			b.events("app", 3)
			b.close()
			b = openTestBus(t, older, b.addr)
			a.count(1)
			b.events("app", 4)
			m.end(exitOK, "the target no longer has event")
			wantMirrored(t, inDirectory(t, b.dir), inDirectory(t, a.dir))
		})
	}
}

// Each publish finds that somebody else was faster.
func TestAMirrorGoesOnWhoeverElseWritesToItsTargetHoweverFast(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	to := between(t, b, func(r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.put("app.stranger")
		r.Body = io.NopCloser(bytes.NewReader(body))
	})
	m := startMirror(t, "--from", a.url, "--to", to, "--namespaces", "app")
	a.put("app.x", "app.x")
	b.until(func() bool { return strings.Count(subjectsIn(t, b.dir), "app.x") == 2 })
	m.end(exitOK, "somebody else writes to the target", "copied 2 events, skipped 0")
}

func subjectsIn(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for _, e := range inDirectory(t, dir) {
		all.WriteString(e.Subject + " ")
	}
	return all.String()
}
