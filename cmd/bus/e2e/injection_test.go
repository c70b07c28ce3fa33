//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gosse "github.com/tmaxmax/go-sse"
)

// hostile is an event whose texts hold what ends lines and frames elsewhere.
type hostile struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
	TraceID string `json:"trace_id,omitempty"`
	Payload any    `json:"payload"`
}

const hostileEvents = 10_000

var (
	breaking = []string{"\n", "\r", "\r\n", "\n\n", "\x00", "\u2028", "\u2029", "\u0085", ":", "\ufeff", "\x1b", "\x7f", "\u009b", "data: ", "\nid: e_1", "\n\nevent: msg\ndata: {}\n\n", `"`, `\`, `\n`, "</script>", "🚌", " ", "\t"}
	harmless = []string{":", "data: ", "id: ", "\ufeff", `"`, `\`, `\n`, "</script>", "🚌", " ", "{", "null"}
)

func pieced(r *rand.Rand, from []string, most int) string {
	var b strings.Builder
	for range r.IntN(most) {
		b.WriteString(from[r.IntN(len(from))])
	}
	return b.String()
}

// publishHostile publishes them all, with as little escaped as JSON allows.
func publishHostile(t *testing.T, s *server) (want []hostile) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 7))
	for len(want) < hostileEvents {
		var batch []hostile
		for i := range 1000 {
			e := hostile{ID: fmt.Sprint("own-", len(want)+i), Subject: "orders.x", TraceID: pieced(r, harmless, 8), Payload: pieced(r, breaking, 30)}
			if i%3 == 0 {
				e.Payload = map[string]any{pieced(r, breaking, 5): []any{pieced(r, breaking, 9), nil}}
			}
			batch = append(batch, e)
		}
		var body bytes.Buffer
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(batch); err != nil {
			t.Fatal(err)
		}
		raw := strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(body.String())
		resp, err := http.Post(s.url(), "application/json", strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("publishing: got %s, want 202", resp.Status)
		}
		want = append(want, batch...)
	}
	return want
}

// comparison holds what a client reports, a line an event, against what went in.
type comparison struct {
	t    *testing.T
	mu   sync.Mutex
	want []hostile
	seen int
}

func (c *comparison) line(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var got hostile
	if err := json.Unmarshal([]byte(text), &got); err != nil || c.seen >= len(c.want) {
		c.t.Errorf("got %q (%v) after %d events, want an event", text, err, c.seen)
		return
	}
	want := c.want[c.seen]
	if g, w := mustJSON(c.t, got), mustJSON(c.t, want); !bytes.Equal(g, w) {
		c.t.Errorf("event %d: got %s, want %s", c.seen, g, w)
	}
	c.seen++
}

func (c *comparison) all() {
	c.t.Helper()
	until(c.t, "all events", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.seen == len(c.want) || c.t.Failed()
	})
}

// Ten thousand events whose texts look like frames, lines and ids are as many
// frames to everybody's clients, and every field is as it was sent.
func TestHostileTextsForgeNoFrameForAnyClient(t *testing.T) {
	s := startServer(t, "orders")
	want := publishHostile(t, s)
	stream := s.url() + "/?start=oldest&subject=" + url.QueryEscape("orders.>")
	tool(t, "curl")
	for script, interpreter := range map[string]string{"eventsource.mjs": node(t), "undici.mjs": node(t), "polyfill.mjs": node(t), "curl.sh": tool(t, "sh")} {
		t.Run(script, func(t *testing.T) {
			c, from := &comparison{t: t, want: want}, stream
			if script == "curl.sh" { // a shell reads byte by byte: the last two thousand
				c.want, from = want[8000:], strings.Replace(stream, "oldest", "%238001", 1)
			}
			launch(t, command{name: interpreter, args: []string{filepath.Join("peers", script), from}, stdout: c.line})
			c.all()
		})
	}
	t.Run("go-sse", func(t *testing.T) {
		c := &comparison{t: t, want: want}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, stream, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		conn := gosse.NewConnection(req)
		conn.SubscribeEvent("msg", func(e gosse.Event) { c.line(e.Data) })
		inBackground(t, func(context.Context) error { return conn.Connect() })
		c.all()
	})
}
