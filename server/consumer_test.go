package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/bus/server"
)

// pull takes what a named consumer is given at once, and returns the ids.
func (b *testBus) pull(query string, unbounded ...string) []string {
	b.t.Helper()
	if unbounded == nil {
		query += "&until=newest"
	}
	a := b.do("GET", "/?subject=orders.*"+query, "", "Accept: application/json")
	if a.status != 200 {
		b.t.Fatalf("got %d: %s", a.status, a.body)
	}
	var ids []string
	for _, part := range strings.Split(a.body, `{"id":"`)[1:] {
		ids = append(ids, part[:strings.IndexByte(part, '"')])
	}
	return ids
}

// want sends a request and checks the status of its answer.
func (b *testBus) want(status int, method, path, body string) {
	b.t.Helper()
	if a := b.do(method, path, body); a.status != status {
		b.t.Fatalf("%s %s %s: got %d %s, want %d", method, path, body, a.status, a.body, status)
	}
}

func (b *testBus) publishSome(n int) (ids []string) {
	b.t.Helper()
	for i := range n {
		a := b.do("POST", "/", fmt.Sprintf(`{"subject":"orders.created","payload":%d}`, i))
		if a.status != 202 {
			b.t.Fatalf("got %d: %s", a.status, a.body)
		}
		ids = append(ids, a.field("id"))
	}
	return ids
}

func wantIDs(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestANamedConsumerGoesOnOverARestartOfTheServer(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(4)
	wantIDs(t, b.pull("&consumer=billing&start=oldest&redelivery=10m&limit=3"), ids[:3]...)
	b.want(202, "PUT", "/?consumer=billing&event_id="+ids[0]+"&event_id="+ids[2], "")
	b.want(202, "PUT", "/?consumer=billing&event_id="+ids[1]+"&verdict=nak", "")
	b.restart()
	again := b.pull("&consumer=billing&limit=2", "")
	slices.Sort(again) // the refused one waits for some milliseconds
	wantIDs(t, again, ids[1], ids[3])
	if a := b.do("PUT", "/?consumer=billing&event_id="+ids[0], ""); a.status != 202 || a.field("already") != "true" {
		t.Fatalf("got %d %s, want it to be settled already", a.status, a.body)
	}
	b.want(202, "PUT", "/?consumer=billing&event_id="+ids[3]+"&up_to=true", "")
	b.restart()
	wantIDs(t, b.pull("&consumer=billing"))
	info := b.do("GET", "/v1/namespaces/orders/consumers/billing", "")
	for name, want := range map[string]string{"ack_floor": "4", "delivered_index": "4", "unacked": "0", "behind": "0", "redelivery": "10m", "start": "oldest", "stalled": "false"} {
		if got := info.field(name); got != want {
			t.Errorf("%s: got %s, want %s in %s", name, got, want, info.body)
		}
	}
}

func TestAskingForAConsumerWithOtherSettingsSaysWhichDiffer(t *testing.T) {
	b := openBus(t)
	b.pull("&consumer=billing&inflight=5")
	b.pull("&consumer=billing")
	b.pull("&consumer=billing&redelivery=5s&inflight=5")
	a := b.refused(409, "consumer_differs", "GET", "/?subject=orders.created&consumer=billing&inflight=6&start=oldest&until=newest", "")
	for _, want := range []string{"inflight is 5, asked for is 6", "start is newest, asked for is oldest", "subject is [orders.*], asked for is [orders.created]"} {
		if !strings.Contains(a.field("detail"), want) {
			t.Errorf("got %s, want %q in it", a.body, want)
		}
	}
	if strings.Contains(a.body, "redelivery is") {
		t.Errorf("got %s: redelivery was not asked for", a.body)
	}
}

func TestConsumersAreMadeChangedMovedPausedListedAndDeleted(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(3)
	path := "/v1/namespaces/orders/consumers/mail"
	settings := `{"subjects":["orders.created"],"start":"oldest","redelivery":"1m","redelivery_count":7,"backoff":["1s","1m"],"inflight":2,"idle_expiry":"1h"}`
	b.want(201, "PUT", path, settings)
	b.want(200, "PUT", path, settings)
	b.refused(409, "consumer_differs", "PUT", path, strings.Replace(settings, `"inflight":2`, `"inflight":3`, 1))
	a := b.do("GET", "/?subject=orders.created&consumer=mail&until=newest", "", "Accept: application/json")
	if strings.Count(a.body, `"id"`) != 2 {
		t.Fatalf("got %s, want as many as may be in flight", a.body)
	}
	b.want(200, "PATCH", path, `{"inflight":5,"paused":true}`)
	a = b.do("GET", "/?subject=orders.created&consumer=mail&until=newest&wait=10ms", "", "Accept: application/json")
	if strings.Count(a.body, `"id"`) != 0 {
		t.Fatalf("paused: got %s", a.body)
	}
	b.restart()
	if got := b.do("GET", path, ""); got.field("paused") != "true" || got.field("inflight") != "5" || got.field("backoff") != `["1s","1m"]` {
		t.Fatalf("after a restart: got %s", got.body)
	}
	b.want(200, "PATCH", path, `{"paused":false}`)
	if got := b.do("POST", path+"/reset?start=%232", ""); got.status != 200 || got.field("ack_floor") != "1" || got.field("unacked") != "0" {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	a = b.do("GET", "/?subject=orders.created&consumer=mail&until=newest", "", "Accept: application/json")
	if !strings.Contains(a.body, ids[1]) || !strings.Contains(a.body, ids[2]) || strings.Contains(a.body, ids[0]) {
		t.Fatalf("behind a reset to #2: got %s", a.body)
	}
	if got := b.do("GET", "/v1/namespaces/orders/consumers", ""); strings.Count(got.body, `"name"`) != 1 || !strings.Contains(got.body, `"mail"`) {
		t.Fatalf("got %s", got.body)
	}
	b.want(204, "DELETE", path, "")
	b.refused(404, "unknown_consumer", "GET", path, "")
	b.restart()
	b.refused(404, "unknown_consumer", "GET", path, "")
}

func TestOneConsumerTooManyIsRefused(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxConsumers = 2 })
	b.pull("&consumer=a")
	b.pull("&consumer=b")
	b.refused(503, "server_full", "GET", "/?subject=orders.*&consumer=c", "")
	b.pull("&consumer=a")
}

func TestAConsumerIsFoundByItsNameWhereverItIs(t *testing.T) {
	b := openBus(t)
	id := b.publishSome(1)[0]
	b.pull("&consumer=billing&start=oldest")
	b.do("GET", "/?subject=app.*&consumer=billing&until=newest", "", "Accept: application/json")
	b.refused(400, "invalid_parameter", "PUT", "/?consumer=billing&event_id="+id, "")
	b.want(202, "PUT", "/?consumer=billing&namespace=orders&event_id="+id, "")
}

func TestAStreamOfANamedConsumerSharesTheWorkAndSaysItsName(t *testing.T) {
	b := openBus(t)
	one := b.open("subject=orders.*&consumer=billing&start=oldest&inflight=2", "Last-Event-ID: e_from-somewhere-else")
	if got := one.hello.field("consumer"); got != "billing" {
		t.Fatalf("got %s", one.hello.data)
	}
	two := b.open("subject=orders.*&consumer=billing")
	ids := b.publishSome(2)
	first, second := one.next("msg"), two.next("msg")
	if first.data == second.data {
		t.Fatalf("got %s and %s, want one event for each", first.data, second.data)
	}
	if !strings.Contains(second.data, ids[1]) {
		ids[0], ids[1] = ids[1], ids[0]
	}
	two.close() // what it had goes to the other at once, once that has room
	b.want(202, "PUT", "/?consumer=billing&event_id="+ids[0], "")
	if again := one.next("msg"); !strings.Contains(again.data, ids[1]) || !strings.Contains(again.data, `"attempt":2`) {
		t.Fatalf("got %s, want what the other had not acknowledged", again.data)
	}
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	if end := one.next("problem"); !strings.Contains(end.data, "unknown_consumer") {
		t.Fatalf("got %s, want why it ends", end.data)
	}
}

func TestDeadLettersAreInTheirOwnPlace(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(2)
	dead := b.open("subject=_dead_.orders.*")
	b.pull("&consumer=billing&start=oldest&redelivery_count=1&redelivery=50ms")
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+ids[0], "")
	letter := dead.next("msg")
	for _, want := range []string{`"subject":"_dead_.orders.billing"`, `"reason":"term"`, `"event_id":"` + ids[0] + `"`, `"attempts":1`, `"payload":0`} {
		if !strings.Contains(letter.data, want) {
			t.Errorf("got %s, want %s in it", letter.data, want)
		}
	}
	b.open("subject=orders.*&consumer=billing") // whoever comes next finds that it was the last attempt
	if letter := dead.next("msg"); !strings.Contains(letter.data, ids[1]) || !strings.Contains(letter.data, `"reason":"attempts"`) {
		t.Errorf("got %s", letter.data)
	}
	b.open("subject=orders.*&start=oldest&ack=manual&redelivery_count=1&redelivery=50ms")
	for range 2 {
		if letter := dead.next("msg"); !strings.Contains(letter.data, `"subject":"_dead_.orders._"`) || !strings.Contains(letter.data, `"consumer":"c_`) {
			t.Errorf("got %s", letter.data)
		}
	}
	b.restart()
	a := b.do("GET", "/?subject=_dead_.%3E&start=oldest&until=newest", "", "Accept: application/json")
	if got := strings.Count(a.body, `"event_id"`); got != 4 {
		t.Errorf("got %d dead letters, want 4: %s", got, a.body)
	}
}

func TestANamedConsumerBeginsWithTheNewestOfEachSubject(t *testing.T) {
	b := openBus(t)
	var ids []string
	for _, subject := range []string{"orders.a", "orders.b", "orders.a", "orders.c"} {
		ids = append(ids, b.publish(`{"subject":"`+subject+`"}`).field("id"))
	}
	wantIDs(t, b.pull("&consumer=prices&start=last&limit=2&redelivery=1h"), ids[1:3]...)
	b.want(202, "PUT", "/?consumer=prices&event_id="+ids[1], "")
	b.restart()
	ids = append(ids, b.publish(`{"subject":"orders.b"}`).field("id"))
	wantIDs(t, b.pull("&consumer=prices"), ids[3:]...) // ids[2] is leased
	b.want(202, "PUT", "/?consumer=prices&up_to=true&event_id="+ids[4], "")
	b.want(200, "POST", "/v1/namespaces/orders/consumers/prices/reset?start=last", "")
	wantIDs(t, b.pull("&consumer=prices"), ids[2:]...)
}

func TestNamedConsumersAreWatchedFromTheStartOfTheServerOn(t *testing.T) {
	b := openBus(t)
	b.publishSome(3)
	b.pull("&consumer=billing&start=oldest&limit=1")
	b.restart()
	b.awaitMetric(`bus_consumer_behind{consumer="billing",namespace="orders"}`, func(n int) bool { return n > 0 })
}
