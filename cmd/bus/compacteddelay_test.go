package main

import (
	"path/filepath"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server/disk"
)

// compactedDelay makes a log of which a compaction took the place where an event waited,
// and left the one where it was delivered, at 3.
func compactedDelay(t *testing.T, dir string) {
	t.Helper()
	start := time.Now()
	put := func(e *disk.Engine, subject string, timing *bus.Timing) {
		t.Helper()
		if err := e.Append(t.Context(), "app", []bus.Event{{Subject: subject, Payload: []byte("1"), Timing: timing}}); err != nil {
			t.Fatal(err)
		}
	}
	open := func(now time.Time) *disk.Engine {
		t.Helper()
		e, err := disk.Open(dir, disk.Options{Namespaces: []string{"app"}, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	e := open(start)
	put(e, "app.later", &bus.Timing{DeliverAt: start.Add(time.Second)})
	put(e, "app.later", nil)
	if err := e.Purge(t.Context(), "app", 2); err != nil { // it deletes nothing, and closes the file
		t.Fatal(err)
	}
	if released, _, err := e.Release(t.Context(), "app", start.Add(time.Second), 10); err != nil || len(released) != 1 {
		t.Fatalf("got %d delivered and %v, want 1", len(released), err)
	}
	put(e, "app.later", nil)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(start.Add(2 * time.Hour))
	if err := e.SetRetention("app", disk.Retention{Compact: true}); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(10 * time.Second); e.Inspect("app").Removed.Compacted < 2; pause(t.Context(), time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nothing is compacted, want the first two events")
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasDeliveredIsReadWhenACompactionTookThePlaceWhereItWaited(t *testing.T) {
	dir := t.TempDir()
	compactedDelay(t, dir)
	src, err := openSource(dir, nil, &damages{talk: &talk{}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	var got []uint64
	err = src.read(t.Context(), wanted{namespace: "app"}, func(events []bus.Event) error {
		for i := range events {
			got = append(got, events[i].Index)
		}
		return nil
	})
	if err != nil || len(got) != 2 || got[0] != 3 {
		t.Errorf("got the events at %d and %v, want those at 3 and 4", got, err)
	}
}

func TestADumpOfWhatIsLeftOfAnEventThatWaitedIsRestored(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	compactedDelay(t, dir)
	dump, restored := filepath.Join(to, "events.json"), filepath.Join(to, "restored")
	for _, args := range [][]string{{"dump", "--path", dir, "--output", dump}, {"restore", "--path", restored, "--input", dump}, {"copy", "--from", dir, "--to", restored}} {
		app, said := newApp(), &talk{}
		app.Writer, app.ErrWriter = said, said
		if code := report(said, app.RunContext(t.Context(), append([]string{"bus"}, args...))); code != exitOK {
			t.Fatalf("bus %v: got exit code %d: %s", args, code, said)
		}
	}
	src, err := openSource(restored, nil, &damages{talk: &talk{}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	if _, end := src.(*dirSource).engine.Load().Bounds("app"); end != 3 {
		t.Errorf("got %d events restored and copied, want 2", end-1)
	}
}
