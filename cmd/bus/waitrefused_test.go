package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bus/client"
	"example.com/bus/server/disk"
)

func TestEventsThatMayNotWaitAtTheTargetKeepNoOthersOutAndAreTold(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	for _, delay := range []time.Duration{0, 40 * time.Hour, 30 * time.Hour, 0} {
		options := []client.PutOption{client.WithSubject("app.x"), client.WithData(1)}
		if delay > 0 {
			options = append(options, client.WithDelay(delay))
		}
		if err := a.client.Put(t.Context(), options...).Error(); err != nil {
			t.Fatal(err)
		}
	}
	dump := filepath.Join(t.TempDir(), "dump")
	ran(t, "dump", "--path", a.url, "--output", dump)
	for name, c := range map[string]struct {
		options disk.Options
		refused string
		there   uint64
		stored  string
	}{
		"none may wait":   {disk.Options{MaxDelayed: -1}, "2 events put off for later", 2, " 2 events, skipped 0"},
		"one may wait":    {disk.Options{MaxDelayed: 1}, "1 event put off for later", 3, " 3 events, skipped 0"},
		"not for so long": {disk.Options{Retention: map[string]disk.Retention{"app": {MaxAge: 36 * time.Hour}}}, "1 event put off for later", 3, " 3 events, skipped 0"},
	} {
		for _, args := range [][]string{{"copy", "--from", a.dir, "--namespaces", "app", "--to"}, {"copy", "--from", a.url, "--namespaces", "app", "--to"}, {"restore", "--input", dump, "--path"}} {
			b := openTestBusWith(t, t.TempDir(), "", c.options)
			app, said := newApp(), &talk{}
			app.Writer, app.ErrWriter = said, said
			code := report(said, app.RunContext(t.Context(), append(append([]string{"bus"}, args...), b.url)))
			for _, want := range []string{c.refused, c.stored, "--max-delayed", "--retention"} {
				if !strings.Contains(said.String(), want) || code != exitFailed {
					t.Errorf("%s, %v: got %d and %s, want %d and %q", name, args, code, said, exitFailed, want)
				}
			}
			if last, err := newHostSource(b.url, nil).last(t.Context(), "app"); err != nil || last != c.there {
				t.Errorf("%s, %v: got %d events and %v, want %d", name, args, last, err, c.there)
			}
			b.close()
		}
	}
}
