//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// documentedAddress stands in lines that people have written down. A test puts
// the address of its own server there and changes nothing else.
const documentedAddress = "http://localhost:2021"

func TestDocumentedCurlLinesWorkAsTheyStand(t *testing.T) {
	t.Parallel()
	s := startServer(t, "drawing,chat")
	published := shellLine(t, s, `curl -i -X POST http://localhost:2021/ \
  -H "Content-Type: application/json" \
  -d '{
    "subject": "drawing.room123",
    "payload": {
      "type": "draw",
      "from": {"x": 100, "y": 150},
      "color": "#000000"
    }
  }'`)
	if got := published.after(t, "HTTP/1.1 "); got != "202 Accepted" {
		t.Fatalf("publishing: got %s, want 202 Accepted", got)
	}
	id := published.after(t, "X-Bus-Event-Id: ")

	history := shellLine(t, s, `curl "http://localhost:2021/?subject=drawing.*&start=oldest"`)
	if got := history.event(t); got.ID != id || got.Subject != "drawing.room123" {
		t.Errorf("history: got %+v, want event %s", got, id)
	}

	live := shellLine(t, s, `curl -i "http://localhost:2021/?subject=chat.room1.*&start=newest&ack=manual&redelivery=10s&redelivery_count=3"`)
	consumer := live.after(t, "X-Bus-Consumer-Id: ")
	live.after(t, "event: hello")
	// With -d alone curl says that it sends a form.
	shellLine(t, s, `curl http://localhost:2021/ -d '{"subject": "chat.room1.alice", "payload": {"message": "Hello!"}}'`)
	event := live.event(t)
	acked := shellLine(t, s, `curl -i -X PUT "http://localhost:2021/?consumer_id=`+consumer+`&event_id=`+event.ID+`"`)
	if got := acked.after(t, "HTTP/1.1 "); got != "202 Accepted" {
		t.Errorf("acknowledging: got %s, want 202 Accepted", got)
	}
}

func TestDocumentedJavaScriptWorksAsItStands(t *testing.T) {
	t.Parallel()
	s := startServer(t, "chat")
	page, err := os.ReadFile(filepath.Join("pages", "documented.html"))
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(strings.ReplaceAll(string(page), documentedAddress, s.url())))
	}))
	t.Cleanup(site.Close)
	said := &printed{lines: make(chan string, 100)}
	launch(t, command{name: node(t), args: []string{filepath.Join("peers", "page.mjs"), chromium(t), site.URL}, stdout: said.add})

	var got struct {
		Received, Sent string
		Payload        struct{ User, Text string }
	}
	for got.Received == "" || got.Sent == "" { // they come in either order
		if err := json.Unmarshal([]byte(said.after(t, "")), &got); err != nil {
			t.Fatal(err)
		}
	}
	if got.Received != got.Sent || got.Payload.User != "Alice" || got.Payload.Text != "Hello!" {
		t.Errorf("got %+v, want the message that was sent", got)
	}
}

// printed are the lines that a process prints, to be read as they come.
type printed struct{ lines chan string }

func (p *printed) add(line string) { p.lines <- strings.TrimSuffix(line, "\r") }

// after skips to the next line with a prefix and returns the rest of it.
func (p *printed) after(t *testing.T, prefix string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest
			}
		case <-deadline:
			t.Fatalf("no line with %q after %v", prefix, patience)
		}
	}
}

// event skips to the next msg frame and returns what it carries.
func (p *printed) event(t *testing.T) wireEvent {
	t.Helper()
	p.after(t, "event: msg")
	var e wireEvent
	if err := json.Unmarshal([]byte(p.after(t, "data: ")), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// shellLine runs a line as a person would paste it. stdbuf stands for the
// terminal: into a pipe curl would keep small answers to itself.
func shellLine(t *testing.T, s *server, line string) *printed {
	t.Helper()
	tool(t, "curl")
	shell := []string{"-oL", tool(t, "sh"), "-c", strings.ReplaceAll(line, documentedAddress, s.url())}
	p := &printed{lines: make(chan string, 1000)}
	launch(t, command{name: tool(t, "stdbuf"), args: shell, stdout: p.add})
	return p
}
