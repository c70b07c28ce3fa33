package server_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta/faultfs"
	"example.com/bus/server"
)

// Keys that could not be read once must not be taken for keys that nobody used:
// the repeat of an order would be a second order.
func TestARepeatIsNotStoredTwiceWhenTheKeysCannotBeReadAtFirst(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files}
	b.begin()
	first := b.publish(`{"subject":"orders.1","key":"order-1"}`)
	b.publish(`{"subject":"app.1","key":"app-1"}`)
	var broken atomic.Bool
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "read" && strings.HasSuffix(c.Path, "orders.log") && broken.Load() {
			return syscall.EIO
		}
		return nil
	})
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	b.start(address, func(*server.Config) { broken.Store(true) }) // once the log is open
	const repeat = `{"subject":"orders.1","key":"order-1"}`
	for range 2 {
		a := b.refused(http.StatusServiceUnavailable, "unavailable", "POST", "/", repeat)
		if a.header.Get("Retry-After") == "" || !strings.Contains(a.field("detail"), "input/output error") {
			t.Errorf("got %v %s, want when to come again and what is wrong", a.header, a.body)
		}
	}
	b.publish(`{"subject":"orders.2"}`)
	if got := b.publish(`{"subject":"app.1","key":"app-1"}`).field("duplicate"); got != "true" {
		t.Errorf("another namespace: got duplicate %q, want true", got)
	}
	if a := b.do("GET", "/readyz", ""); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "events with a key are refused") || strings.Contains(a.body, "app") {
		t.Errorf("readyz: got %d %s, want 503 that names orders and its keys", a.status, a.body)
	}
	broken.Store(false)
	for deadline := time.Now().Add(patience); ; {
		a := b.do("POST", "/", repeat)
		if a.status == http.StatusAccepted {
			if a.field("duplicate") != "true" || a.field("id") != first.field("id") {
				t.Errorf("got %s, want the receipt of the first", a.body)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d %s, want the keys to be read again", a.status, a.body)
		}
	}
	if a := b.do("GET", "/readyz", ""); a.status != http.StatusOK {
		t.Errorf("readyz: got %d %s, want 200 once the keys are known", a.status, a.body)
	}
}

// A server that is stopped while it waits for a disk must stop.
func TestAStopDoesNotWaitForKeysThatCannotBeRead(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files}
	b.begin()
	b.publish(`{"subject":"orders.1","key":"order-1"}`)
	var broken atomic.Bool
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "read" && broken.Load() {
			return syscall.EIO
		}
		return nil
	})
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	b.start(address, func(*server.Config) { broken.Store(true) })
	b.refused(http.StatusServiceUnavailable, "unavailable", "POST", "/", `{"subject":"orders.1","key":"order-1"}`)
	b.stop() // fails the test when it takes longer than patience
}
