package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"example.com/bus"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// onTerminal runs bus with both outputs on a terminal, and returns what that is
// told to show.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	var locked, number int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCSPTLCK: &locked, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
			t.Fatal(errno)
		}
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // ends with an error when the other side is closed
		shown <- string(text)
	}()
	run(append([]string{"bus"}, args...), strings.NewReader(""), terminal, terminal)
	terminal.Close()
	return <-shown
}

// What a terminal obeys, or shows as something that it is not.
const obeyed = "\x1b[2J \x1b]0;owned\x07 \u009b2J \u202e\u2066 \x7f \x00 \r\b\x08"

// wantShown wants text on a terminal that cannot be obeyed. Of its own bus sends
// only what clears a line of progress.
func wantShown(t *testing.T, what, shown string) {
	t.Helper()
	shown = strings.NewReplacer("\r\x1b[K", "", "\r\n", "\n").Replace(shown)
	if at := strings.IndexFunc(shown, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r <= 0x9f || r == 0x202e || r == 0x2066 }); at >= 0 {
		t.Errorf("%s: got %q at byte %d of %q, wanted it escaped", what, shown[at:at+1], at, shown)
	}
	if !strings.Contains(shown, "marked") {
		t.Errorf("%s: got %q, wanted the text that is harmless", what, shown)
	}
}

func TestNothingThatIsPublishedIsObeyedByATerminal(t *testing.T) {
	dir := t.TempDir()
	e, err := disk.Open(dir, disk.Options{Namespaces: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(`"marked \u001b \u0000 ` + "\u009b2J \u202e\u2066 \x7f" + `"`) // as it can stand in JSON
	events := []bus.Event{{Subject: "app.json", Payload: text}, {Subject: "app.bytes", ContentType: "text/plain", Payload: []byte("marked " + obeyed)}}
	if err := e.Append(context.Background(), "app", events); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	wantShown(t, "debug", onTerminal(t, "debug", "--path", dir, "--namespace", "app"))
	wantShown(t, "dump", onTerminal(t, "dump", "--path", dir))
	url := servedHere(t, dir)
	for _, flags := range [][]string{{}, {"--payload"}} {
		args := append([]string{"get", "--host", url, "--subject", "app.>", "--start", "oldest", "--until", "newest", "--ack", "none"}, flags...)
		wantShown(t, fmt.Sprint("get ", flags), onTerminal(t, args...))
	}
}

// servedHere serves a directory from this process, and returns the URL.
func servedHere(t *testing.T, dir string) string {
	t.Helper()
	e, err := disk.Open(dir, disk.Options{Namespaces: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), e.Close()); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	return web.URL
}

// What a server answers is no more to be trusted than an event: the URL may be
// mistyped, and what stands between may answer in its place.
func TestNothingThatAServerAnswersIsObeyedByATerminal(t *testing.T) {
	text := strings.NewReplacer("\n", "", "\r", "").Replace(obeyed)
	quoted := strings.Trim(fmt.Sprintf("%+q", text), `"`)
	quoted = strings.NewReplacer(`\x1b`, `\u001b`, `\x7f`, "\x7f", `\x00`, `\u0000`, `\a`, `\u0007`).Replace(quoted)
	frame := `id: e_1` + "\nevent: msg\ndata: " + `{"id":"marked ` + quoted + `","subject":"app.x","index":1,"payload":1}` + "\n\n"
	for name, answer := range map[string]struct {
		status      int
		contentType string
		body        string
		args        []string
	}{
		"reply":   {200, "text/plain", "marked " + obeyed, []string{"put", "--subject", "app.x", "--reply"}},
		"reply2":  {200, "application/json", `"marked ` + "\u009b2J\u202e" + `"`, []string{"put", "--subject", "app.x", "--reply"}},
		"id":      {202, "application/json", `{"id":"marked ` + quoted + `","index":1}`, []string{"put", "--subject", "app.x"}},
		"problem": {400, "application/problem+json", `{"code":"x","title":"marked ` + quoted + `","detail":"` + quoted + `"}`, []string{"put", "--subject", "app.x"}},
		"page":    {500, "text/html", "marked " + obeyed, []string{"put", "--subject", "app.x"}},
		"event":   {200, "text/event-stream", frame, []string{"get", "--subject", "app.x", "--ack", "none"}},
		"gap":     {200, "text/event-stream", "event: gap\ndata: {\"namespace\":\"marked " + quoted + "\"}\n\n" + frame, []string{"get", "--subject", "app.x", "--ack", "none"}},
		"list":    {200, "application/json", `{"namespaces":[{"name":"marked ` + quoted + `"}]}`, []string{"dump"}},
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", answer.contentType)
			w.WriteHeader(answer.status)
			io.WriteString(w, answer.body)
		}))
		shown := onTerminal(t, append(answer.args, "--host", web.URL)...)
		web.Close()
		if name == "list" || name == "page" { // it is refused without being shown
			shown += "marked"
		}
		wantShown(t, name, shown)
	}
}

func TestADumpToAFileIsAsItWasPublished(t *testing.T) {
	dir := t.TempDir()
	e, err := disk.Open(dir, disk.Options{Namespaces: []string{"app"}})
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte("\"\u009b2J \u202e\x7f\"")
	if err := e.Append(context.Background(), "app", []bus.Event{{Subject: "app.x", Payload: payload}}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dump")
	if code := run([]string{"bus", "dump", "--path", dir, "--output", path}, nil, io.Discard, io.Discard); code != 0 {
		t.Fatalf("dump: got exit code %d, want 0", code)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Contains(got, payload) {
		t.Errorf("got %q, %v, wanted %q in it", got, err, payload)
	}
}
