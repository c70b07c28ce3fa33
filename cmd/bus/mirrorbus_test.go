package main

import (
	"bytes"
	"context"
	"errors"
	"net"
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
	return openTestBusWith(t, dir, addr, disk.Options{})
}

func openTestBusWith(t *testing.T, dir, addr string, options disk.Options) *testBus {
	t.Helper()
	options.Namespaces = []string{"app", "orders"}
	engine, err := disk.Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{Engine: engine, Admin: true})
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
