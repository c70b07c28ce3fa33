package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
)

func TestAnAcceptedEventNamesItsPlaceInHeadersAndBody(t *testing.T) {
	b := openBus(t)
	a := b.publish(`{"subject":"orders.created","payload":{"total":12.50}}`)
	for header, want := range map[string]string{"X-BUS-EVENT-INDEX": "1", "X-BUS-DURABILITY": "always", "X-BUS-EVENT-ID": a.field("id"), "X-BUS-EVENT-CREATED-AT": a.field("created_at")} {
		if got := a.header.Get(header); got != want || want == "" {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, a.field("created_at")); err != nil {
		t.Error(err)
	}
	stored := b.do("GET", "/v1/namespaces/orders/events/"+a.field("id"), "")
	if got := stored.field("payload"); got != `{"total":12.50}` {
		t.Errorf("stored payload: got %s, want it as it was sent", got)
	}
}

func TestWhatCurlSendsWithoutATypeIsTaken(t *testing.T) {
	b := openBus(t)
	for _, contentType := range []string{"", "application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "application/json; charset=utf-8"} {
		a := b.do("POST", "/", `{"subject":"orders.created"}`, "Content-Type: "+contentType)
		if a.status != http.StatusAccepted {
			t.Errorf("Content-Type %q: got %d %s, want 202", contentType, a.status, a.body)
		}
	}
	b.refused(415, "unsupported_media_type", "POST", "/", `<a/>`, "Content-Type: application/xml")
	b.refused(415, "unsupported_media_type", "POST", "/", `x`, "Content-Encoding: gzip")
}

func TestABatchIsStoredWholeInOrderOrNotAtAll(t *testing.T) {
	b := openBus(t)
	a := b.publish(`[{"subject":"orders.a","payload":1},{"subject":"orders.b","payload":2},{"subject":"orders.c"}]`)
	if got := strings.Count(a.body, `"index":`); got != 3 || !strings.Contains(a.body, `"index":3`) {
		t.Errorf("got %s, want three receipts up to index 3", a.body)
	}
	b.refused(400, "mixed_namespaces", "POST", "/", `[{"subject":"orders.a"},{"subject":"app.a"}]`)
	b.refused(400, "invalid_subject", "POST", "/", `[{"subject":"orders.a"},{"subject":"orders.*"}]`)
	b.refused(404, "unknown_namespace", "POST", "/", `[{"subject":"nope.a"}]`)
	b.refused(400, "invalid_parameter", "POST", "/?confirm=1", `[{"subject":"orders.a"}]`)
	if got := b.publish(`{"subject":"orders.d"}`).field("index"); got != "4" {
		t.Errorf("after refused batches the next index is %s, want 4", got)
	}
	if got := strings.TrimSpace(b.publish(` [] `).body); got != "[]" {
		t.Errorf("an empty batch: got %s, want no receipts", got)
	}
}

func TestABodyWithASubjectIsThePayload(t *testing.T) {
	b := openBus(t)
	for i, c := range []struct{ contentType, body, want string }{
		{"", "{\n \"a\": 1\n}", `"payload":{"a":1}`},
		{"application/json", `"text"`, `"payload":"text"`},
		{"application/x-www-form-urlencoded", `[1,2]`, `"payload":[1,2]`},
		{"text/plain", "hello\nworld", `"content_type":"text/plain","payload_base64":"aGVsbG8Kd29ybGQ="`},
		{"image/png", "\x00\x01", `"content_type":"image/png","payload_base64":"AAE="`},
		{"", "", `"payload":null`},
	} {
		a := b.do("POST", "/?subject=orders.raw&trace_id=t1", c.body, "Content-Type: "+c.contentType)
		if a.status != http.StatusAccepted {
			t.Fatalf("%+v: got %d %s", c, a.status, a.body)
		}
		stored := b.do("GET", fmt.Sprintf("/v1/namespaces/orders/events/%d", i+1), "").body
		if !strings.Contains(stored, c.want) || !strings.Contains(stored, `"trace_id":"t1"`) {
			t.Errorf("%q as %q: got %s, want %s", c.body, c.contentType, stored, c.want)
		}
	}
	refused := b.refused(400, "invalid_json", "POST", "/?subject=orders.raw", `hello`, "Content-Type: application/x-www-form-urlencoded")
	if !strings.Contains(refused.field("detail"), "Content-Type") {
		t.Errorf("got %s, want a hint at the content type", refused.body)
	}
}

func TestAStreamOfLinesIsAnsweredLineByLine(t *testing.T) {
	b := openBus(t)
	a := b.do("POST", "/", "{\"subject\":\"orders.1\"}\n\n{\"subject\":\"app.1\"}\r\n{\"subject\":\"orders.2\",\"key\":\"k\"}\n{\"subject\":\"orders.2\",\"key\":\"k\"}", "Content-Type: application/x-ndjson")
	got := lines(a.body)
	if a.status != http.StatusAccepted || len(got) != 4 {
		t.Fatalf("got %d %s, want four receipts", a.status, a.body)
	}
	for i, want := range []string{`"index":1`, `"index":1`, `"index":2`, `"duplicate":true`} {
		if !strings.Contains(got[i], want) {
			t.Errorf("line %d: got %s, want %s", i+1, got[i], want)
		}
	}
}

func TestAWrongLineEndsTheStreamAndKeepsWhatWasAnswered(t *testing.T) {
	b := openBus(t)
	a := b.do("POST", "/", "{\"subject\":\"orders.1\"}\n{\"subject\":\"orders.2\",\"bad\":1}\n{\"subject\":\"orders.3\"}\n", "Content-Type: application/x-ndjson")
	got := lines(a.body)
	if len(got) != 2 || !strings.Contains(got[0], `"index":1`) || !strings.Contains(got[1], `"line":2`) || !strings.Contains(got[1], `"unknown_field"`) {
		t.Errorf("got %s, want one receipt and a problem that names line 2", a.body)
	}
	if got := b.publish(`{"subject":"orders.4"}`).field("index"); got != "2" {
		t.Errorf("next index is %s, want 2", got)
	}
	b.refused(400, "unknown_field", "POST", "/", `{"subject":"orders.1","bad":1}`, "Content-Type: application/x-ndjson")
}

func TestMistakesAreAnswered(t *testing.T) {
	b := openBus(t)
	for _, c := range []struct {
		status             int
		code, method, path string
		body               string
	}{
		{400, "invalid_json", "POST", "/", `{`},
		{400, "missing_subject", "POST", "/", `{"payload":1}`},
		{400, "unknown_field", "POST", "/", `{"subject":"orders.a","paylod":1}`},
		{400, "invalid_subject", "POST", "/", `{"subject":"orders.*"}`},
		{404, "unknown_namespace", "POST", "/", `{"subject":"nope.a"}`},
		{400, "unknown_parameter", "POST", "/?confrim=1", `{"subject":"orders.a"}`},
		{400, "invalid_parameter", "POST", "/?confirm=many", `{"subject":"orders.a"}`},
		{400, "invalid_parameter", "POST", "/?confirm=1&timeout=5", `{"subject":"orders.a"}`},
		{400, "invalid_parameter", "POST", "/?confirm=1&reply=true", `{"subject":"orders.a"}`},
		{400, "invalid_parameter", "POST", "/?key=x", `{"subject":"orders.a"}`},
		{400, "missing_subject", "GET", "/", ``},
		{400, "invalid_subject", "GET", "/?subject=orders.%3E.x", ``},
		{404, "unknown_namespace", "GET", "/?subject=nope.*", ``},
		{400, "unknown_parameter", "GET", "/?subject=orders.*&strat=oldest", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&consumer=_x", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&consumer=billing&ack=none", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&subject=app.*&consumer=billing", ``},
		{400, "invalid_parameter", "GET", "/?subject=_dead_.orders.*&consumer=billing", ``},
		{404, "unknown_namespace", "GET", "/?subject=_consumers_.orders.*", ``},
		{404, "unknown_namespace", "POST", "/", `{"subject":"_dead_.orders.x"}`},
		{404, "unknown_namespace", "POST", "/", `{"subject":"_consumers_.orders.x"}`},
		{404, "unknown_consumer", "PUT", "/?consumer=nobody&event_id=e_y", ``},
		{400, "invalid_parameter", "PUT", "/?consumer=a&consumer_id=c_x&event_id=e_y", ``},
		{400, "invalid_parameter", "PUT", "/?consumer_id=c_x&namespace=orders&event_id=e_y", ``},
		{404, "unknown_consumer", "GET", "/v1/namespaces/orders/consumers/nobody", ``},
		{400, "invalid_parameter", "PUT", "/v1/namespaces/orders/consumers/x", `{}`},
		{400, "unknown_field", "PUT", "/v1/namespaces/orders/consumers/x", `{"subjects":["orders.*"],"infligth":1}`},
		{400, "invalid_subject", "PUT", "/v1/namespaces/orders/consumers/x", `{"subjects":["app.*"]}`},
		{400, "invalid_parameter", "PUT", "/v1/namespaces/orders/consumers/x", `{"subjects":["orders.*"],"redelivery":"soon"}`},
		{404, "unknown_namespace", "PUT", "/v1/namespaces/nope/consumers/x", `{"subjects":["nope.*"]}`},
		{405, "method_not_allowed", "POST", "/v1/namespaces/orders/consumers/x", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&start=oldst", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&ack=Manual", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&redelivery=abc&ack=manual", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&redelivery=-1s&ack=manual", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&limit=-1", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&inflight=5", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&redelivery=5s", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&redelivery_count=5", ``},
		{400, "invalid_parameter", "GET", "/?subject=orders.*&start=oldest&start=newest", ``},
		{400, "invalid_parameter", "PUT", "/", ``},
		{400, "invalid_parameter", "PUT", "/?consumer_id=c_x", ``},
		{404, "unknown_consumer", "PUT", "/?consumer_id=c_x&event_id=e_y", ``},
		{400, "invalid_parameter", "PUT", "/?consumer_id=c_x&event_id=e_y&verdict=maybe", ``},
		{400, "invalid_parameter", "PUT", "/?consumer_id=c_x&event_id=e_y&delay=5s", ``},
		{400, "invalid_id", "PUT", "/?consumer_id=c_x&event_id=a%0Ab", ``},
		{405, "method_not_allowed", "DELETE", "/", ``},
		{405, "method_not_allowed", "POST", "/livez", ``},
		{404, "not_found", "GET", "/nope", ``},
		{404, "unknown_event", "GET", "/v1/namespaces/orders/events/7", ``},
		{404, "unknown_event", "GET", "/v1/namespaces/orders/events/e_nope", ``},
		{404, "unknown_namespace", "GET", "/v1/namespaces/nope", ``},
	} {
		a := b.refused(c.status, c.code, c.method, c.path, c.body)
		if a.field("detail") == "" || a.field("status") != fmt.Sprint(c.status) {
			t.Errorf("%s %s: got %s, want a detail and the status", c.method, c.path, a.body)
		}
	}
	b.refused(406, "not_acceptable", "GET", "/?subject=orders.*", "", "Accept: image/png")
	b.refused(400, "invalid_parameter", "GET", "/?subject=orders.*", "", "Accept: application/json")
}

func TestTooMuchIsRefusedWithoutBeingRead(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxEvent, c.MaxBatch, c.MaxBatchEvents = 1000, 3000, 5 })
	big := strings.Repeat("x", 1000)
	b.refused(413, "too_large", "POST", "/", `{"subject":"orders.a","payload":"`+big+`"}`)
	b.refused(413, "too_large", "POST", "/?subject=orders.a", big+"x", "Content-Type: text/plain")
	b.refused(413, "too_large", "POST", "/", `[{"subject":"orders.a","payload":"`+big+`"},{"subject":"orders.a","payload":"`+big+big+`"}]`)
	b.refused(413, "too_large", "POST", "/", `[`+strings.Repeat(`{"subject":"orders.a"},`, 5)+`{"subject":"orders.a"}]`)
	b.refused(413, "too_large", "POST", "/", `{"subject":"orders.a","payload":"`+big+`"}`, "Content-Type: application/x-ndjson")
	b.publish(`{"subject":"orders.a","payload":"` + strings.Repeat("x", 900) + `"}`)
	// A body that never comes is refused for its length alone, and one without a
	// length once it is over the limit.
	if got := b.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"); !strings.Contains(got, " 413 ") {
		t.Errorf("a gigabyte announced: got %q, want 413", got)
	}
	if got := b.raw("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + strings.Repeat("x", 0x800) + "\r\n"); !strings.Contains(got, " 413 ") {
		t.Errorf("a body without end: got %q, want 413", got)
	}
}

func TestARepeatedKeyAnswersWithTheFirstReceipt(t *testing.T) {
	b := openBus(t)
	first := b.publish(`{"subject":"orders.paid","key":"order-17","payload":{"total":1}}`)
	for range 2 {
		again := b.publish(`{"subject":"orders.paid","key":"order-17","payload":{"total":1}}`)
		if again.field("id") != first.field("id") || again.field("index") != "1" || again.field("duplicate") != "true" {
			t.Errorf("got %s, want the receipt %s as a duplicate", again.body, first.body)
		}
		b.refused(422, "key_conflict", "POST", "/", `{"subject":"orders.paid","key":"order-17","payload":{"total":2}}`)
		b.restart()
	}
	header := b.do("POST", "/", `{"subject":"orders.paid","payload":{"total":1}}`, `Idempotency-Key: "order-17"`)
	if header.field("duplicate") != "true" {
		t.Errorf("by header: got %s, want a duplicate", header.body)
	}
	if got := b.publish(`{"subject":"app.paid","key":"order-17"}`).field("duplicate"); got != "" {
		t.Error("a key counts in another namespace, want it to count in its own")
	}
}

func TestAChosenIDIsKeptAndStoredOnce(t *testing.T) {
	b := openBus(t)
	body := `{"id":"order-17","subject":"orders.paid","created_at":"2020-01-02T03:04:05.000000006Z","payload":1}`
	first := b.publish(body)
	if first.field("id") != "order-17" || first.field("created_at") != "2020-01-02T03:04:05.000000006Z" {
		t.Errorf("got %s, want the chosen id and time", first.body)
	}
	b.restart()
	again := b.publish(body)
	if again.field("duplicate") != "true" || again.field("index") != "1" {
		t.Errorf("got %s, want a duplicate of index 1", again.body)
	}
	b.refused(422, "key_conflict", "POST", "/", `{"id":"order-17","subject":"orders.paid","payload":2}`)
	own := b.publish(`{"subject":"orders.paid"}`).field("id")
	b.refused(400, "invalid_id", "POST", "/", `{"id":"`+own+`9","subject":"orders.paid","payload":2}`)
}

func TestRestoredEventsMayHaveAKeyTwice(t *testing.T) {
	b := openBus(t)
	a := b.publish(`[{"id":"x1","subject":"orders.x","payload":1,"key":"k"},{"id":"x2","subject":"orders.x","payload":2,"key":"k"}]`)
	if strings.Contains(a.body, "duplicate") || !strings.Contains(a.body, `"index":2`) {
		t.Errorf("got %s, want both stored", a.body)
	}
	again := b.publish(`[{"id":"x1","subject":"orders.x","payload":1,"key":"k"},{"id":"x3","subject":"orders.x","payload":1,"key":"k"}]`)
	if strings.Count(again.body, "duplicate") != 1 || !strings.Contains(again.body, `"id":"x3","index":3`) {
		t.Errorf("got %s, want the first as a repeat and the other stored", again.body)
	}
}

func TestAKeyIsKnownAcrossARestartWhateverTimeItsEventHas(t *testing.T) {
	b := openBus(t)
	body := `{"subject":"orders.paid","key":"k","created_at":"2020-01-01T00:00:00Z"}`
	b.publish(body)
	b.restart()
	if got := b.publish(body).field("duplicate"); got != "true" {
		t.Error("the key was forgotten")
	}
}

func TestNoPayloadAndNullAreTheSameHoweverTheyCome(t *testing.T) {
	b := openBus(t)
	first := b.do("POST", "/?subject=orders.x&key=k", "null")
	for _, again := range []answer{b.do("POST", "/?subject=orders.x&key=k", ""), b.publish(`{"subject":"orders.x","key":"k"}`), b.publish(`{"subject":"orders.x","key":"k","payload":null}`)} {
		if again.field("id") != first.field("id") || again.field("duplicate") != "true" {
			t.Errorf("got %s, want a repeat of %s", again.body, first.body)
		}
	}
	if got := b.do("GET", "/v1/namespaces/orders/events/1", "").field("payload"); got != "null" {
		t.Errorf("got payload %s, want null", got)
	}
}
