package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bus/client"
)

func TestAMirrorHasEverythingOfAnEventAndNamespacesThatBeginLater(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	ctx := t.Context()
	whole := []client.PutOption{
		client.WithSubject("app.x"), client.WithData("one"), client.WithKey("k"), client.WithTraceId("t"),
		client.WithHeader("h", "v"), client.WithCreatedAt(time.Unix(7, 8)), client.WithId("2"), // also the index of another
	}
	raw := []client.PutOption{client.WithSubject("app.raw"), client.WithRaw("image/png", []byte{0, 1, 0xff})}
	if err := a.client.Put(ctx, client.Batch(whole...), client.Batch(raw...)).Error(); err != nil {
		t.Fatal(err)
	}
	m := startMirror(t, "--from", a.url, "--to", b.url)
	m.says(`"msg":"in step","namespace":"app","index":2`)
	m.says(`"msg":"in step","namespace":"orders","index":0`)
	a.put("orders.new", "app.x")
	wantMirrored(t, b.events("app", 3), a.events("app", 3))
	wantMirrored(t, b.events("orders", 1), a.events("orders", 1))
	m.end(exitOK, "copied 4 events, skipped 0")
}

func TestAMirrorGoesOnBehindTheNewestEventOfItsTarget(t *testing.T) {
	for name, dirs := range map[string][2]bool{"servers": {false, false}, "from a directory": {true, false}, "to a directory": {false, true}, "directories": {true, true}} {
		t.Run(name, func(t *testing.T) {
			a := openTestBus(t, t.TempDir(), "")
			if err := a.client.Put(t.Context(), client.WithSubject("app.x"), client.WithData(1), client.WithId("1")).Error(); err != nil {
				t.Fatal(err)
			}
			a.put("app.x", "app.x")
			from, to := a.url, filepath.Join(t.TempDir(), "mirror")
			if dirs[0] {
				from = a.dir
			}
			if !dirs[1] {
				to = openTestBus(t, to, "").url
			}
			for _, c := range []struct{ from, has, copied int }{{1, 3, 5}, {6, 5, 2}, {8, 7, 2}} {
				m := startMirror(t, "--from", from, "--to", to, "--namespaces", "app")
				m.says(`"from_index":` + strconv.Itoa(c.from))
				m.says(`"msg":"in step","namespace":"app","index":` + strconv.Itoa(c.has))
				a.put("app.x", "app.x")
				m.said.until(t, to, c.has+2)
				m.end(exitOK, fmt.Sprintf("copied %d events, skipped 0", c.copied))
			}
		})
	}
}

func TestEventsOfOthersInAMirrorAreToldAndStay(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.one", "app.two")
	m := startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
	b.events("app", 2)
	b.put("app.stranger")
	a.put("app.three")
	m.says("somebody else writes to the target")
	m.end(exitOK)
	b.put("app.stranger")

	for range 2 {
		m = startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
		m.says(`"msg":"in step","namespace":"app"`)
		m.end(exitOK, "the target has events that were not asked of the source", `"behind":1,"between":1`, "copied 0 events")
	}
	m = startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
	a.put("app.four")
	var got []string
	for _, e := range b.events("app", 6) {
		got = append(got, e.Subject)
	}
	if want := "app.one app.two app.stranger app.three app.stranger app.four"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
	m.end(exitOK)
}

func TestAMirrorIsNotMixedWithAnotherLog(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.one")
	b.put("app.other", "app.other")
	m := startMirror(t, "--from", a.url, "--to", b.url)
	m.exit(exitFailed, "the target has 2 events in namespace app, and the newest 2 of them are not of the source")
	if got := len(b.events("app", 2)); got != 2 {
		t.Errorf("got %d events, want the 2 that were there", got)
	}
}

func TestAMirrorThatLacksEventsSaysWhichAndWritesNoneOutOfOrder(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.eu", "app.us", "app.eu")
	m := startMirror(t, "--from", a.url, "--to", b.url, "--subject", "app.eu")
	wantMirroredSubjects(t, b.events("app", 2), "app.eu app.eu")
	m.end(exitOK)
	m = startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
	m.exit(exitFailed, "the target lacks event 2 of the source", "mirror into an empty target")
	wantMirroredSubjects(t, b.events("app", 2), "app.eu app.eu")
}

// Then both have as many events, and the same last one.
func TestAStrangerInAMirrorDoesNotHideThatAnEventIsMissing(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.eu")
	m := startMirror(t, "--from", a.url, "--to", b.url, "--subject", "app.eu")
	b.events("app", 1)
	b.put("app.stranger")
	a.put("app.us", "app.eu")
	wantMirroredSubjects(t, b.events("app", 3), "app.eu app.stranger app.eu")
	m.end(exitOK)
	startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app").exit(exitFailed, "the target lacks event 2 of the source")
}

func TestAMirrorOfSomeSubjectsIsInStepWithThoseAndGoesOn(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.eu", "app.us", "app.eu", "app.us")
	for name, from := range map[string]string{"a server": a.url, "a directory": a.dir} {
		m := startMirror(t, "--from", from, "--to", b.url, "--subject", "app.eu")
		m.says(`"msg":"in step","namespace":"app","index":4`)
		m.end(exitOK)
		if strings.Contains(m.said.String(), "not asked of the source") {
			t.Errorf("%s: got %s, want no word of strangers", name, m.said)
		}
	}
	m := startMirror(t, "--from", a.url, "--to", b.url, "--subject", "app.eu")
	a.put("app.us", "app.eu")
	wantMirroredSubjects(t, b.events("app", 3), "app.eu app.eu app.eu")
	m.end(exitOK, "copied 1 event, skipped 0")
}

func TestAServerThatIsNotThereYetIsWaitedFor(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.one")
	for _, absent := range []*testBus{a, b} {
		absent.close()
		m := startMirror(t, "--from", a.url, "--to", b.url)
		m.says("away; waiting for it to come back")
		openTestBus(t, absent.dir, absent.addr)
		m.says(`"msg":"back"`)
		m.says(`"msg":"in step","namespace":"app","index":1`)
		m.end(exitOK)
	}
}

func TestATargetThatWasMadeAnewGetsEverythingAgain(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.one", "app.two")
	m := startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
	b.events("app", 2)
	b.close()
	a.put("app.three")
	m.says("away; waiting for it to come back")
	anew := openTestBus(t, t.TempDir(), b.addr)
	wantMirrored(t, anew.events("app", 3), a.events("app", 3))
	m.end(exitOK, "the target no longer has event")
}

func TestAMirrorThatTookOverIsMirroredBack(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.one", "app.two")
	m := startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
	b.events("app", 2)
	m.end(exitOK)
	b.put("app.three")
	m = startMirror(t, "--from", b.url, "--to", a.url, "--namespaces", "app")
	b.put("app.four")
	wantMirrored(t, a.events("app", 4), b.events("app", 4))
	m.end(exitOK, `"from_index":3`, "copied 2 events, skipped 0")
}

func TestASourceThatIsAnotherLogEndsTheMirror(t *testing.T) {
	a, other := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.one", "app.two")
	other.put("app.other")
	to := filepath.Join(t.TempDir(), "mirror")
	m := startMirror(t, "--from", a.dir, "--to", to, "--namespaces", "app")
	m.says(`"msg":"in step","namespace":"app","index":2`)
	a.close()
	other.close()
	if err := os.Rename(filepath.Join(other.dir, "app.log"), filepath.Join(a.dir, "app.log")); err != nil {
		t.Fatal(err)
	}
	m.exit(exitFailed, "is another log now", "not of the source")
}
