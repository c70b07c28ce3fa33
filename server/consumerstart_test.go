package server_test

import (
	"strings"
	"testing"
)

// A stream is told in a gap where it begins; who resets or makes a consumer would not be.
func TestAConsumerIsNeverMovedToAPlaceThatTheLogDoesNotHave(t *testing.T) {
	b := openBus(t)
	events := b.publishSome(3)
	b.want(201, "PUT", "/v1/namespaces/orders/consumers/mail", `{"subjects":["orders.*"],"start":"newest"}`)
	const reset = "/v1/namespaces/orders/consumers/mail/reset?start="
	for _, id := range []string{"e_zzzzzzzz", b.resumeAt(4), b.resumeAt(4000)} {
		b.refused(404, "unknown_event", "POST", reset+id, "")
		b.refused(404, "unknown_event", "PUT", "/v1/namespaces/orders/consumers/new", `{"subjects":["orders.>"],"start":"`+id+`"}`)
		b.refused(404, "unknown_event", "GET", "/?subject=orders.*&consumer=new&until=newest&start="+id, "")
	}
	for _, index := range []string{"5", "%2399"} {
		a := b.refused(400, "invalid_parameter", "POST", reset+index, "")
		if !strings.Contains(a.field("detail"), "the last index of namespace orders is 3") {
			t.Errorf("got %s, want it to say the last index", a.body)
		}
	}
	b.refused(404, "unknown_consumer", "GET", "/v1/namespaces/orders/consumers/new", "")
	wantIDs(t, b.pull("&consumer=mail"))
	b.want(200, "POST", reset+"4", "")
	wantIDs(t, b.pull("&consumer=mail"))
	b.want(200, "POST", reset+events[1], "")
	wantIDs(t, b.pull("&consumer=mail"), events[2])
}

func TestAHEADOfAConsumerIsAnsweredAsAGETAndMakesNone(t *testing.T) {
	b := openBus(t)
	b.publishSome(1)
	const settings = "/?subject=orders.*&consumer=mail"
	for range 2 {
		b.want(200, "HEAD", settings+"&start=oldest", "")
		b.refused(404, "unknown_consumer", "GET", mailPath, "")
	}
	if a := b.do("HEAD", settings+"&start=e_zzzzzzzz", ""); a.status != 404 {
		t.Errorf("got %d, want 404 as of a GET", a.status)
	}
	wantIDs(t, b.pull("&consumer=mail&start=oldest&limit=1"), b.resumeAt(1))
	b.want(200, "HEAD", settings, "")
	b.want(409, "HEAD", settings+"&inflight=3", "")
	if a := b.do("HEAD", settings, "", "Accept: application/x-ndjson"); a.status != 200 || a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("got %d %v, want the headers of a GET", a.status, a.header)
	}
}
