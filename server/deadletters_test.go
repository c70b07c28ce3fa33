package server_test

import (
	"slices"
	"strings"
	"testing"
)

func TestOpenDeadLettersAreListedByPageAndConsumerTheOldestFirst(t *testing.T) {
	b := openBus(t)
	wantIDs(t, b.dead("orders", ""))
	_, billing := b.bury("billing", 3)
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	_, mail := b.bury("mail", 2)
	for range 2 {
		wantIDs(t, b.dead("orders", ""), append(slices.Clone(billing), mail...)...)
		wantIDs(t, b.dead("orders", "?consumer=mail"), mail...)
		wantIDs(t, b.dead("orders", "?consumer=_"))
		wantIDs(t, b.dead("app", ""))
		first := b.do("GET", "/v1/namespaces/orders/dead?limit=2", "")
		if first.field("open") != "5" || first.field("after") != billing[1] {
			t.Fatalf("got %s", first.body)
		}
		wantIDs(t, b.dead("orders", "?limit=2&after="+billing[1]), billing[2], mail[0])
		if last := b.do("GET", "/v1/namespaces/orders/dead?limit=2&after="+billing[2], ""); last.field("after") != "" {
			t.Errorf("got %s, want the end", last.body)
		}
		b.restart()
	}
	a := b.do("GET", "/v1/namespaces/orders/dead?consumer=mail&limit=1", "")
	for _, want := range []string{`"consumer":"mail"`, `"named":true`, `"subject":"orders.created"`, `"attempts":1`, `"reason":"term"`, `"event_index":`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("got %s, want %s", a.body, want)
		}
	}
}

func TestWhatIsNoDeadLetterIsRefused(t *testing.T) {
	b := openBus(t)
	events, letters := b.bury("billing", 1)
	b.refused(404, "unknown_event", "GET", deadPath+events[0]+"x", "")
	b.refused(404, "unknown_event", "GET", "/v1/namespaces/app/dead/"+letters[0], "")
	b.refused(404, "unknown_event", "DELETE", "/v1/namespaces/app/dead/"+letters[0], "")
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/nope/dead", "")
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/_dead_/dead", "")
	b.refused(400, "unknown_parameter", "GET", "/v1/namespaces/orders/dead?x=1", "")
	b.refused(400, "invalid_parameter", "GET", "/v1/namespaces/orders/dead?limit=1001", "")
	b.refused(400, "invalid_parameter", "GET", "/v1/namespaces/orders/dead?after=here", "")
	b.refused(400, "invalid_parameter", "GET", "/v1/namespaces/orders/dead?consumer=_own", "")
	b.refused(400, "unknown_parameter", "DELETE", deadPath+letters[0]+"?publish=false", "")
	b.refused(400, "invalid_parameter", "POST", deadPath+letters[0]+"/retry?publish=no", "")
	b.refused(405, "method_not_allowed", "PUT", deadPath+letters[0], "")
	b.refused(405, "method_not_allowed", "GET", deadPath+letters[0]+"/retry", "")
	b.refused(405, "method_not_allowed", "POST", "/v1/namespaces/orders/dead", "")
	b.want(204, "DELETE", deadPath+letters[0], "")
	entry := b.do("GET", "/?subject=_dead_.orders.*&start=oldest&until=newest", "", "Accept: application/json").body
	parts := strings.Split(entry, `{"id":"`)
	id, _, _ := strings.Cut(parts[len(parts)-1], `"`)
	b.refused(404, "unknown_event", "GET", deadPath+id, "") // it says that one is done with
}

func TestMoreOpenDeadLettersThanAreKeptInMindAreHandledInTurn(t *testing.T) {
	b := openBus(t)
	b.server.BoundOpenDead(4)
	b.bury("billing", 10)
	a := b.do("GET", "/v1/namespaces/orders/dead", "")
	if a.field("open") != "10" || a.field("beyond") != "6" || strings.Count(a.body, `"id"`) != 4 {
		t.Fatalf("got %s, want 4 of 10", a.body)
	}
	later := b.do("GET", "/?subject=_dead_.orders.*&start=oldest&until=newest", "", "Accept: application/json").body
	parts := strings.Split(later, "\n{\"id\":\"")
	last, _, _ := strings.Cut(parts[len(parts)-1], `"`)
	b.refused(409, "too_many_dead_letters", "DELETE", deadPath+last, "")
	dropped := 0
	for open := b.dead("orders", ""); len(open) > 0; open = b.dead("orders", "") {
		for _, id := range open {
			b.want(204, "DELETE", deadPath+id, "")
			dropped++
		}
	}
	if dropped != 10 {
		t.Errorf("got %d, want all 10 handled", dropped)
	}
}

func TestOpenDeadLettersAreCountedByNamespace(t *testing.T) {
	b := openBus(t)
	const orders, app = `bus_dead_letters{namespace="orders"}`, `bus_dead_letters{namespace="app"}`
	if body := b.do("GET", "/metrics", "").body; !strings.Contains(body, "\n"+orders+" 0\n") {
		t.Error("the gauge is not there before there is a dead letter")
	}
	_, letters := b.bury("billing", 3)
	b.awaitMetric(orders, func(n int) bool { return n == 3 })
	b.want(204, "DELETE", deadPath+letters[0], "")
	b.awaitMetric(orders, func(n int) bool { return n == 2 })
	b.restart()
	b.awaitMetric(orders, func(n int) bool { return n == 2 })
	b.awaitMetric(app, func(n int) bool { return n == 0 })
}
