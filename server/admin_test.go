package server_test

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheServerTellsAboutItself(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"}]`)
	s := b.open("subject=orders.*")
	for path, want := range map[string]string{
		"/livez":                `"status":"alive"`,
		"/readyz":               `"status":"ready"`,
		"/version":              `"version":"test"`,
		"/v1/time":              `"now":"20`,
		"/v1/namespaces":        `"durability":"always"`,
		"/v1/namespaces/orders": `"first_index":1,"last_index":2,"events":2`,
		"/metrics":              `bus_events_published_total{namespace="orders"} 2`,
	} {
		a := b.do("GET", path, "")
		if a.status != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("%s: got %d %s, want %s", path, a.status, a.body, want)
		}
		b.refused(405, "method_not_allowed", "POST", path, "")
	}
	if got := b.do("GET", "/v1/namespaces/orders", "").field("streams"); got != "1" {
		t.Errorf("streams: got %s, want 1", got)
	}
	b.refused(400, "unknown_parameter", "GET", "/v1/namespaces?verbose=1", "")
	s.close()
}

func TestAnIDThatIsANumberIsToldFromAnIndex(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1","id":"2"},{"subject":"orders.2","id":"x"}]`)
	for name, want := range map[string]string{"2": "orders.2", "x": "orders.2", "id:x": "orders.2", "id:2": "orders.1"} {
		if got := b.do("GET", "/v1/namespaces/orders/events/"+name, "").field("subject"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	b.refused(404, "unknown_event", "GET", "/v1/namespaces/orders/events/id:1", "")
	b.refused(400, "invalid_id", "GET", "/v1/namespaces/orders/events/id:id:2", "")
}

func TestAnEventIsReadByteForByteAsItWasPublished(t *testing.T) {
	b := openBus(t)
	const payload = `{"a": 1, "b": [ 2 ], "big": 1e400, "a": "\u003c"}`
	b.publish(`{"subject":"orders.created","payload":` + payload + `}`)
	if a := b.do("GET", "/v1/namespaces/orders/events/1", ""); !strings.Contains(a.body, `"payload":`+payload+"}\n") {
		t.Errorf("got %s, want the payload %s", a.body, payload)
	}
}

func TestADamagedNamespaceIsNotReadyRefusesEventsAndIsRead(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	b.publish(`{"subject":"orders.2","payload":"` + strings.Repeat("x", 2000) + `"}`)
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	flip(t, filepath.Join(b.dir, "orders.log"), -1000)
	b.start(address)
	a := b.do("GET", "/readyz", "")
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "offset") {
		t.Errorf("readyz: got %d %s, want 503 that names the place", a.status, a.body)
	}
	refused := b.refused(500, "storage_failed", "POST", "/", `{"subject":"orders.3"}`)
	if !strings.Contains(refused.field("detail"), "orders") {
		t.Errorf("got %s, want the namespace named", refused.body)
	}
	b.publish(`{"subject":"app.1"}`)
	s := b.open("subject=orders.*&start=oldest")
	if got := s.next("msg").field("subject"); got != "orders.1" {
		t.Errorf("got %s, want the good event", got)
	}
}

// flip turns one bit of a file, at an offset from its end.
func flip(t *testing.T, path string, fromEnd int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)+fromEnd] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamageInTheMiddleIsAGapInTheStream(t *testing.T) {
	b := openBus(t)
	for _, subject := range []string{"orders.1", "orders.2", "orders.3"} {
		b.publish(`{"subject":"` + subject + `","payload":"` + strings.Repeat(subject, 100) + `"}`)
	}
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	flip(t, filepath.Join(b.dir, "orders.log"), -1500) // inside the second
	b.start(address)
	s := b.open("subject=orders.*&start=oldest")
	if got := s.next("msg").field("subject"); got != "orders.1" {
		t.Errorf("got %s, want the good event before the damage", got)
	}
	gap := s.next("gap")
	if !strings.Contains(gap.data, `"requested":"#2","resumed_index":3,"lost":1,"reason":"damage"`) {
		t.Errorf("got %s, want a gap of one", gap.data)
	}
	if got := s.next("msg").field("subject"); got != "orders.3" {
		t.Errorf("got %s, want the good event behind the damage", got)
	}
	a := b.do("GET", "/?subject=orders.*&start=oldest&until=newest", "", "Accept: application/json")
	if got := a.header.Get("X-BUS-GAP"); !strings.Contains(got, `"lost":1`) || strings.Contains(a.body, "orders.2") {
		t.Errorf("a pull: got %q and %s, want the gap in a header", got, a.body)
	}
	b.refused(500, "corrupt", "GET", "/v1/namespaces/orders/events/2", "")
}

func TestHTTP2InTheClearIsServedOnTheSamePort(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var streams []*bufio.Reader
	for range 20 { // far more than the six connections of a browser
		r, err := http.NewRequestWithContext(ctx, "GET", b.url+"/?subject=orders.*&start=oldest", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Fatalf("got %s, want HTTP/2", resp.Proto)
		}
		streams = append(streams, bufio.NewReader(resp.Body))
	}
	for _, lines := range streams {
		s := &sse{t: t, lines: lines}
		s.next("hello")
		if got := s.next("msg").field("subject"); got != "orders.1" {
			t.Errorf("got %s", got)
		}
	}
}
