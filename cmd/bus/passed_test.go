package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/bus/server/disk"
)

// emptied makes the directory of a server that is closed one of which retention has
// deleted everything.
func emptied(t *testing.T, dir string) {
	t.Helper()
	e, err := disk.Open(dir, disk.Options{Namespaces: []string{"app", "orders"}})
	if err != nil {
		t.Fatal(err)
	}
	_, next := e.Bounds("app")
	if err := e.Purge(t.Context(), "app", next); err != nil {
		t.Fatal(err)
	}
	if first, next := e.Bounds("app"); first != next {
		t.Fatalf("got %d to %d, want nothing", first, next-1)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAMirrorIsInStepWithASourceThatHasDeletedEverything(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	a.count(3)
	a.close()
	emptied(t, a.dir)
	a = openTestBus(t, a.dir, "")
	for _, from := range []string{a.url, a.dir} {
		m := startMirror(t, "--from", from, "--to", filepath.Join(t.TempDir(), "mirror"), "--namespaces", "app")
		m.says(`"msg":"in step","namespace":"app","index":3`)
		m.end(exitOK)
	}
}

// The target is where it was meanwhile: the mirror has only fallen behind.
func TestAMirrorSaysWhatRetentionDeletedBeforeItWasCopiedAndIsInStepBehindIt(t *testing.T) {
	for _, from := range []string{"a server", "a directory"} {
		t.Run(from, func(t *testing.T) {
			a := openTestBus(t, t.TempDir(), "")
			a.count(1)
			place := a.url
			if from == "a directory" {
				place = a.dir
			}
			m := startMirror(t, "--from", place, "--to", filepath.Join(t.TempDir(), "mirror"), "--namespaces", "app", "--status-addr", "127.0.0.1:0")
			m.says(`"msg":"in step","namespace":"app","index":1`)
			a.close()
			ahead := filepath.Join(t.TempDir(), "ahead")
			moveTo(t, a.dir, ahead)
			m.says("away; waiting for it to come back")
			b := openTestBus(t, ahead, "")
			b.count(2)
			b.close()
			emptied(t, ahead)
			moveTo(t, ahead, a.dir)
			openTestBus(t, a.dir, a.addr)
			m.says("gap in namespace app: 2 events are gone (retention); asked for ")
			m.says("going on at index 4")
			_, rest, _ := strings.Cut(m.said.String(), `"msg":"status is served","addr":"`)
			address, _, _ := strings.Cut(rest, `"`)
			eventually(t, func() bool {
				_, body := asked(t, "http://"+address+"/readyz")
				return strings.Contains(body, `"app":{"events_behind":0,"seconds_behind":0,"known":true,"source_up":true`)
			})
			m.end(exitOK)
		})
	}
}

func moveTo(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
