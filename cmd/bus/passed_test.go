package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/bus"
	"example.com/bus/server/disk"
)

// purged deletes, of the directory of a server that is closed, the segments of app
// below an index; the last one is closed for it.
func purged(t *testing.T, dir string, before uint64) (first, next uint64) {
	t.Helper()
	e, err := disk.Open(dir, disk.Options{Namespaces: []string{"app", "orders"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Purge(t.Context(), "app", before); err != nil {
		t.Fatal(err)
	}
	first, next = e.Bounds("app")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return first, next
}

// emptied makes it one of which retention has deleted everything.
func emptied(t *testing.T, dir string) {
	t.Helper()
	_, next := purged(t, dir, 2) // closes a segment, and deletes none
	if first, _ := purged(t, dir, next); first != next {
		t.Fatalf("got %d to %d, want nothing", first, next-1)
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

func TestAMirrorGoesOnThoughItsTargetHasDeletedItsOldestEvents(t *testing.T) {
	for name, c := range map[string]struct {
		subject string
		copied  []int // of the source's events, in each of three lives
	}{"the same indexes": {"app.>", []int{4, 4, 4}}, "other indexes": {"app.eu", []int{2, 2, 2}}} {
		t.Run(name, func(t *testing.T) {
			a, to := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "mirror")
			args := []string{"--from", a.url, "--to", to, "--subject", c.subject}
			if name == "the same indexes" {
				args = []string{"--from", a.url, "--to", to, "--namespaces", "app"}
			}
			for life, copied := range c.copied {
				a.put("app.eu", "app.us", "app.eu", "app.us")
				m := startMirror(t, args...)
				m.says(fmt.Sprintf(`"msg":"in step","namespace":"app","index":%d`, 4*(life+1)))
				m.end(exitOK, fmt.Sprintf("copied %d events, skipped 0", copied))
				if strings.Contains(m.said.String(), "lost events to damage") || strings.Contains(m.said.String(), "not asked of the source") {
					t.Errorf("got %s, want no word of damage or strangers", m.said)
				}
				purged(t, to, []uint64{2, uint64(copied) + 1, 2}[life])
			}
		})
	}
}

// As one that was running would.
func TestAMirrorThatItsSourcesRetentionHasPassedSaysSoAndGoesOn(t *testing.T) {
	for _, from := range []string{"a server", "a directory"} {
		t.Run(from, func(t *testing.T) {
			a, to := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "mirror")
			for life := range 2 {
				place := a.url
				if from == "a directory" {
					place = a.dir
				}
				a.count(2)
				m := startMirror(t, "--from", place, "--to", to, "--namespaces", "app")
				m.says(fmt.Sprintf(`"msg":"in step","namespace":"app","index":%d`, 2+5*life))
				m.end(exitOK, []string{"copied 2 events", "gap in namespace app: 3 events are gone (retention); asked for "}[life])
				a.count(3)
				a.close()
				emptied(t, a.dir)
				a = openTestBus(t, a.dir, "")
			}
			if got := len(inDirectory(t, to)); got != 4 {
				t.Errorf("got %d events, want 4", got)
			}
		})
	}
}

func TestATargetThatHasDeletedEverythingIsRefusedAndToldSo(t *testing.T) {
	a, to := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "mirror")
	a.count(2)
	m := startMirror(t, "--from", a.url, "--to", to, "--namespaces", "app")
	m.says(`"msg":"in step","namespace":"app","index":2`)
	m.end(exitOK)
	emptied(t, to)
	startMirror(t, "--from", a.url, "--to", to, "--namespaces", "app").exit(exitFailed, "the target has deleted all of the 2 events that it had in namespace app")
}

// deleting is a target whose retention deletes what stands below an index in the moment
// in which it is to be read.
type deleting struct {
	*dirSource
	below uint64
}

func (d deleting) read(ctx context.Context, w wanted, take func([]bus.Event) error) error {
	if err := d.engine.Load().Purge(ctx, w.namespace, d.below); err != nil {
		return err
	}
	return d.dirSource.read(ctx, w, take)
}

func TestATargetThatDeletesWhileItIsComparedLacksNothing(t *testing.T) {
	a, to := openTestBus(t, t.TempDir(), ""), filepath.Join(t.TempDir(), "mirror")
	for life := range 2 {
		a.put("app.eu", "app.us", "app.eu")
		m := startMirror(t, "--from", a.url, "--to", to, "--subject", "app.eu")
		m.says(fmt.Sprintf(`"msg":"in step","namespace":"app","index":%d`, 3*(life+1)))
		m.end(exitOK)
		purged(t, to, 2)
	}
	e, err := disk.Open(to, disk.Options{Namespaces: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	w, err := bus.ParsePattern("app.eu")
	if err != nil {
		t.Fatal(err)
	}
	said := &damages{talk: &talk{}}
	p, err := resume(t.Context(), newHostSource(a.url, said), deleting{newDirSource(e, said), 3}, wanted{"app", []bus.Pattern{w}}, said)
	if err != nil || p.from != 7 || p.unsure {
		t.Errorf("got %+v and %v, want it to go on from 7", p, err)
	}
}

// A roll renames the log, and then the file that is to be the log.
func TestALogThatIsBeingRolledIsFollowedAndNotAway(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	a.count(2)
	a.close()
	log := filepath.Join(a.dir, "app.log")
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	purged(t, older, 2) // app.1.log, and an empty app.log
	m := startMirror(t, "--from", a.dir, "--to", filepath.Join(t.TempDir(), "mirror"), "--namespaces", "app")
	m.says(`"msg":"in step","namespace":"app","index":2`)
	moveTo(t, filepath.Join(older, "app.log"), log+".tmp")
	moveTo(t, log, filepath.Join(a.dir, "app.1.log"))
	src, err := openFollowed(a.dir, "app", nil, &damages{talk: &talk{}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	seen, _ := os.Stat(filepath.Join(a.dir, "app.1.log"))
	if err := src.awaitChange(t.Context(), seen); err != nil {
		t.Errorf("got %v, want it looked at", err)
	}
	moveTo(t, log+".tmp", log)
	a = openTestBus(t, a.dir, "")
	a.count(1)
	m.said.until(t, a.dir, 3)
	m.end(exitOK)
	if got := m.said.String(); strings.Contains(got, "away") {
		t.Errorf("got %s, want no word of being away", got)
	}
}
