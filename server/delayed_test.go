package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

// putOff publishes an event that waits so long, and returns its id.
func (b *testBus) putOff(delay string) string {
	b.t.Helper()
	return b.publish(`{"subject":"orders.later","payload":1,"delay":"` + delay + `"}`).field("id")
}

// awaitDelivered waits until nothing of orders waits any more.
func (b *testBus) awaitDelivered() {
	b.t.Helper()
	for deadline := time.Now().Add(patience); b.engine.Inspect("orders").Delayed > 0; {
		if time.Now().After(deadline) {
			b.t.Fatal("events still wait for their delivery")
		}
	}
}

func TestADelayedEventReachesALiveStreamWhenItIsDueWithTheIndexItsPublisherWasTold(t *testing.T) {
	b := openBus(t)
	s := b.open("subject=orders.*")
	a := b.publish(`{"subject":"orders.later","payload":{"n":1},"trace_id":"t","headers":{"h":"v"},"delay":"300ms"}`)
	b.publishSome(1)
	if got := s.next("msg").field("index"); got != "2" {
		t.Fatalf("got index %s first, want the one that does not wait", got)
	}
	f := s.next("msg")
	due, err := time.Parse(time.RFC3339Nano, a.field("deliver_at"))
	if now := time.Now(); err != nil || now.Before(due) {
		t.Errorf("got it at %s, want not before %s (%v)", now, due, err)
	}
	want := fmt.Sprintf(`{"id":"%s","subject":"orders.later","index":1,"delivered_index":3,"created_at":"%s","trace_id":"t","headers":{"h":"v"},"deliver_at":"%s","payload":{"n":1}}`, a.field("id"), a.field("created_at"), a.field("deliver_at"))
	if f.data != want {
		t.Errorf("got  %s\nwant %s", f.data, want)
	}
	if p, ok := bus.ParseEventID(f.id); !ok || p.Index != 3 {
		t.Errorf("got the resume point %s, want the place of the delivery, 3", f.id)
	}
}

func TestADelayedEventIsDeliveredOnceWhereverAReaderBegins(t *testing.T) {
	b := openBus(t)
	later := b.putOff("200ms")
	b.publishSome(1)
	first := b.open("subject=orders.*&start=oldest")
	behind := first.next("msg").id // behind the place at which the other one waited
	first.next("msg")
	b.publishSome(1)
	plain := func(query string, headers ...string) []string {
		var subjects []string
		for _, part := range strings.Split(b.do("GET", "/?subject=orders.*&until=newest&"+query, "", append(headers, "Accept: application/json")...).body, `"subject":"orders.`)[1:] {
			subjects = append(subjects, part[:strings.IndexByte(part, '"')])
		}
		return subjects
	}
	for _, again := range []string{"", "after a restart"} {
		wantIDs(t, plain("start=oldest"), "created", "later", "created")
		wantIDs(t, plain("", "Last-Event-ID: "+behind), "later", "created")
		wantIDs(t, plain("start="+behind), "later", "created")
		wantIDs(t, plain("start=%231"), "created", "later", "created")
		wantIDs(t, plain("start="+later), "created")
		wantIDs(t, plain("start=last"), "later", "created")
		if a := b.do("GET", "/v1/namespaces/orders/events/"+later, ""); a.field("index") != "1" {
			t.Errorf("%s: got %s, want the event at index 1", again, a.body)
		}
		first.close()
		b.restart()
	}
}

// TestADelayedEventIsAcknowledgedByItsID does so at once, when it was delivered
// again, and when the server was started in between.
func TestADelayedEventIsAcknowledgedByItsID(t *testing.T) {
	b := openBus(t)
	ids := []string{b.putOff("50ms"), b.putOff("50ms"), b.putOff("50ms")}
	waits := b.putOff("1h")
	s := b.open("subject=orders.*&start=oldest&ack=manual&redelivery=50ms&redelivery_count=0")
	f := s.next("msg")
	if a := b.ack(s, f, ""); a.status != http.StatusAccepted || a.field("already") == "true" {
		t.Errorf("at once: got %d %s, want 202", a.status, a.body)
	}
	for f = s.next("msg"); f.field("attempt") == "" || f.field("id") != ids[1]; f = s.next("msg") {
	}
	if a := b.ack(s, f, ""); a.status != http.StatusAccepted {
		t.Errorf("delivered again: got %d %s, want 202", a.status, a.body)
	}
	b.refused(http.StatusNotFound, "not_delivered", "PUT", "/?consumer_id="+s.hello.field("consumer_id")+"&event_id="+waits, "")
	s.close()

	b.awaitDeliveries("later", 3)
	wantIDs(t, b.pull("&consumer=mail&start=oldest&redelivery=10m"), ids...)
	b.want(202, "PUT", "/?consumer=mail&event_id="+ids[0], "")
	b.refused(http.StatusNotFound, "not_delivered", "PUT", "/?consumer=mail&event_id="+waits, "")
	b.restart()
	b.want(202, "PUT", "/?consumer=mail&event_id="+ids[1]+"&event_id="+ids[2], "")
	b.restart()
	wantIDs(t, b.pull("&consumer=mail"))
	if a := b.do("PUT", "/?consumer=mail&event_id="+ids[0], ""); a.field("already") != "true" {
		t.Errorf("got %s, want it to be settled already", a.body)
	}
	if info := b.do("GET", "/v1/namespaces/orders/consumers/mail", ""); info.field("behind") != "0" || info.field("unacked") != "0" {
		t.Errorf("got %s, want nothing behind: what waits is nobody's yet", info.body)
	}
}

// awaitDeliveries waits until so many events of a kind can be read.
func (b *testBus) awaitDeliveries(kind string, n int) {
	b.t.Helper()
	s := b.open("subject=orders." + kind + "&start=oldest")
	defer s.close()
	s.subjects(n)
}

func TestWhatWaitsIsDeliveredByTheServerThatIsStartedNext(t *testing.T) {
	b := openBus(t)
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	engine, err := disk.Open(b.dir, disk.Options{Namespaces: []string{"orders", "app"}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	events := make([]bus.Event, 3)
	for i, ms := range []int{4, 2, 3} {
		events[i] = bus.Event{Subject: "orders.later", Timing: &bus.Timing{DeliverAt: at.Add(time.Duration(ms) * time.Millisecond)}}
	}
	if err := errors.Join(engine.Append(t.Context(), "orders", events), engine.Close()); err != nil {
		t.Fatal(err)
	}
	for !time.Now().After(events[0].Timing.DeliverAt) {
	}
	b.start(address)
	b.awaitDelivered()
	want := []string{events[1].Id, events[2].Id, events[0].Id}
	wantIDs(t, b.pull("&consumer=a&start=oldest"), want...)
	b.restart()
	wantIDs(t, b.pull("&consumer=b&start=oldest"), want...)
}

func TestTheKeyOfADelayedEventIsThatOfOnePublish(t *testing.T) {
	for _, made := range []string{"", `"created_at":"2001-02-03T04:05:06Z",`} {
		keyOfADelayedEvent(t, `{"subject":"orders.later","payload":1,"key":"k",`+made+`"delay":"100ms"}`)
	}
}

func keyOfADelayedEvent(t *testing.T, body string) {
	b := openBus(t)
	first := b.publish(body)
	for _, when := range []string{"while it waits", "delivered", "after a restart"} {
		a := b.publish(body)
		if a.field("duplicate") != "true" || a.field("id") != first.field("id") || a.field("index") != "1" {
			t.Errorf("%s: got %s, want the receipt of %s", when, a.body, first.body)
		}
		if b.awaitDelivered(); when == "delivered" {
			b.restart()
		}
	}
	if _, next := b.engine.Bounds("orders"); next != 3 {
		t.Errorf("got %d places taken, want 2", next-1)
	}
}

func TestMoreThanMayWaitAreRefusedAndARefusedPublishTakesNoPlace(t *testing.T) {
	b := &testBus{t: t, dir: t.TempDir(), delayed: 2}
	b.begin()
	b.putOff("1h")
	later := `{"subject":"orders.later","delay":"2h"}`
	if a := b.do("POST", "/", "["+later+","+later+"]"); !strings.Contains(a.field("detail"), "1 event of namespace orders waits for") {
		t.Errorf("got %s, want one event that waits", a.body)
	}
	b.refused(http.StatusTooManyRequests, "too_many_delayed", "POST", "/", "["+later+","+later+"]")
	b.refused(http.StatusPreconditionFailed, "wrong_index", "POST", "/?expected_index=77", later)
	b.publish(later)
	a := b.refused(http.StatusTooManyRequests, "too_many_delayed", "POST", "/", later)
	for _, want := range []string{"2 events of namespace orders wait", "at most 2 may", "the next is due at 20"} {
		if !strings.Contains(a.field("detail"), want) {
			t.Errorf("got %s, want %q in it", a.body, want)
		}
	}
	if got := a.header.Get("Retry-After"); got != "3600" && got != "3599" {
		t.Errorf("got Retry-After %q, want an hour", got)
	}
	b.publishSome(1)
	if got := b.do("GET", "/metrics", "").body; !strings.Contains(got, `bus_limit_refusals_total{limit="delayed"} 3`) || !strings.Contains(got, `bus_delayed{namespace="orders"} 2`) || !strings.Contains(got, `bus_limit_used{limit="delayed"} 2`) {
		t.Error("the refusals, or what waits, are not in /metrics")
	}
}

func TestNoEventWaitsWhereNoneMay(t *testing.T) {
	b := &testBus{t: t, dir: t.TempDir(), delayed: -1}
	b.begin()
	a := b.refused(http.StatusTooManyRequests, "too_many_delayed", "POST", "/", `{"subject":"orders.later","delay":"2h"}`)
	if a.header.Get("Retry-After") != "" {
		t.Errorf("got Retry-After %q, want none: it never will", a.header.Get("Retry-After"))
	}
	b.publish(`{"subject":"orders.now","deliver_at":"2001-02-03T04:05:06Z"}`)
}

func TestADelayBeyondTheRetentionIsRefused(t *testing.T) {
	b := openBus(t)
	if err := b.engine.Retain("orders", bus.RetentionInfo{MaxAge: "1h"}); err != nil {
		t.Fatal(err)
	}
	b.refused(http.StatusBadRequest, "invalid_event", "POST", "/", `{"subject":"orders.later","delay":"2h"}`)
	b.putOff("30m")
}

func TestWhatWaitsIsListedPageByPage(t *testing.T) {
	b := openBus(t)
	var want []string
	for range 5 {
		want = append(want, b.putOff("1h"))
	}
	b.publishSome(1)
	var got []string
	for after := ""; ; {
		a := b.do("GET", "/v1/namespaces/orders/delayed?limit=2&after="+after, "")
		for _, part := range strings.Split(a.body, `{"id":"`)[1:] {
			got = append(got, part[:strings.IndexByte(part, '"')])
		}
		if a.field("waiting") != "5" {
			t.Fatalf("got %s, want 5 that wait", a.body)
		}
		if after = a.field("after"); after == "" {
			break
		}
	}
	wantIDs(t, got, want...)
	b.refused(http.StatusBadRequest, "invalid_parameter", "GET", "/v1/namespaces/orders/delayed?limit=0", "")
	b.refused(http.StatusBadRequest, "invalid_parameter", "GET", "/v1/namespaces/orders/delayed?after=x", "")
	b.refused(http.StatusMethodNotAllowed, "method_not_allowed", "PUT", "/v1/namespaces/orders/delayed", "")
	b.refused(http.StatusNotFound, "unknown_namespace", "GET", "/v1/namespaces/nothing/delayed", "")
}

func TestWhatWaitsAndCannotBeReadIsLeftOutOfTheList(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.later","payload":"damaged","delay":"1h"}`)
	good := b.putOff("1h")
	b.publishSome(2) // so that what was saved of them still fits the log
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	path := filepath.Join(b.dir, "orders.log")
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	log[bytes.Index(log, []byte(`"damaged"`))] ^= 1
	if err := os.WriteFile(path, log, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(address)
	a := b.do("GET", "/v1/namespaces/orders/delayed", "")
	if a.status != http.StatusOK || strings.Count(a.body, `"id"`) != 1 || !strings.Contains(a.body, good) {
		t.Errorf("got %d %s, want the one that can be read", a.status, a.body)
	}
}

func TestEventsWaitInANamespaceThatWasDeclaredAtRunTime(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.Admin = true })
	b.want(201, "PUT", "/v1/namespaces/late", "")
	b.publish(`{"subject":"late.x","payload":1,"delay":"100ms"}`)
	b.publish(`{"subject":"late.x","payload":2,"delay":"1h"}`)
	s := b.open("subject=late.x&start=oldest")
	if got := s.next("msg").field("payload"); got != "1" {
		t.Errorf("got payload %s, want 1", got)
	}
	s.close()
	b.want(204, "DELETE", "/v1/namespaces/late?confirm=late", "")
}
