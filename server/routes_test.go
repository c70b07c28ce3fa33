package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// spelled sends a target as it stands, which an HTTP client would tidy up, and
// follows nothing.
func (b *testBus) spelled(method, target string, headers ...string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	r.URL.Opaque = "//" + r.URL.Host + target
	setHeaders(r, headers)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	resp.Body.Close()
	return answer{status: resp.StatusCode, header: resp.Header}
}

// A proxy in front may allow /livez and nothing else, or GET and nothing else.
// No other spelling of a path and no header may get past it.
func TestNoSpellingOfAPathReachesAnotherRoute(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.x"}`)
	for _, target := range []string{
		"//", "///", "//livez", "/./livez", "/livez/", "/livez/.", "/livez/..", "/livez/../metrics", "/livez/..%2fmetrics", "/livez%2f..%2fmetrics", "/%2e%2e/metrics",
		"/%2fmetrics", "/metrics%00", "/metrics%20", "/metrics;a=b", "/METRICS", "/metrics/", "/v1//namespaces", "/v1/./namespaces", "/v1/namespaces/", "/v1/namespaces/%2e%2e/%2e%2e/metrics",
		"/v1/namespaces/orders%2fevents%2f1", "/v1/namespaces/orders/events/1/", "/v1/namespaces/orders/events/1%2f..", "/v1/namespaces/orders/events/../events/1", "/%6cive", "/livez%3fx",
		"//evil.example/%2e%2e", "/\\evil.example", "//evil.example//", "/%5cevil.example", "/..//evil.example/",
	} {
		a := b.spelled("GET", target)
		if a.status/100 != 3 && a.status/100 != 4 {
			t.Errorf("%s: got %d, want it refused or sent to where it belongs", target, a.status)
		}
		if to := a.header.Get("Location"); strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) || strings.Contains(to, "://") {
			t.Errorf("%s: got sent to %s, want nobody sent elsewhere", target, to)
		}
	}
}

func TestNoHeaderAndNoParameterTurnsAVerbIntoAnother(t *testing.T) {
	b := openBus(t)
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		b.do("GET", "/?subject=orders.x&until=newest", "", header+": POST")
		b.do("HEAD", "/?subject=orders.x", "", header+": POST")
	}
	b.refused(400, "unknown_parameter", "GET", "/?subject=orders.x&_method=POST", "")
	for _, method := range []string{"DELETE", "PATCH", "TRACE", "post", "PROPFIND", "QUERY"} {
		if a := b.spelled(method, "/"); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %d, want 405", method, a.status)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/version", "/v1/namespaces", "/v1/namespaces/orders", "/v1/time"} {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			if a := b.do(method, path, "{}"); a.status/100 != 4 {
				t.Errorf("%s %s: got %d, want a refusal", method, path, a.status)
			}
		}
	}
	if got := b.publish(`{"subject":"orders.x"}`).field("index"); got != "1" {
		t.Errorf("got index %s, want 1: nothing else has published", got)
	}
}

// An id of a consumer is random and long, and nothing like it is taken for it.
func TestAnAcknowledgementIsForTheConsumerThatIsNamedExactly(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.x"}`)
	s := b.open("subject=orders.x&start=oldest&ack=manual&redelivery=1h")
	other := b.open("subject=app.x&ack=manual")
	f, id := s.next("msg"), s.hello.field("consumer_id")
	if len(id) < 2+22 { // 128 bits in base 64
		t.Errorf("got the consumer id %s, want at least 128 bits", id)
	}
	for _, wrong := range []string{other.hello.field("consumer_id"), strings.ToUpper(id), strings.ToLower(id), id[:len(id)-1], id + "x", "c_", "%00" + id, id + "%20", "*", id[:4] + "%25"} {
		if wrong == id {
			continue
		}
		if a := b.do("PUT", "/?consumer_id="+wrong+"&event_id="+f.field("id"), ""); a.status != http.StatusNotFound && a.status != http.StatusBadRequest {
			t.Errorf("consumer %s: got %d %s, want 404 or 400", wrong, a.status, a.body)
		}
	}
	if a := b.do("PUT", "/?consumer_id="+id+"&consumer_id="+id+"&event_id="+f.field("id"), ""); a.status != http.StatusBadRequest {
		t.Errorf("two consumers: got %d, want 400", a.status)
	}
	if a := b.ack(s, f, ""); a.status != http.StatusAccepted || a.field("already") == "true" {
		t.Errorf("got %d %s, want it taken for the first time", a.status, a.body)
	}
}
