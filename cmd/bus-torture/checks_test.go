package main

import (
	"bytes"
	"slices"
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

func TestOnlyChecksThatThereAreAreTaken(t *testing.T) {
	s, err := parse(nil, &bytes.Buffer{})
	if err != nil || !slices.Equal(s.checks, checkNames()) {
		t.Errorf("got %v and %v, want all of them in their order", s, err)
	}
	if _, err := parse([]string{"--checks", "kills,nothing"}, &bytes.Buffer{}); err == nil {
		t.Error("an unknown check was taken")
	}
}

func TestWhatFailedIsSaidOnceMoreAtTheEndAndShort(t *testing.T) {
	long := "a promise is broken\nseed 12\n" + strings.Repeat("what happened\n", 100)
	if got, want := opening(long), "a promise is broken\nseed 12\nwhat happened\nwhat happened\nwhat happened"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := opening(strings.Repeat("x", 1<<20)); len(got) > openingBytes+len(" …") {
		t.Errorf("got %d bytes, want at most %d", len(got), openingBytes)
	}
}
