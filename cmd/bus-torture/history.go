package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	historyPublishers = 6
	historyReaders    = 4
	historyLength     = 1990 // and what is under way then: not over 2,000
)

// history is what clients asked and were answered, with the times of both.
type history struct {
	begun time.Time
	url   string
	http  *http.Client

	mu   sync.Mutex // guards what follows
	all  []porcupine.Operation
	ends map[string]uint64 // the highest index that anybody was told of
	dark bool              // the power is off: an answer is none
	said []string          // answers that no kill explains
}

func newHistory(url string) *history {
	return &history{begun: time.Now(), url: url, http: newHTTP(), ends: make(map[string]uint64)}
}

// run has the clients work until so many operations are noted in all.
func (h *history) run(ctx context.Context, length int, r *rand.Rand) *sync.WaitGroup {
	var clients sync.WaitGroup
	for n := range historyPublishers + historyReaders {
		c := &historian{history: h, number: n, rand: rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))}
		work := c.publish
		if n >= historyPublishers {
			work = c.read
		}
		clients.Go(func() {
			for round := 0; ctx.Err() == nil && h.len() < length; round++ {
				work(ctx, round)
				pause(ctx, time.Duration(c.rand.Int64N(int64(2*time.Millisecond))))
			}
		})
	}
	return &clients
}

func (h *history) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// goDark is called right before the power is cut: what is answered from then on
// nobody would get. See (*journal).goDark.
func (h *history) goDark(dark bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dark = dark
}

// note puts an operation down when it was answered, or was given up. Of one that
// only asks nothing is kept without an answer.
func (h *history) note(client int, in opInput, call time.Duration, out *opOutput) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Return: int64(time.Since(h.begun))}
	if out != nil && !h.dark {
		op.Output = *out
		h.ends[in.namespace] = max(h.ends[in.namespace], out.index)
	} else if in.kind != opAppend {
		return
	}
	h.all = append(h.all, op)
}

// near draws an index about the end, where something is happening.
func (h *history) near(namespace string, r *rand.Rand) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.ends[namespace]
	if r.IntN(4) == 0 {
		return 1 + r.Uint64N(end+1)
	}
	return max(1, end+2-min(end, r.Uint64N(6)))
}

func (h *history) mistake(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, fmt.Sprintf(format, args...))
}

// historian is one client.
type historian struct {
	*history
	number int
	rand   *rand.Rand
}

// publish appends one to four events. Every second client gives them keys and
// sends them again until it is answered: that is one operation, however often
// it was sent.
func (c *historian) publish(ctx context.Context, round int) {
	namespace := namespaces[c.rand.IntN(len(namespaces))]
	keyed := c.number%2 == 0
	in := opInput{kind: opAppend, namespace: namespace}
	var items []string
	for i := range 1 + c.rand.IntN(4) {
		e := &entry{Name: fmt.Sprintf("h%d-%d-%d", c.number, round, i), Namespace: namespace, Keyed: keyed}
		in.names = append(in.names, e.Name)
		items = append(items, document(e))
	}
	body := "[" + strings.Join(items, ",") + "]"
	call := time.Since(c.begun)
	out := c.append(body, in)
	for keyed && out == nil && ctx.Err() == nil {
		pause(ctx, 5*time.Millisecond)
		out = c.append(body, in)
	}
	c.note(c.number, in, call, out)
}

func (c *historian) append(body string, in opInput) *opOutput {
	var receipts []receipt
	status, ok := c.ask(http.MethodPost, "/", strings.NewReader(body), &receipts)
	switch {
	case !ok || status >= 500:
		return nil
	case status != http.StatusAccepted || len(receipts) != len(in.names):
		c.mistake("%v: got %d with %d receipts, want 202 with %d", in.names, status, len(receipts), len(in.names))
		return nil
	}
	return &opOutput{index: receipts[0].Index}
}

// read asks for what is at an index, or where the end is.
func (c *historian) read(ctx context.Context, _ int) {
	in := opInput{kind: opRead + c.rand.IntN(2), namespace: namespaces[c.rand.IntN(len(namespaces))]}
	call := time.Since(c.begun)
	path := "/v1/namespaces/" + in.namespace
	var out opOutput
	if in.kind == opEnd {
		var info struct {
			LastIndex uint64 `json:"last_index"`
		}
		status, ok := c.ask(http.MethodGet, path, nil, &info)
		if ok && status == http.StatusOK {
			out.index = info.LastIndex
			c.note(c.number, in, call, &out)
		}
		return
	}
	in.index = c.near(in.namespace, c.rand)
	var e event
	status, ok := c.ask(http.MethodGet, fmt.Sprintf("%s/events/%d", path, in.index), nil, &e)
	switch {
	case !ok || status >= 500:
		pause(ctx, 5*time.Millisecond)
	case status == http.StatusOK && e.Index == in.index:
		c.note(c.number, in, call, &opOutput{name: e.name()})
	case status == http.StatusNotFound:
		c.note(c.number, in, call, &opOutput{})
	default:
		c.mistake("%s %d: got %d and index %d", in.namespace, in.index, status, e.Index)
	}
}

// ask returns false when there was no whole answer.
func (c *historian) ask(method, path string, body io.Reader, into any) (int, bool) {
	r, err := http.NewRequest(method, c.url+path, body)
	if err != nil {
		c.mistake("%v", err)
		return 0, false
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, false
	}
	if resp.StatusCode < 300 && json.Unmarshal(text, into) != nil {
		c.mistake("%s %s: got %.200s", method, path, bytes.TrimSpace(text))
		return 0, false
	}
	return resp.StatusCode, true
}
