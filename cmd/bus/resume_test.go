package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"example.com/bus"
)

// manyEvents returns n events with ids of their own.
func manyEvents(n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = bus.Event{Id: fmt.Sprintf("own-%d", i), Subject: "app.x", CreatedAt: time.Unix(int64(i), 0).UTC(), Payload: fmt.Appendf(nil, "%d", i)}
	}
	return events
}

// A restore that is killed in the middle is finished by a second one, with
// every event once and in its order.
func TestKilledRestoreIsFinishedByTheNext(t *testing.T) {
	dir := t.TempDir()
	input, data := filepath.Join(dir, "d.json"), filepath.Join(dir, "data")
	dump := dumpOf(t, manyEvents(100_000)...)
	if err := os.WriteFile(input, dump, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bus", "restore", "--path", data, "--input", input)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if info, err := os.Stat(filepath.Join(data, "app.log")); err == nil && info.Size() > 100_000 || time.Now().After(deadline) {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()

	if out, err := exec.Command("bus", "restore", "--path", data, "--input", input).CombinedOutput(); err != nil {
		t.Fatalf("second run: %v\n%s", err, out)
	}
	again, err := exec.Command("bus", "dump", "--path", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readDump(again)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readDump(dump)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("got %d events, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Id != want[i].Id || !bytes.Equal(got[i].Payload, want[i].Payload) {
			t.Fatalf("at %d: got %s, want %s", i, got[i].Id, want[i].Id)
		}
	}
}

// A file appears under its name only when it is whole.
func TestFailedDumpLeavesTheOldFileAndNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.json")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := writeWhole(path, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "old" {
		t.Errorf("got %q and %v, want the old file", got, err)
	}
	if found, _ := filepath.Glob(path + "*"); len(found) != 1 {
		t.Errorf("got files %v, want one", found)
	}
}

func TestPasswordsOfURLsAreNotShown(t *testing.T) {
	for place, want := range map[string]string{
		"http://u:secret@host:1/x": "http://u:xxxxx@host:1/x",
		"http://host:1":            "http://host:1",
		"./data":                   "./data",
	} {
		if got := shown(place); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestExitCodesTellMistakesFromFailures(t *testing.T) {
	refused := bus.ErrInvalidSubject.With("x")
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"nothing":             {nil, exitOK},
		"a failure":           {errors.New("x"), exitFailed},
		"a mistake":           {fmt.Errorf("x: %w", usageError("y")), exitUsage},
		"refused as mistaken": {hostError(refused, "http://x"), exitUsage},
		"a full disk":         {hostError(bus.ErrInsufficientSpace, "http://x"), exitFailed},
		"damage":              {fmt.Errorf("x: %w", &bus.DamageError{Namespace: "a", From: 1, Err: io.ErrUnexpectedEOF}), exitDamage},
	} {
		if got := report(io.Discard, c.err); got != c.want {
			t.Errorf("%s: got exit code %d, want %d", name, got, c.want)
		}
	}
}
