//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wire speaks to a bus as clients of its predecessor do: no Content-Type, empty
// fields and the zero time where there is nothing to say.
type wire struct {
	t    *testing.T
	base string
}

// post publishes a body and returns what the answer's headers say. The
// predecessor's client reads the time and the index from them after each event,
// and takes an answer without them as a failure.
func (w wire) post(body string) (id string, index int64) {
	w.t.Helper()
	resp := w.do(http.MethodPost, "/", body)
	if _, err := time.Parse(time.RFC3339Nano, resp.Header.Get("X-BUS-EVENT-CREATED-AT")); err != nil {
		w.t.Errorf("X-BUS-EVENT-CREATED-AT of the answer to %s: %v", body, err)
	}
	index, err := strconv.ParseInt(resp.Header.Get("X-BUS-EVENT-INDEX"), 10, 64)
	if err != nil {
		w.t.Errorf("X-BUS-EVENT-INDEX of the answer to %s: %v", body, err)
	}
	return resp.Header.Get("X-BUS-EVENT-ID"), index
}

// ack acknowledges an event and wants 202.
func (w wire) ack(consumerID, eventID string) {
	w.t.Helper()
	w.do(http.MethodPut, "/?"+url.Values{"consumer_id": {consumerID}, "event_id": {eventID}}.Encode(), "")
}

// do sends a request and wants 202.
func (w wire) do(method, path, body string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusAccepted {
		w.t.Fatalf("%s %s %s: got %s %s, want 202", method, path, body, resp.Status, text)
	}
	return resp
}

// wireEvent is what the predecessor's client reads of an event.
type wireEvent struct {
	ID              string          `json:"id"`
	TraceID         string          `json:"trace_id"`
	Key             string          `json:"key"`
	Subject         string          `json:"subject"`
	ResponseSubject string          `json:"response_subject"`
	Payload         json.RawMessage `json:"payload"`
	CreatedAt       time.Time       `json:"created_at"`
	Index           int64           `json:"index"`
}

// wireStream is an open subscription, with the consumer id from its header.
type wireStream struct {
	t          *testing.T
	consumerID string
	events     chan wireEvent
}

// open subscribes with the parameters that the predecessor's client always
// sends. It returns when the answer has begun, which is when that client goes
// on to publish.
func (w wire) open(subject, start, ack, redelivery string, more ...string) *wireStream {
	w.t.Helper()
	query := url.Values{"subject": {subject}, "start": {start}, "ack": {ack}, "redelivery": {redelivery}}
	for i := 0; i+1 < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+"/?"+query.Encode(), http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	w.t.Cleanup(func() { cancel(); <-done; resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		close(done)
		text, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("subscribing with %s: got %s %s, want 200", query.Encode(), resp.Status, text)
	}
	s := &wireStream{t: w.t, consumerID: resp.Header.Get("X-BUS-CONSUMER-ID"), events: make(chan wireEvent, 100)}
	if s.consumerID == "" {
		w.t.Error("the answer has no X-BUS-CONSUMER-ID")
	}
	go func() {
		defer close(done)
		s.read(resp.Body)
	}()
	return s
}

// read hands on msg frames. All other frames are nothing to the predecessor's
// client, except error and done, which would end its loop.
func (s *wireStream) read(body io.Reader) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	name := ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			name = value
			if name == "error" || name == "done" {
				s.t.Errorf("got a frame named %q, which ends the predecessor's loop", name)
			}
		case field == "data" && name == "msg":
			var e wireEvent
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				s.t.Errorf("data %q: %v", value, err)
			}
			s.events <- e
		case field == "":
			name = ""
		}
	}
}

func (s *wireStream) next() wireEvent {
	s.t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(patience):
		s.t.Fatalf("no event after %v", patience)
		return wireEvent{}
	}
}
