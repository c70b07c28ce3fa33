package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/client"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// testBus is a server in this process, over a directory.
type testBus struct {
	t      *testing.T
	dir    string
	addr   string
	url    string
	client *client.Client
	close  func()
}

// openTestBus serves app and orders at an address, or at a free one with "".
func openTestBus(t *testing.T, dir, addr string) *testBus {
	t.Helper()
	engine, err := disk.Open(dir, disk.Options{Namespaces: []string{"app", "orders"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	b := &testBus{t: t, dir: dir, addr: l.Addr().String(), url: "http://" + l.Addr().String()}
	b.client = client.NewClient(b.url)
	b.close = sync.OnceFunc(func() {
		b.client.CloseIdleConnections()
		stop, done := context.WithTimeout(context.Background(), patience)
		defer done()
		if err := errors.Join(s.Shutdown(stop), <-served, engine.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.close)
	return b
}

// put publishes an event of each subject, with its number as payload.
func (b *testBus) put(subjects ...string) {
	b.t.Helper()
	for i, s := range subjects {
		if err := b.client.Put(b.t.Context(), client.WithSubject(s), client.WithData(i)).Error(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// events returns what is there, once a namespace has so many.
func (b *testBus) events(namespace string, want int) []bus.Event {
	b.t.Helper()
	b.until(func() bool {
		last, err := newHostSource(b.url, nil).last(b.t.Context(), namespace)
		return err == nil && last >= uint64(want)
	})
	var events []bus.Event
	for e, err := range b.client.Get(b.t.Context(), client.WithSubject(namespace+".>"), client.WithStartFrom(client.StartOldest), client.WithUntilNewest()) {
		if err != nil {
			b.t.Fatal(err)
		}
		events = append(events, e.Event)
	}
	return events
}

func (b *testBus) until(done func() bool) { b.t.Helper(); eventually(b.t, done) }

// eventually polls a condition.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("got nothing within %s", patience)
		}
	}
}

// talk is a stderr that is read while it is written.
type talk struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (k *talk) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(p)
}

func (k *talk) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.String()
}

// testMirror is a copy --follow in this process.
type testMirror struct {
	t     *testing.T
	said  *talk
	stop  context.CancelFunc
	ended chan int
}

func startMirror(t *testing.T, args ...string) *testMirror {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m := &testMirror{t: t, said: &talk{}, stop: cancel, ended: make(chan int, 1)}
	app := newApp()
	app.Writer, app.ErrWriter = m.said, m.said
	go func() {
		m.ended <- report(m.said, app.RunContext(ctx, append([]string{"bus", "copy", "--follow"}, args...)))
	}()
	t.Cleanup(func() { m.end(-1) })
	return m
}

// says waits for a text.
func (m *testMirror) says(text string) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(m.said.String(), text); {
		if time.Now().After(deadline) || len(m.ended) > 0 && !strings.Contains(m.said.String(), text) {
			m.t.Fatalf("got %s, want %q", m.said, text)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// end interrupts it, and wants an exit code and texts; -1 wants nothing.
func (m *testMirror) end(want int, texts ...string) {
	m.t.Helper()
	m.stop()
	m.exit(want, texts...)
}

// exit waits until it has ended by itself.
func (m *testMirror) exit(want int, texts ...string) {
	m.t.Helper()
	select {
	case got := <-m.ended:
		m.ended <- got
		if want >= 0 && got != want {
			m.t.Errorf("got exit code %d, want %d:\n%s", got, want, m.said)
		}
	case <-time.After(patience):
		m.t.Fatalf("got no end within %s:\n%s", patience, m.said)
	}
	for _, text := range texts {
		if !strings.Contains(m.said.String(), text) {
			m.t.Errorf("got %s, want %q", m.said, text)
		}
	}
}

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

// until waits until a place has so many events of app.
func (k *talk) until(t *testing.T, place string, want int) {
	t.Helper()
	eventually(t, func() bool {
		src, err := openSource(place, nil, &damages{talk: k})
		if err != nil {
			return false
		}
		defer src.close()
		last, err := src.(followed).last(t.Context(), "app")
		return err == nil && last == uint64(want)
	})
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

func wantMirroredSubjects(t *testing.T, events []bus.Event, want string) {
	t.Helper()
	var got []string
	for _, e := range events {
		got = append(got, e.Subject)
	}
	if strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
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
	m.end(exitOK, "copied 1 events, skipped 0")
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
