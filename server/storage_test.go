package server_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"example.com/bus/crypto"
	"example.com/bus/immuta/faultfs"
)

func TestAFullDiskRefusesEventsAndTakesThemAgainWhenThereIsRoom(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files}
	b.begin()
	b.publish(`{"subject":"orders.1"}`)
	var full atomic.Bool
	full.Store(true)
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "write" && strings.Contains(c.Path, "orders.log") && full.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	a := b.refused(507, "no_space", "POST", "/", `{"subject":"orders.2","key":"k"}`)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After, want one")
	}
	if got := b.open("subject=orders.*&start=oldest").subjects(1); got != "orders.1" {
		t.Errorf("reading a full disk: got %s", got)
	}
	full.Store(false)
	again := b.publish(`{"subject":"orders.2","key":"k"}`)
	if again.field("index") != "2" || again.field("duplicate") != "" {
		t.Errorf("got %s, want index 2, and a key that a failed publish has not used up", again.body)
	}
}

func TestAFailedDiskTakesNoMoreUntilItIsReopenedAndIsRead(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files, failing: true}
	b.begin()
	b.publish(`{"subject":"orders.1"}`)
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "datasync" {
			return syscall.EIO
		}
		return nil
	})
	b.refused(500, "storage_failed", "POST", "/", `{"subject":"orders.2"}`)
	files.Inject(nil)
	b.refused(500, "storage_failed", "POST", "/", `{"subject":"orders.3"}`)
	if a := b.do("GET", "/readyz", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz: got %d, want 503", a.status)
	}
	if a := b.do("GET", "/livez", ""); a.status != http.StatusOK {
		t.Errorf("livez: got %d, want 200: a restart is for a person to decide", a.status)
	}
	if got := b.open("subject=orders.*&start=oldest").subjects(1); got != "orders.1" {
		t.Errorf("reading: got %s", got)
	}
	b.publish(`{"subject":"app.1"}`)
}

func TestNothingThatIsPublishedStandsOnDiskInTheClear(t *testing.T) {
	key, err := crypto.NewKey(crypto.GenerateSecret())
	if err != nil {
		t.Fatal(err)
	}
	b := &testBus{t: t, dir: t.TempDir(), keys: crypto.NewKeyring(key)}
	b.begin()
	const marker = "MARKERinTHEclear"
	b.publish(`{"subject":"orders.` + marker + `","id":"` + marker + `","key":"` + marker + `","trace_id":"` + marker + `","payload":"` + strings.Repeat(marker, 1000) + `"}`)
	b.restart()
	if got := b.open("subject=orders.*&start=oldest").next("msg").field("trace_id"); got != marker {
		t.Errorf("after a restart: got %s, want the event back", got)
	}
	b.stop()
	files := 0
	err = filepath.WalkDir(b.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), marker) || strings.Contains(path, marker) {
			t.Errorf("%s holds the marker", filepath.Base(path))
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("looked at %d files, %v, want the logs and what is derived from them", files, err)
	}
}

func TestAnAnswerSaysHowDurableTheEventIs(t *testing.T) {
	for _, sync := range []string{"always", "interval=20ms", "os"} {
		b := &testBus{t: t, dir: t.TempDir(), sync: sync}
		b.begin()
		if got := b.publish(`{"subject":"orders.1"}`).header.Get("X-BUS-DURABILITY"); got != sync {
			t.Errorf("got %q, want %q", got, sync)
		}
	}
}

func TestAnEventThatIsAnsweredAndNotYetReadableIsWaitedFor(t *testing.T) {
	b := &testBus{t: t, dir: t.TempDir(), sync: "interval=100ms"}
	b.begin()
	b.publish(`{"subject":"orders.1","id":"chosen"}`)
	if got := b.publish(`{"subject":"orders.1","id":"chosen"}`).field("duplicate"); got != "true" {
		t.Error("a repeat is not known before the sync")
	}
	id := b.publish(`{"subject":"orders.2"}`).field("id")
	if a := b.do("GET", "/v1/namespaces/orders/events/"+id, ""); a.status != http.StatusOK {
		t.Errorf("read: got %d %s", a.status, a.body)
	}
	id = b.publish(`{"subject":"orders.3"}`).field("id")
	s := b.open("subject=orders.*", "Last-Event-ID: "+id)
	b.publish(`{"subject":"orders.4"}`)
	if got := s.next("msg").field("subject"); got != "orders.4" { // next fails at a gap
		t.Errorf("resumed at %s, want what follows the event", got)
	}
}

func TestAnEventWhoseSyncFailedIsAnErrorAndNotWaitedForForEver(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files, failing: true, sync: "interval=20ms"}
	b.begin()
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "datasync" && strings.Contains(c.Path, "orders") {
			return syscall.EIO
		}
		return nil
	})
	id := b.publish(`{"subject":"orders.1"}`).field("id") // answered before its sync, as was asked for
	b.refused(500, "storage_failed", "GET", "/v1/namespaces/orders/events/"+id, "")
}

// An event that cannot be read now is not gone: a gap would have its readers go
// on without it for ever.
func TestAReadThatFailsEndsTheStreamAndIsNoGap(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files}
	b.begin()
	for range 3 {
		b.publish(`{"subject":"orders.1","payload":"` + strings.Repeat("x", 600_000) + `"}`)
	}
	b.restart()
	var broken atomic.Bool
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "read" && strings.HasSuffix(c.Path, "orders.log") && broken.Load() {
			return syscall.EIO
		}
		return nil
	})
	broken.Store(true)
	s := b.open("subject=orders.*&start=oldest")
	f := s.next("problem")
	if got := f.field("code"); got != "read_failed" {
		t.Errorf("got %s, want read_failed", f.data)
	}
	if a := b.do("GET", "/?subject=orders.*&start=oldest&until=newest", "", "Accept: application/json"); a.status/100 == 2 {
		t.Errorf("an array over a broken disk: got %d %.100s", a.status, a.body)
	}
	broken.Store(false)
	resumed := b.open("subject=orders.*&start=oldest")
	for want := range 3 {
		if got := resumed.next("msg").field("index"); got != fmt.Sprint(want+1) {
			t.Errorf("got index %s, want %d", got, want+1)
		}
	}
}
