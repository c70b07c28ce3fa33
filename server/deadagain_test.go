package server_test

import (
	"strings"
	"testing"
	"time"
)

// compacted makes billing give up an event of k1 of which newer ones come, and waits
// until compaction has removed it.
func (b *testBus) compacted() (letter string) {
	b.t.Helper()
	large := strings.Repeat("x", 100_000)
	first := b.publish(`{"subject":"orders.k1","payload":"old"}`).field("id")
	b.pull("&consumer=billing&start=oldest&redelivery=10m&limit=1")
	b.want(202, "PUT", "/?consumer=billing&namespace=orders&verdict=term&event_id="+first, "")
	for range 20 {
		b.publish(`{"subject":"orders.k1","payload":"` + large + `"}`)
	}
	b.publish(`{"subject":"orders.k1","payload":"new"}`)
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"compact":true}}`)
	for deadline := time.Now().Add(patience); b.do("GET", ordersEvents+"1", "").status != 410; {
		if time.Now().After(deadline) {
			b.t.Fatal("event 1 is not compacted")
		}
	}
	return b.dead("orders", "")[0]
}

// stays checks that a retry is refused, whichever way, and changes nothing.
func (b *testBus) stays(letter, why string) {
	b.t.Helper()
	before := b.do("GET", "/v1/namespaces/orders", "").field("last_index")
	for _, query := range []string{"", "?publish=true", "?publish=false"} {
		a := b.refused(410, "event_removed", "POST", deadPath+letter+"/retry"+query, "")
		if a.field("event_id") != letter || !strings.Contains(a.field("detail"), why) || !strings.Contains(a.field("detail"), "drop it") {
			b.t.Errorf("got %s, want it to say %q and what to do", a.body, why)
		}
	}
	if a := b.do("GET", deadPath+letter, ""); a.field("open") != "true" {
		b.t.Errorf("got %s, want the letter to be open", a.body)
	}
	if after := b.do("GET", "/v1/namespaces/orders", "").field("last_index"); after != before {
		b.t.Errorf("the last index went from %s to %s, want nothing to be published", before, after)
	}
}

func TestARetryNeverBringsBackWhatANewerEventOfItsSubjectHasReplaced(t *testing.T) {
	b := openBus(t, admin)
	letter := b.compacted()
	b.stays(letter, "a newer event of its subject took its place")
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	b.stays(letter, "a newer event of its subject took its place")
	got := b.do("GET", "/?subject=orders.k1&start=last&until=newest", "", "Accept: application/json").body
	if !strings.Contains(got, `"payload":"new"`) {
		t.Errorf("got %.200s, want the newest state", got)
	}
	b.want(204, "DELETE", deadPath+letter, "")
}

// Whether it is removed by now depends only on when that pays.
func TestARetryInACompactedNamespacePublishesOnlyTheNewestOfASubject(t *testing.T) {
	b := openBus(t, admin)
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"compact":true}}`)
	_, letters := b.bury("billing", 2)
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	b.refused(410, "event_removed", "POST", deadPath+letters[0]+"/retry", "")
	wantIDs(t, b.dead("orders", ""), letters...)
	if a := b.do("POST", deadPath+letters[1]+"/retry", ""); a.status != 200 || !strings.Contains(a.body, `"index":3`) {
		t.Errorf("got %d %s, want the newest to be published", a.status, a.body)
	}
}

func TestARetryOfWhatAPurgeTookIsPublishedAlsoWhereTheNamespaceIsCompacted(t *testing.T) {
	b := openBus(t, admin)
	_, letters := b.bury("billing", 1)
	b.want(200, "POST", "/v1/namespaces/orders/purge?before=2", "")
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"compact":true}}`)
	b.refused(404, "unknown_event", "GET", ordersEvents+"1", "")
	if a := b.do("POST", deadPath+letters[0]+"/retry", ""); a.status != 200 || !strings.Contains(a.body, `"index":2`) {
		t.Errorf("got %d %s, want it to be published", a.status, a.body)
	}
}

func TestARetryOfAnEventWhoseTimeIsOverIsRefusedAndTheLetterStaysOpen(t *testing.T) {
	b := openBus(t)
	var out []string
	for ttl := 300 * time.Millisecond; len(out) == 0; ttl *= 2 { // long enough for this machine to deliver it
		b.publish(`{"subject":"orders.created","payload":1,"ttl":"` + ttl.String() + `"}`)
		out = b.pull("&consumer=billing&start=oldest&redelivery=10m&limit=1")
	}
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+out[0], "")
	letter := b.dead("orders", "")[0]
	for deadline := time.Now().Add(patience); b.do("GET", "/?subject=orders.*&start=oldest&until=newest&limit=1", "", "Accept: application/json").body != "[\n]\n"; {
		if time.Now().After(deadline) {
			t.Fatal("the time of the event is not over")
		}
	}
	b.stays(letter, "its time to live is over")
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	b.stays(letter, "its time to live is over")
}

func TestWhatIsPublishedAgainKeepsTheEndOfItsTimeToLive(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.created","payload":1,"expires_at":"2090-01-01T00:00:00Z"}`)
	b.pull("&consumer=billing&start=oldest&redelivery=10m&limit=1")
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+b.resumeAt(1), "")
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	b.want(200, "POST", deadPath+b.dead("orders", "")[0]+"/retry", "")
	if got := b.do("GET", ordersEvents+"2", "").field("expires_at"); got != "2090-01-01T00:00:00Z" {
		t.Errorf("got expires_at %q, want that of the event", got)
	}
}

func TestTheDeadLetterOfAnEventThatWasPutOffHasTheIndexThatItsPublisherWasTold(t *testing.T) {
	b := openBus(t, admin)
	id := b.putOff("50ms")
	b.publishSome(1)
	b.awaitDelivered()
	b.pull("&consumer=billing&start=oldest&redelivery=10m")
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+id, "")
	letter := b.dead("orders", "")[0]
	if a := b.do("GET", deadPath+letter, ""); a.field("event_index") != "1" || a.field("event_id") != id {
		t.Errorf("got %s, want the event at index 1", a.body)
	}
	if a := b.do("POST", deadPath+letter+"/retry", ""); a.field("delivered_to") != "billing" {
		t.Fatalf("got %d %s, want it to be delivered", a.status, a.body)
	}
	wantIDs(t, b.pull("&consumer=billing"), id)
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+id, "")
	b.want(200, "DELETE", ordersEvents+"1", "")
	wantIDs(t, b.dead("orders", ""))
}
