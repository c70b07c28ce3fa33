package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

const aTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// headersOf are those that an event of orders was stored with.
func (b *testBus) headersOf(index int) map[string]string {
	b.t.Helper()
	a := b.do("GET", fmt.Sprintf("/v1/namespaces/orders/events/%d", index), "")
	var e struct{ Headers map[string]string }
	if err := json.Unmarshal([]byte(a.body), &e); a.status != http.StatusOK || err != nil {
		b.t.Fatalf("event %d: %d %s, %v", index, a.status, a.body, err)
	}
	return e.Headers
}

func TestHeadersAreKeptHoweverTheEventIsPublished(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.a","headers":{"source":"web","b":"2"}}`)
	b.publish(`[{"subject":"orders.a","headers":{"source":"web","b":"2"}}]`)
	for _, way := range []struct{ query, body, header string }{
		{"/", `{"subject":"orders.a","headers":{"source":"web","b":"2"}}`, "Content-Type: application/x-ndjson"},
		{"/?subject=orders.a&header=source:web&header=b:2", "x", "Content-Type: text/plain"},
		{"/?subject=orders.a&header=source:%20web&header=b:2&header=", "1", "Content-Type: application/json"},
	} {
		if a := b.do("POST", way.query, way.body, way.header); a.status != http.StatusAccepted {
			t.Fatalf("%s: %d %s", way.query, a.status, a.body)
		}
	}
	for index := 1; index <= 5; index++ {
		if got := b.headersOf(index); !maps.Equal(got, map[string]string{"source": "web", "b": "2"}) {
			t.Errorf("event %d: got %v", index, got)
		}
	}
	b.restart()
	if got := b.headersOf(4)["source"]; got != "web" {
		t.Errorf("after a restart: got %q", got)
	}
	s := b.open("subject=orders.>&start=oldest")
	if f := s.next("msg"); !strings.Contains(f.data, `"headers":{"b":"2","source":"web"},"payload":null`) {
		t.Errorf("stream: got %s", f.data)
	}
}

func TestAHeaderThatMayNotBeIsRefusedAndNothingIsStored(t *testing.T) {
	b := openBus(t)
	for _, query := range []string{"header=source", "header=Source:x", "header=a:1&header=a:2", "header=a:%0a" + "x%0ab", "header=:x", "header=a:"} {
		b.refused(400, "invalid_event", "POST", "/?subject=orders.a&"+query, "1")
	}
	b.refused(400, "invalid_parameter", "POST", "/?header=a:1", `{"subject":"orders.a"}`)
	b.refused(400, "invalid_event", "POST", "/", `{"subject":"orders.a","headers":{"A":"x"}}`)
	if got := b.publish(`{"subject":"orders.a"}`).field("index"); got != "1" {
		t.Errorf("got index %s, want 1", got)
	}
}

func TestARequestsTraceGoesToItsEventsThatHaveNone(t *testing.T) {
	b := openBus(t)
	trace, state := "traceparent: "+aTrace, "tracestate: a=1,b=2"
	full := map[string]string{}
	for i := range 32 {
		full[fmt.Sprint("h", i)] = "v"
	}
	text, _ := json.Marshal(full)
	for i, c := range []struct {
		body    string
		headers []string
		want    map[string]string
	}{
		{`{"subject":"orders.a"}`, []string{trace, state}, map[string]string{"traceparent": aTrace, "tracestate": "a=1,b=2"}},
		{`{"subject":"orders.a","headers":{"x":"y"}}`, []string{trace}, map[string]string{"traceparent": aTrace, "x": "y"}},
		{`{"subject":"orders.a","headers":{"traceparent":"own"}}`, []string{trace, state}, map[string]string{"traceparent": "own"}},
		{`{"subject":"orders.a","headers":{"tracestate":"own"}}`, []string{trace, state}, map[string]string{"tracestate": "own"}},
		{`[{"subject":"orders.a"}]`, []string{trace}, map[string]string{"traceparent": aTrace}},
		{`{"subject":"orders.a"}`, []string{trace, "Content-Type: application/x-ndjson"}, map[string]string{"traceparent": aTrace}},
		{`{"subject":"orders.a"}`, []string{trace, "tracestate: é\x01"[:14] + strings.Repeat("x", 2000)}, map[string]string{"traceparent": aTrace}},
		{`{"subject":"orders.a","headers":` + string(text) + `}`, []string{trace}, full},
		{`{"subject":"orders.a"}`, []string{state}, nil},
	} {
		if a := b.do("POST", "/", c.body, c.headers...); a.status != http.StatusAccepted {
			t.Fatalf("%s: %d %s", c.body, a.status, a.body)
		}
		if got := b.headersOf(i + 1); !maps.Equal(got, c.want) {
			t.Errorf("%.60s with %.90q: got %v, want %v", c.body, c.headers, got, c.want)
		}
	}
}

func TestATraceThatIsNotWellFormedCountsAsAbsent(t *testing.T) {
	b := openBus(t)
	valid := 0
	for value, want := range map[string]bool{
		aTrace:                       true,
		"01" + aTrace[2:] + "-later": true,
		"cc" + aTrace[2:]:            true,
		aTrace + "-later":            false,
		"01" + aTrace[2:] + "later":  false,
		"ff" + aTrace[2:]:            false,
		strings.ToUpper(aTrace):      false,
		aTrace[:54]:                  false,
		"":                           false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false,
		"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": false,
		"01" + aTrace[2:] + "-" + strings.Repeat("x", 300):        false,
	} {
		valid++
		if a := b.do("POST", "/", `{"subject":"orders.a"}`, "traceparent: "+value); a.status != http.StatusAccepted {
			t.Fatalf("%q: %d %s", value, a.status, a.body)
		}
		if _, got := b.headersOf(valid)["traceparent"]; got != want {
			t.Errorf("%q: kept is %v, want %v", value, got, want)
		}
	}
}

func TestARepeatWithOtherHeadersIsStillARepeat(t *testing.T) {
	b := openBus(t)
	first := b.publish(`{"subject":"orders.a","key":"k","payload":1,"headers":{"try":"1"}}`)
	again := b.publish(`{"subject":"orders.a","key":"k","payload":1,"headers":{"try":"2"}}`)
	if again.field("id") != first.field("id") || again.field("duplicate") != "true" || b.headersOf(1)["try"] != "1" {
		t.Errorf("got %s after %s", again.body, first.body)
	}
}

func TestHeadersReachInboxesToo(t *testing.T) {
	b := openBus(t)
	s := b.open("subject=_bus_.mine")
	b.publish(`{"subject":"_bus_.mine","payload":1,"headers":{"a":"b"}}`)
	if f := s.next("msg"); !strings.Contains(f.data, `"headers":{"a":"b"}`) {
		t.Errorf("got %s", f.data)
	}
}
