package sim

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const base = "http://127.0.0.1:2021/"

// answer is a response that was read to its end; status 0 is none.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// trickle is a body that comes a line at a time, with a pause before each.
type trickle struct {
	text  string
	pause time.Duration
}

func (t *trickle) Read(b []byte) (int, error) {
	if t.text == "" {
		return 0, io.EOF
	}
	time.Sleep(t.pause)
	n := copy(b, t.text)
	if end := strings.IndexByte(t.text[:n], '\n'); t.pause > 0 && end >= 0 {
		n = end + 1
	}
	t.text = t.text[n:]
	return n, nil
}

// body is the reader of a text; one that is there at once says its length.
func (t *trickle) body() io.Reader {
	if t.pause == 0 {
		return strings.NewReader(t.text)
	}
	return t
}

func newRequest(ctx context.Context, method, query string, body io.Reader, headers []string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, base+query, body)
	if err != nil {
		return nil, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r, nil
}

func request(client *http.Client, method, query string, body *trickle, headers ...string) answer {
	return requestWithin(2*time.Minute, client, method, query, body, headers...)
}

// requestWithin breaks off when the answer is not there by then.
func requestWithin(patience time.Duration, client *http.Client, method, query string, body *trickle, headers ...string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := newRequest(ctx, method, query, body.body(), headers)
	if err != nil {
		return answer{err: err}
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(read), err}
}

// frame is one thing that a stream said. at is when it was read.
type frame struct {
	id, event, data string
	at              time.Time
	e               *wire // of a msg, once the model has looked at it
}

// conn is one open stream. A slow one reads a frame for each permit.
type conn struct {
	cancel  context.CancelFunc
	permits chan struct{} // closed: read all
	opened  sync.Once     // of closing permits

	mu     sync.Mutex // guards the rest
	status int
	frames []frame
	ended  bool
	last   time.Time // when it ended
}

// dial opens a stream and reads it in a goroutine of its own.
func (w *world) dial(query, accept, resume string, slow bool) *conn {
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{cancel: cancel, permits: make(chan struct{}, 1<<16)}
	w.conns = append(w.conns, c)
	headers := []string{"Accept: " + accept}
	if resume != "" {
		headers = append(headers, "Last-Event-ID: "+resume)
	}
	if !slow {
		c.hurry()
	}
	client := w.client
	go c.run(ctx, client, query, headers, accept == "application/x-ndjson")
	return c
}

// hurry lets a slow stream read as fast as it can.
func (c *conn) hurry() { c.opened.Do(func() { close(c.permits) }) }

func (c *conn) permit(n int) {
	for range n {
		select {
		case c.permits <- struct{}{}:
		default:
		}
	}
}

func (c *conn) run(ctx context.Context, client *http.Client, query string, headers []string, lines bool) {
	defer c.end()
	r, err := newRequest(ctx, "GET", query, nil, headers)
	if err != nil {
		return
	}
	resp, err := client.Do(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	c.mu.Lock()
	c.status = resp.StatusCode
	c.mu.Unlock()
	in := bufio.NewReaderSize(resp.Body, 512)
	for {
		select {
		case <-c.permits:
		case <-ctx.Done():
			return
		}
		f, ok := readFrame(in, lines)
		if !ok {
			return
		}
		c.mu.Lock()
		c.frames = append(c.frames, f)
		c.mu.Unlock()
	}
}

func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.last = true, time.Now()
}

// answered returns the status, and whether there will be none any more.
func (c *conn) answered() (status int, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status, c.ended
}

// take returns what was read since the last call, and whether that is all.
func (c *conn) take() (frames []frame, status int, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames, c.frames = c.frames, nil
	return frames, c.status, c.ended
}

// readFrame reads a whole frame, or line; a part of one is nothing.
func readFrame(in *bufio.Reader, lines bool) (f frame, ok bool) {
	for seen := false; ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return frame{}, false
		}
		f.at, line = time.Now(), strings.TrimSuffix(line, "\n")
		switch {
		case lines && line == "":
			return frame{event: "ping", at: f.at}, true
		case lines && strings.HasPrefix(line, `{"problem":`):
			return frame{event: "problem", data: line, at: f.at}, true
		case lines && strings.HasPrefix(line, `{"gap":`):
			return frame{event: "gap", data: line, at: f.at}, true
		case lines:
			return frame{event: "msg", data: line, at: f.at}, true
		case line == "" && seen:
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
		}
		seen = seen || line != ""
	}
}

// subjects is the query of a stream.
func subjects(patterns []string, more ...string) string {
	q := url.Values{"subject": patterns}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] != "" {
			q.Set(more[i], more[i+1])
		}
	}
	return "?" + q.Encode()
}
