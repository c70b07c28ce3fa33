package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// answerWithin is how long an answer may take. It is no measure of speed.
const answerWithin = 30 * time.Second

// TestHTTPAPIDocumentIsTrue sends every request of HTTP_API.md to a real
// server, in the document's order, and compares every answer with what the
// document says.
func TestHTTPAPIDocumentIsTrue(t *testing.T) {
	document, err := os.ReadFile("../HTTP_API.md")
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{dir: t.TempDir(), values: make(captures)}
	ran := 0
	for _, s := range readSections(t, string(document)) {
		w.start(t, server.Config{})
		for _, step := range s.steps {
			if b, ok := step.(block); ok {
				ran++
				w.block(t, b)
				continue
			}
			w.directive(t, step.(directive))
		}
		w.stop(t)
	}
	if fences := strings.Count(string(document), "\n```http"); ran != fences || ran == 0 {
		t.Errorf("%d blocks were run, the document has %d", ran, fences)
	}
}

// walk is one reading of the document: a server, and the conversations with it.
type walk struct {
	dir     string
	values  captures
	damaged []byte // the log as it was before its repair

	engine  *disk.Engine
	server  *server.Server
	address string
	served  chan error
	talks   []*talk
}

// talk is one request and its answer, on a connection of its own.
type talk struct {
	name     string
	conn     net.Conn
	reader   *bufio.Reader
	method   string
	response *http.Response
	body     *bufio.Reader
	stream   bool
}

func (w *walk) start(t *testing.T, c server.Config) {
	t.Helper()
	var err error
	w.engine, err = disk.Open(w.dir, disk.Options{Namespaces: []string{"app", "orders"}})
	if err != nil {
		t.Fatal(err)
	}
	c.Engine, c.Version = w.engine, "v0.1.0"
	if w.server, err = server.New(c); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address, w.served = listener.Addr().String(), make(chan error, 1)
	go func() { w.served <- w.server.Serve(listener) }()
}

// stop ends the section's streams and the server.
func (w *walk) stop(t *testing.T) {
	t.Helper()
	for _, one := range w.talks {
		one.conn.Close()
	}
	w.talks = nil
	ctx, cancel := context.WithTimeout(t.Context(), answerWithin)
	defer cancel()
	if err := errors.Join(w.server.Shutdown(ctx), <-w.served, w.engine.Close()); err != nil {
		t.Fatal(err)
	}
}

// directive does what a comment says and no request can: start the server anew
// with a setting or over a log in which a bit was flipped, or stop it under the
// open streams.
func (w *walk) directive(t *testing.T, d directive) {
	t.Helper()
	name, value, _ := strings.Cut(d.text, "=")
	if name == "shutdown" {
		go w.server.Shutdown(t.Context())
		return
	}
	c := server.Config{}
	w.stop(t)
	switch name {
	case "heartbeat":
		c.Heartbeat = w.span(t, value)
	case "body-timeout":
		c.BodyTimeout = w.span(t, value)
	case "max-streams-per-address":
		if c.MaxStreamsPerAddress, _ = strconv.Atoi(value); c.MaxStreamsPerAddress < 1 {
			t.Fatalf("line %d: want a number, found %q", d.line, value)
		}
	case "admin":
		c.Admin = value == ""
	case "flip":
		w.flip(t, value)
	case "repair":
		w.repair(t)
	case "unrepair":
		if err := os.WriteFile(filepath.Join(w.dir, "orders.log"), w.damaged, 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("line %d: unknown directive %q", d.line, d.text)
	}
	w.start(t, c)
}

func (w *walk) span(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// flip changes a bit behind the first two bytes of the text, so that the same
// call finds its place again and mends it.
func (w *walk) flip(t *testing.T, text string) {
	t.Helper()
	name := filepath.Join(w.dir, "orders.log")
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(log, []byte(text[:2]))
	if at < 0 {
		t.Fatalf("%s does not hold %q", name, text[:2])
	}
	log[at+2] ^= 1
	if err := os.WriteFile(name, log, 0o600); err != nil {
		t.Fatal(err)
	}
}

// repair keeps the damaged log, so that the document can go on with a whole one.
func (w *walk) repair(t *testing.T) {
	t.Helper()
	var err error
	if w.damaged, err = os.ReadFile(filepath.Join(w.dir, "orders.log")); err != nil {
		t.Fatal(err)
	}
	if did, err := disk.Repair(w.dir, "orders", disk.Options{}, true); err != nil || !did.Done {
		t.Fatalf("repair: got %+v and %v", did, err)
	}
}

func (w *walk) block(t *testing.T, b block) {
	t.Helper()
	var err error
	switch b.kind {
	case "request":
		err = w.request(b)
	case "answer":
		err = w.answer(b)
	case "frames":
		err = w.frames(b)
	}
	if err != nil {
		t.Fatalf("HTTP_API.md:%d: %v", b.line, err)
	}
}

// request sends the lines as they stand, with Host, and with Content-Length
// where there is a body and the document does not give one.
func (w *walk) request(b block) error {
	head, body := b.split()
	text, err := w.values.fill(strings.Join(body, "\n"))
	if err != nil {
		return err
	}
	lines := []string{head[0] + " HTTP/1.1", "Host: " + w.address}
	lines = append(lines, head[1:]...)
	given := slices.ContainsFunc(head, func(line string) bool { return strings.HasPrefix(line, "Content-Length:") })
	if !given && (text != "" || strings.HasPrefix(head[0], "P")) {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(text)))
	}
	raw, err := w.values.fill(strings.Join(lines, "\r\n") + "\r\n\r\n")
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		return err
	}
	method, _, _ := strings.Cut(head[0], " ")
	w.talks = append(w.talks, &talk{name: b.name, conn: conn, reader: bufio.NewReader(conn), method: method})
	_, err = io.WriteString(conn, raw+text)
	return err
}

// find returns the named talk, or the latest that fits.
func (w *walk) find(name string, fits func(*talk) bool) (*talk, error) {
	for _, one := range slices.Backward(w.talks) {
		if name == one.name && name != "" || name == "" && fits(one) {
			one.conn.SetDeadline(time.Now().Add(answerWithin))
			return one, nil
		}
	}
	return nil, fmt.Errorf("no request %q is there", name)
}

func (w *walk) answer(b block) error {
	one, err := w.find(b.name, func(o *talk) bool { return o.response == nil })
	if err != nil {
		return err
	}
	if one.response, err = http.ReadResponse(one.reader, &http.Request{Method: one.method}); err != nil {
		return err
	}
	if one.response.Close { // net/http takes the header out
		one.response.Header.Set("Connection", "close")
	}
	one.body = bufio.NewReader(one.response.Body)
	head, body := b.split()
	if err := w.status(one.response, head); err != nil {
		rest, _ := io.ReadAll(io.LimitReader(one.body, 500))
		return fmt.Errorf("%w\nbody %s", err, rest)
	}
	one.stream = one.response.Header.Get("X-BUS-CONSUMER-ID") != "" || strings.HasPrefix(one.response.Header.Get("Content-Type"), "text/event-stream")
	if one.stream {
		return w.next(one, body, b.end)
	}
	rest, err := io.ReadAll(one.body)
	if err != nil {
		return err
	}
	return w.lines(body, strings.Split(strings.TrimSuffix(string(rest), "\n"), "\n"))
}

// shown are the headers that the document may not leave out.
func shown(name string) bool {
	return strings.HasPrefix(name, "X-Bus-") || strings.HasPrefix(name, "Access-Control-") ||
		slices.Contains([]string{"Content-Type", "Retry-After", "Allow", "Connection"}, name)
}

func (w *walk) status(r *http.Response, head []string) error {
	if err := w.values.match(head[0], r.Proto+" "+r.Status); err != nil {
		return err
	}
	listed := make(map[string]bool)
	for _, line := range head[1:] {
		name, want, _ := strings.Cut(line, ": ")
		name = http.CanonicalHeaderKey(name)
		listed[name] = true
		if err := w.values.match(want, strings.Join(r.Header.Values(name), ", ")); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	for name, values := range r.Header {
		if shown(name) && !listed[name] {
			return fmt.Errorf("the answer has the header %s: %s, the document has not", name, values)
		}
	}
	return nil
}

func (w *walk) lines(want, got []string) error {
	if len(got) == 1 && got[0] == "" {
		got = nil
	}
	for i, line := range want {
		if i >= len(got) {
			return fmt.Errorf("want %s\n got the end", line)
		}
		if err := w.values.match(line, got[i]); err != nil {
			return err
		}
	}
	if len(got) > len(want) {
		return fmt.Errorf("want the end\n got %s", got[len(want)])
	}
	return nil
}

func (w *walk) frames(b block) error {
	one, err := w.find(b.name, func(o *talk) bool { return o.stream })
	if err != nil {
		return err
	}
	return w.next(one, b.text, b.end)
}
