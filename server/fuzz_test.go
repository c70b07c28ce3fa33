package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// recorder keeps an answer.
type recorder struct {
	statusRecorder
	body bytes.Buffer
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(p)
}

func (w *recorder) Flush() {}

// FuzzAnyRequestIsAnsweredOrRefused sends whatever comes to the handler. A
// mistake is a 4xx with a problem document; nothing is a 5xx, and every frame of
// a stream is well formed.
func FuzzAnyRequestIsAnsweredOrRefused(f *testing.F) {
	for _, seed := range [][4]string{
		{"POST", "/", `{"subject":"orders.a","payload":1}`, ""},
		{"POST", "/", `[{"subject":"orders.a"},{"subject":"orders.b","key":"k"}]`, "application/json"},
		{"POST", "/?subject=orders.a&key=k", "text", "text/plain"},
		{"POST", "/", "{\"subject\":\"orders.a\"}\n{\"subject\":\"app.b\"}", "application/x-ndjson"},
		{"GET", "/?subject=orders.*&start=oldest&until=newest", "", ""},
		{"GET", "/?subject=orders.*&subject=app.>&start=%231&limit=3&ack=manual", "", ""},
		{"GET", "/?subject=_bus_.x&last_event_id=e_000000A", "", ""},
		{"POST", "/?expected_index=3&expected_subject_index=", `{"subject":"orders.a","payload":1}`, ""},
		{"POST", "/?subject=orders.a&expected_subject_index=0&key=k", "{}", "application/json"},
		{"GET", "/?subject=orders.>&subject=app.d&start=last&until=newest", "", ""},
		{"PUT", "/?consumer_id=c_x&event_id=e_y&verdict=nak&delay=1s", "{}", ""},
		{"GET", "/v1/namespaces/orders/events/1", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	s, engine := fuzzServer(f)
	for _, subject := range []string{"orders.a", "orders.b.c", "app.d"} {
		if err := engine.Append(f.Context(), bus.Namespace(subject), []bus.Event{{Subject: subject, Payload: []byte(`{"x":"\n"}`)}}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, method, target, body, contentType string) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond) // for a stream that would go on
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://bus"+target, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		r.Host = "bus"
		r.Header.Set("Content-Type", contentType)
		w := &recorder{statusRecorder: statusRecorder{header: make(http.Header)}}
		s.Handler().ServeHTTP(w, r)
		checkAnswer(t, w)
	})
}

// fuzzServer is a server that syncs nothing.
func fuzzServer(f *testing.F) (*server.Server, *disk.Engine) {
	f.Helper()
	unsynced, err := disk.ParseDurability("os")
	if err != nil {
		f.Fatal(err)
	}
	engine, err := disk.Open(f.TempDir(), disk.Options{Namespaces: []string{"app", "orders"}, Durability: unsynced})
	if err != nil {
		f.Fatal(err)
	}
	s, err := server.New(server.Config{Engine: engine, MaxEvent: 4 << 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), engine.Close()); err != nil {
			f.Error(err)
		}
	})
	return s, engine
}

func checkAnswer(t *testing.T, w *recorder) {
	t.Helper()
	switch contentType := w.header.Get("Content-Type"); {
	case contentType == "application/problem+json":
		var p struct{ Code, Title string }
		if err := json.Unmarshal(w.body.Bytes(), &p); err != nil || p.Code == "" || p.Title == "" {
			t.Errorf("problem %s: %v", w.body.Bytes(), err)
		}
		if w.status/100 != 4 && w.status != http.StatusServiceUnavailable && w.status != http.StatusGatewayTimeout {
			t.Errorf("got %d %s, want a refusal", w.status, w.body.Bytes())
		}
	case contentType == "text/event-stream":
		for _, block := range strings.Split(strings.TrimSuffix(w.body.String(), "\n\n"), "\n\n") {
			checkFrame(t, block)
		}
	case w.status >= 400 && w.body.Len() > 0 && !strings.HasPrefix(contentType, "text/html"):
		t.Errorf("got %d %q %s, want a problem", w.status, contentType, w.body.Bytes())
	}
}

func checkFrame(t *testing.T, block string) {
	t.Helper()
	for _, line := range strings.Split(block, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case name == "data" && json.Valid([]byte(value)), name == "id" || name == "event" || name == "retry" || line == "":
		default:
			t.Errorf("line %q of a stream is none of ours", line)
		}
	}
}

// FuzzLines sends lines of any bytes: as many receipts come back as events are
// stored, in order, and behind the first mistake nothing is.
func FuzzLines(f *testing.F) {
	f.Add(`{"subject":"orders.a"}` + "\n" + `{"subject":"orders.b","payload":[1]}` + "\n")
	f.Add("\n\r\n{\"subject\":\"orders.a\"}")
	f.Add(`{"subject":"orders.a"}` + "\n" + `{"subject":"app.b"}` + "\n")
	f.Add(`{"subject":"orders.a","key":"k"}` + "\n" + `{"subject":"orders.a","key":"k"}` + "\nx\n")
	f.Add(`{"subject":"_bus_.x"}` + "\n[]\n")
	f.Add(strings.Repeat("\n", 500) + strings.Repeat(" ", 5000))
	s, engine := fuzzServer(f)
	f.Fuzz(func(t *testing.T, body string) {
		before := stored(engine)
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://bus/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "bus"
		r.Header.Set("Content-Type", "application/x-ndjson")
		w := &recorder{statusRecorder: statusRecorder{header: make(http.Header)}}
		s.Handler().ServeHTTP(w, r)
		fresh := uint64(0)
		for i, line := range lines(w.body.String()) {
			a := answer{body: line}
			switch {
			case line == "" && i == 0:
			case !json.Valid([]byte(line)):
				t.Fatalf("got %q, want JSON", line)
			case a.field("id") != "" && a.field("duplicate") != "true" && a.field("index") != "0" && a.field("index") != "":
				fresh++
			}
		}
		if got := stored(engine) - before; got != fresh {
			t.Fatalf("%q: got %d events stored and %d receipts: %s", body, got, fresh, w.body.String())
		}
	})
}

func stored(e *disk.Engine) (n uint64) {
	for _, namespace := range e.Namespaces() {
		_, next := e.Bounds(namespace)
		n += next - 1
	}
	return n
}
