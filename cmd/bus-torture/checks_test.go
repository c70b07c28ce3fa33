package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestACheckWithoutItsDevicesFailsUnlessThatIsKnown(t *testing.T) {
	var out bytes.Buffer
	h := &harness{out: &out}
	ran := false
	run := func() error { ran = true; return nil }
	missing := t.TempDir() + "/fuse"
	t.Setenv(noLoop, "")
	if err := h.onDisks("images-xfs", run, missing); err == nil || !strings.Contains(err.Error(), noLoop) {
		t.Errorf("got %v, want an error that names %s", err, noLoop)
	}
	t.Setenv(noLoop, "1")
	if err := h.onDisks("images-xfs", run, missing); err != nil || !strings.Contains(out.String(), "NOT RUN") {
		t.Errorf("got %v and %q, want it to say that it was not run", err, out.String())
	}
	if ran {
		t.Error("it ran without its device")
	}
}

func TestEveryCheckThatIsListedIsKnown(t *testing.T) {
	if _, err := parse([]string{"--checks", strings.Join(allChecks, ",")}, &bytes.Buffer{}); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := parse([]string{"--checks", "kills,nothing"}, &bytes.Buffer{}); err == nil {
		t.Error("an unknown check was taken")
	}
}
