package main

import (
	"path/filepath"
	"strconv"
	"testing"

	"example.com/bus"
)

// remove deletes events of app.
func (b *testBus) remove(indexes ...int) {
	b.t.Helper()
	for _, index := range indexes {
		if _, err := b.client.DeleteEvent(b.t.Context(), "app", strconv.Itoa(index)); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestAMirrorPassesOverWhatWasDeletedAndIsInStep(t *testing.T) {
	for name, dirs := range map[string][2]bool{"servers": {false, false}, "from a directory": {true, false}, "to a directory": {false, true}, "directories": {true, true}} {
		t.Run(name, func(t *testing.T) {
			a := openTestBus(t, t.TempDir(), "")
			a.put("app.1", "app.2", "app.3", "app.4")
			a.remove(2, 4)
			from, to := a.url, filepath.Join(t.TempDir(), "mirror")
			if dirs[0] {
				from = a.dir
			}
			if !dirs[1] {
				to = openTestBus(t, to, "").url
			}
			m := startMirror(t, "--from", from, "--to", to, "--namespaces", "app")
			m.says(`"msg":"in step","namespace":"app","index":4`)
			a.put("app.5")
			m.said.until(t, to, 3)
			m.end(exitOK, "copied 3 events, skipped 0", "passed over", "deleted")

			a.put("app.6")
			a.remove(5, 6) // of which the mirror has the first
			a.put("app.7")
			m = startMirror(t, "--from", from, "--to", to, "--namespaces", "app")
			m.said.until(t, to, 4)
			m.says(`"msg":"in step","namespace":"app","index":7`)
			m.end(exitOK)
			src, err := openSource(to, nil, &damages{talk: m.said})
			if err != nil {
				t.Fatal(err)
			}
			defer src.close()
			var got []bus.Event
			if err := src.read(t.Context(), wanted{namespace: "app"}, func(events []bus.Event) error { got = append(got, events...); return nil }); err != nil {
				t.Fatal(err)
			}
			wantMirroredSubjects(t, got, "app.1 app.3 app.5 app.7")
		})
	}
}

func TestWhatWasDeletedIsNotWrittenAgainByACopyBackIntoTheSameLog(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	a.put("app.1", "app.2", "app.3")
	backup := filepath.Join(t.TempDir(), "backup")
	run := func(args ...string) {
		t.Helper()
		app := newApp()
		said := &talk{}
		app.Writer, app.ErrWriter = said, said
		if code := report(said, app.RunContext(t.Context(), append([]string{"bus"}, args...))); code != exitOK {
			t.Fatalf("bus %v: got exit code %d: %s", args, code, said)
		}
	}
	run("copy", "--from", a.url, "--to", backup, "--namespaces", "app")
	a.remove(2)
	run("copy", "--from", backup, "--to", a.url, "--namespaces", "app")
	last, err := newHostSource(a.url, nil).last(t.Context(), "app")
	if err != nil || last != 3 {
		t.Errorf("got %d events and %v, want none more than the 3 that were given", last, err)
	}
	a.close()
	run("copy", "--from", backup, "--to", a.dir, "--namespaces", "app")
	b := openTestBus(t, a.dir, "")
	if last, err = newHostSource(b.url, nil).last(t.Context(), "app"); err != nil || last != 3 {
		t.Errorf("into the directory: got %d events and %v, want none more", last, err)
	}
}
