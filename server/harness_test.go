package server_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// patience is how long a test waits for what must come. It bounds a failure
// and is no measure of anything.
const patience = 20 * time.Second

// testBus is a server over a real engine and a real listener.
type testBus struct {
	t        *testing.T
	url      string
	dir      string
	files    immuta.FS      // nil: the real ones
	keys     immuta.Sealing // nil: plain
	failing  bool           // closing the engine is to fail
	sync     string         // durability; always when empty
	maxEvent int            // of the engine; the default when 0
	delayed  int            // how many events may wait; the default when 0
	minFree  int64          // bytes of the disk that stay free
	server   *server.Server
	engine   *disk.Engine
	served   chan error
}

func openBus(t *testing.T, change ...func(*server.Config)) *testBus {
	t.Helper()
	b := &testBus{t: t, dir: t.TempDir()}
	b.begin(change...)
	return b
}

func (b *testBus) begin(change ...func(*server.Config)) {
	b.t.Helper()
	b.start("127.0.0.1:0", change...)
	b.t.Cleanup(b.stop)
}

func (b *testBus) start(address string, change ...func(*server.Config)) {
	b.t.Helper()
	durability, err := disk.ParseDurability(cmp.Or(b.sync, "always"))
	if err != nil {
		b.t.Fatal(err)
	}
	engine, err := disk.Open(b.dir, disk.Options{Namespaces: []string{"orders", "app"}, Durability: durability, FS: b.files, Sealing: b.keys, MaxEvent: b.maxEvent, MaxDelayed: b.delayed, MinFree: b.minFree})
	if err != nil {
		b.t.Fatal(err)
	}
	config := server.Config{Engine: engine, Version: "test"}
	for _, c := range change {
		c(&config)
	}
	s, err := server.New(config)
	if err != nil {
		b.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.url, b.server, b.engine, b.served = "http://"+listener.Addr().String(), s, engine, make(chan error, 1)
	go func() { b.served <- s.Serve(listener) }()
}

// stop ends the server as a signal would. A second call does nothing.
func (b *testBus) stop() {
	b.t.Helper()
	if b.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.server.Shutdown(ctx); err != nil {
		b.t.Errorf("Shutdown: %v", err)
	}
	if err := <-b.served; err != nil {
		b.t.Errorf("Serve: %v", err)
	}
	// Or a POST to the next server on this port may go out on a connection that
	// this one has closed, and is not sent again.
	http.DefaultClient.CloseIdleConnections()
	if err := b.engine.Close(); (err != nil) != b.failing {
		b.t.Errorf("Close: got %v, want an error: %v", err, b.failing)
	}
	b.server = nil
}

// restart stops the server and starts it again on the same directory and port.
func (b *testBus) restart() {
	b.t.Helper()
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	b.start(address)
}

// answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

// field returns a member of the answer's JSON object, as JSON text without
// quotes.
func (a answer) field(name string) string {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(a.body), &object) != nil {
		return ""
	}
	return strings.Trim(string(object[name]), `"`)
}

// do sends a request. headers are "Name: value".
func (b *testBus) do(method, path, body string, headers ...string) answer {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	setHeaders(r, headers)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(read)}
}

func setHeaders(r *http.Request, headers []string) {
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
}

// publish stores an event and fails the test when it was not accepted.
func (b *testBus) publish(body string) answer {
	b.t.Helper()
	a := b.do("POST", "/", body)
	if a.status != http.StatusAccepted {
		b.t.Fatalf("publish %s: got %d %s, want 202", body, a.status, a.body)
	}
	return a
}

// refused sends a request and checks that it is refused with a problem of this
// status and code.
func (b *testBus) refused(status int, code, method, path, body string, headers ...string) answer {
	b.t.Helper()
	a := b.do(method, path, body, headers...)
	if a.status != status || a.field("code") != code {
		b.t.Errorf("%s %s %.80q: got %d %s, want %d %s", method, path, body, a.status, a.body, status, code)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		b.t.Errorf("%s %s: got content type %q, want a problem", method, path, got)
	}
	return a
}

// frame is one SSE frame, its fields as they stood.
type frame struct{ id, event, data, retry string }

// field returns a member of the frame's JSON data.
func (f frame) field(name string) string { return answer{body: f.data}.field(name) }

// sse is an open stream.
type sse struct {
	t      *testing.T
	header http.Header
	lines  *bufio.Reader
	close  func()
	hello  frame
}

// open starts a stream and reads up to its hello.
func (b *testBus) open(query string, headers ...string) *sse {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(patience, cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", b.url+"/?"+query, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	setHeaders(r, headers)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		b.t.Fatalf("GET %s: got %d %s, want 200", query, resp.StatusCode, body)
	}
	s := &sse{t: b.t, header: resp.Header, lines: bufio.NewReader(resp.Body)}
	s.close = func() { timer.Stop(); cancel(); resp.Body.Close() }
	b.t.Cleanup(s.close)
	s.hello = s.next("hello")
	return s
}

// read returns the next frame, whatever it is, and false at the end.
func (s *sse) read() (frame, bool) {
	var f frame
	seen := false
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return f, false
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" && seen {
			return f, true
		}
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			f.id = value
		case "event":
			f.event = value
		case "data":
			f.data = value
		case "retry":
			f.retry = value
		}
		seen = seen || line != ""
	}
}

// next returns the next frame with this name, passing over pings and retry.
func (s *sse) next(name string) frame {
	s.t.Helper()
	for {
		f, ok := s.read()
		switch {
		case !ok:
			s.t.Fatalf("the stream ended, want a frame %q", name)
		case f.event == name:
			return f
		case f.event != "ping" && f.event != "":
			s.t.Fatalf("got %+v, want a frame %q", f, name)
		}
	}
}

// subjects reads n events and returns their subjects.
func (s *sse) subjects(n int) string {
	s.t.Helper()
	var got []string
	for range n {
		got = append(got, s.next("msg").field("subject"))
	}
	return strings.Join(got, " ")
}

// ended reads to the end of a stream that the server lets go of, and returns the
// last retry it was told.
func (s *sse) ended() (retry string) {
	s.t.Helper()
	for {
		f, ok := s.read()
		if f.retry != "" {
			retry = f.retry
		}
		if !ok {
			return retry
		}
		if f.event == "msg" || f.event == "end" {
			s.t.Errorf("got %+v, want the stream to be let go", f)
		}
	}
}

// reached reads to the end of a stream that has come to a bound, and returns its
// last frame.
func (s *sse) reached(bound string) frame {
	s.t.Helper()
	end := s.next("end")
	if got, want := end.data, `{"reason":"`+bound+`"}`; got != want {
		s.t.Errorf("end: got %s, want %s", got, want)
	}
	if f, ok := s.read(); ok {
		s.t.Errorf("got %+v after the end, want nothing", f)
	}
	return end
}

// ack acknowledges what a frame carries.
func (b *testBus) ack(s *sse, f frame, extra string) answer {
	b.t.Helper()
	return b.do("PUT", "/?consumer_id="+s.hello.field("consumer_id")+"&event_id="+f.field("id")+extra, "")
}

func lines(body string) []string { return strings.Split(strings.TrimSpace(body), "\n") }

func pretty(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(body)); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return b.String()
}
