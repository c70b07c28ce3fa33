package server_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/bus/immuta/faultfs"
	"example.com/bus/server"
)

const secret = "s3cret-0f-0ne-person"

const ordersEvents = "/v1/namespaces/orders/events/"

// holding returns the files of the data directory in which a text stands.
func (b *testBus) holding(text string) (found []string) {
	b.t.Helper()
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// publishSecret publishes three events, the second of which is the one to go.
func (b *testBus) publishSecret(fields string) (id string) {
	b.t.Helper()
	b.publish(`{"subject":"orders.created","payload":1}`)
	id = b.publish(`{"subject":"orders.` + secret + `","trace_id":"` + secret + `","payload":"` + secret + `","headers":{"who":"` + secret + `"}` + fields + `}`).field("id")
	last := b.publish(`{"subject":"orders.created","payload":3}`).field("id")
	b.want(200, "GET", ordersEvents+last, "") // with an interval it is not readable at once
	if len(b.holding(secret)) == 0 {
		b.t.Fatal("nothing holds the secret before it is deleted")
	}
	return id
}

func TestADeletedEventIsInNoFileAndItsIndexStays(t *testing.T) {
	for what, path := range map[string]string{"index": "2", "id": ""} {
		b := openBus(t, admin)
		id := b.publishSecret("")
		if path == "" {
			path = id
		}
		a := b.do("DELETE", ordersEvents+path, "")
		if want := `{"namespace":"orders","index":2,"id":"` + id + `","deleted":true}`; a.status != 200 || strings.TrimSpace(a.body) != want {
			t.Fatalf("by %s: got %d %s, want %s", what, a.status, a.body, want)
		}
		for range 2 {
			if found := b.holding(secret); len(found) > 0 {
				t.Errorf("by %s: got it in %v, want it nowhere", what, found)
			}
			a = b.do("DELETE", ordersEvents+path, "")
			if a.status != 200 || a.field("already") != "true" || a.field("id") != id {
				t.Errorf("by %s, again: got %d %s, want that it was deleted already", what, a.status, a.body)
			}
			b.refused(410, "event_deleted", "GET", ordersEvents+"2", "")
			b.refused(410, "event_deleted", "GET", ordersEvents+id, "")
			s := b.open("subject=orders.>&start=oldest&until=newest")
			s.next("msg")
			if gap := s.next("gap"); gap.field("reason") != "deleted" || gap.field("lost") != "1" || gap.field("requested") != "#2" || gap.field("resumed_index") != "3" || gap.id != id {
				t.Errorf("got the gap %s %s, want that of event 2, and to resume behind it", gap.id, gap.data)
			}
			if f := s.next("msg"); f.field("index") != "3" {
				t.Errorf("got %s, want event 3", f.data)
			}
			s.next("end")
			s = b.open("subject=orders.>&start=" + id + "&until=newest")
			if f := s.next("msg"); f.field("index") != "3" {
				t.Errorf("behind it: got %s, want event 3", f.data)
			}
			b.stop()
			b.start("127.0.0.1:0", admin)
		}
	}
}

func TestAChosenIDIsDeletedAndThenNamesNothing(t *testing.T) {
	b := openBus(t, admin)
	b.publishSecret(`,"id":"mine","key":"k1"`)
	if a := b.do("DELETE", ordersEvents+"mine", ""); a.status != 200 || a.field("id") != "mine" {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	b.refused(404, "unknown_event", "GET", ordersEvents+"mine", "")
	b.refused(404, "unknown_event", "DELETE", ordersEvents+"mine", "")
	if a := b.do("DELETE", ordersEvents+"2", ""); a.field("already") != "true" || a.field("id") == "mine" {
		t.Errorf("got %s, want the id of its place", a.body)
	}
}

func TestTheDeadLettersOfADeletedEventGoWithIt(t *testing.T) {
	for _, durability := range []string{"always", "interval=20ms"} {
		b := openBus(t, admin)
		events, letters := b.bury("billing", 2)
		b.sync = durability
		b.stop()
		b.start("127.0.0.1:0", admin)
		id := b.publishSecret("")
		b.pull("&consumer=billing&redelivery=10m&inflight=1000&limit=1000")
		b.want(202, "PUT", "/?consumer=billing&namespace=orders&verdict=term&event_id="+id, "")
		watched := b.open("subject=_dead_.>&start=oldest")
		for range 3 {
			watched.next("msg")
		}
		b.want(200, "DELETE", ordersEvents+id, "")
		for range 2 {
			if found := b.holding(secret); len(found) > 0 {
				t.Errorf("%s: got it in %v, want it nowhere", durability, found)
			}
			wantIDs(t, b.dead("orders", ""), letters...)
			dead := b.do("GET", "/?subject=_dead_.>&start=oldest&until=newest", "", "Accept: application/json")
			if strings.Contains(dead.body, secret) || !strings.Contains(dead.body, events[1]) {
				t.Errorf("%s: got %s, want the other letters", durability, dead.body)
			}
			b.want(200, "DELETE", ordersEvents+id, "")
			b.stop()
			b.start("127.0.0.1:0", admin)
		}
	}
}

func TestAnAcknowledgementOfADeletedEventCounts(t *testing.T) {
	b := openBus(t, admin)
	id := b.publishSecret("")
	s := b.open("subject=orders.>&start=oldest&ack=manual&redelivery=1h")
	named := b.open("subject=orders.>&start=oldest&consumer=billing&redelivery=1h")
	for range 3 {
		s.next("msg")
		named.next("msg")
	}
	b.want(200, "DELETE", ordersEvents+id, "")
	for _, who := range []string{"consumer_id=" + s.hello.field("consumer_id"), "consumer=billing&namespace=orders"} {
		if a := b.do("PUT", "/?"+who+"&event_id="+id, ""); a.status != 202 || a.field("already") != "true" {
			t.Errorf("%s: got %d %s, want it to be settled", who, a.status, a.body)
		}
	}
	if a := b.do("GET", "/v1/namespaces/orders/consumers/billing", ""); a.field("unacked") != "2" {
		t.Errorf("got %s, want two that are out", a.body)
	}
	b.restart()
	if a := b.do("PUT", "/?consumer=billing&namespace=orders&event_id="+id, ""); a.status != 202 || a.field("already") != "true" {
		t.Errorf("after a restart: got %d %s, want it to be settled", a.status, a.body)
	}
}

func TestTheNewestEventsAreThoseThatAreLeft(t *testing.T) {
	b := openBus(t, admin)
	for _, payload := range []string{"1", "2"} {
		b.publish(`{"subject":"orders.a","payload":` + payload + `}`)
	}
	last := "/?subject=orders.a&start=last&until=newest"
	b.do("GET", last, "", "Accept: application/json")
	b.want(200, "DELETE", ordersEvents+"2", "")
	for range 2 {
		if a := b.do("GET", last, "", "Accept: application/json"); !strings.Contains(a.body, `"index":1,`) || strings.Contains(a.body, `"index":2,`) {
			t.Errorf("got %s, want the first event", a.body)
		}
		b.restart()
	}
}

func TestOnlyAdministratorsDeleteEventsAndOnlyWhatIsThere(t *testing.T) {
	b := openBus(t)
	b.publishSecret("")
	b.refused(403, "admin_only", "DELETE", ordersEvents+"2", "")
	b.refused(400, "unknown_parameter", "GET", ordersEvents+"2?x=1", "")
	b.stop()
	b.start("127.0.0.1:0", func(c *server.Config) { c.Admin = true })
	b.refused(404, "unknown_event", "DELETE", ordersEvents+"0", "")
	b.refused(404, "unknown_event", "DELETE", ordersEvents+"4", "")
	b.refused(404, "unknown_event", "DELETE", ordersEvents+"nobody", "")
	b.refused(400, "invalid_id", "DELETE", ordersEvents+"no%20id", "")
	b.refused(400, "unknown_parameter", "DELETE", ordersEvents+"2?x=1", "")
	b.refused(404, "unknown_namespace", "DELETE", "/v1/namespaces/other/events/2", "")
	b.refused(404, "unknown_namespace", "DELETE", "/v1/namespaces/_dead_/events/1", "")
	b.refused(405, "method_not_allowed", "POST", ordersEvents+"2", "")
	if len(b.holding(secret)) == 0 {
		t.Error("it is deleted, though everything was refused")
	}
}

func TestWhatIsDeletedAndCompactedIsCounted(t *testing.T) {
	b := openBus(t, admin)
	b.publishSecret("")
	b.want(200, "DELETE", ordersEvents+"2", "")
	metrics := b.do("GET", "/metrics", "").body
	for _, want := range []string{`bus_events_removed_total{namespace="orders",reason="deleted"} 1`, `bus_events_removed_total{namespace="orders",reason="compacted"} 0`, `bus_gaps_total{reason="deleted"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("want %s in the metrics", want)
		}
	}
	if a := b.do("GET", "/v1/namespaces/orders", ""); a.field("removed") != `{"deleted":1}` {
		t.Errorf("got %s, want one that was deleted", a.body)
	}
}

func TestANamespaceIsCompactedWhenItIsToldToAndThatIsRemembered(t *testing.T) {
	b := openBus(t, admin)
	for i := range 20 {
		b.publish(fmt.Sprintf(`{"subject":"orders.s%d","payload":"%s"}`, i%2, strings.Repeat("x", 100_000)))
	}
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"compact":true}}`)
	deadline := time.Now().Add(patience)
	for b.do("GET", "/v1/namespaces/orders", "").field("removed") != `{"compacted":18}` {
		if time.Now().After(deadline) {
			t.Fatalf("got %s, want all but two to be removed", b.do("GET", "/v1/namespaces/orders", "").body)
		}
	}
	for range 2 {
		b.refused(410, "event_removed", "GET", ordersEvents+"3", "")
		s := b.open("subject=orders.>&start=%231&until=newest")
		for _, want := range []string{"19", "20"} {
			if f := s.next("msg"); f.field("index") != want {
				t.Errorf("got %.100s, want event %s and nothing in front of it", f.data, want)
			}
		}
		s.next("end")
		if a := b.do("GET", "/v1/namespaces/orders", ""); a.field("retention") != `{"discard":"old","compact":true}` || a.field("events") != "20" {
			t.Errorf("got %s, want the policy", a.body)
		}
		b.restart()
	}
}

func TestAnEventThatIsCompactedWhileItIsOutBecomesADeadLetterAllTheSame(t *testing.T) {
	b := openBus(t, admin)
	large := strings.Repeat("x", 100_000)
	first := b.publish(`{"subject":"orders.s0","payload":"` + large + `"}`).field("id")
	b.open("subject=orders.*&start=oldest&consumer=billing&redelivery=10m&inflight=1").next("msg")
	for i := range 20 {
		b.publish(fmt.Sprintf(`{"subject":"orders.s%d","payload":"%s"}`, i%2, large))
	}
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"compact":true}}`)
	deadline := time.Now().Add(patience)
	for b.do("GET", ordersEvents+"1", "").status != 410 {
		if time.Now().After(deadline) {
			t.Fatal("event 1 is not compacted")
		}
	}
	b.want(202, "PUT", "/?consumer=billing&namespace=orders&verdict=term&event_id="+first, "")
	if a := b.do("GET", "/?subject=_dead_.>&start=oldest&until=newest", "", "Accept: application/json"); !strings.Contains(a.body, first) {
		t.Errorf("got %.200s, want the dead letter of event 1", a.body)
	}
}

func TestTheDeadLetterOfWhatWasCompactedWithNobodyThereSaysThatItIsGone(t *testing.T) {
	b := openBus(t, admin)
	large := strings.Repeat("x", 100_000)
	first := b.publish(`{"subject":"orders.s0","payload":"` + large + `"}`).field("id")
	b.pull("&consumer=billing&start=oldest&redelivery=10m&limit=1")
	for i := range 20 {
		b.publish(fmt.Sprintf(`{"subject":"orders.s%d","payload":"%s"}`, i%2, large))
	}
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"compact":true}}`)
	deadline := time.Now().Add(patience)
	for b.do("GET", ordersEvents+"1", "").status != 410 {
		if time.Now().After(deadline) {
			t.Fatal("event 1 is not compacted")
		}
	}
	b.want(202, "PUT", "/?consumer=billing&namespace=orders&verdict=term&event_id="+first, "")
	letters := b.dead("orders", "")
	if len(letters) != 1 {
		t.Fatalf("got %d dead letters, want that of event 1", len(letters))
	}
	b.refused(410, "event_removed", "POST", deadPath+letters[0]+"/retry", "")
	b.want(204, "DELETE", deadPath+letters[0], "")
}

func TestADeadLetterThatIsReadAndNotTakenIsNoDeadLetterAgain(t *testing.T) {
	b := openBus(t, admin)
	id := b.publish(`{"subject":"orders.created","payload":1}`).field("id")
	b.pull("&consumer=billing&start=oldest&redelivery=10m")
	b.want(202, "PUT", "/?consumer=billing&namespace=orders&verdict=term&event_id="+id, "")
	s := b.open("subject=_dead_.>&start=oldest&ack=manual")
	b.want(202, "PUT", "/?verdict=term&consumer_id="+s.hello.field("consumer_id")+"&event_id="+s.next("msg").field("id"), "")
	s.close()
	got := b.do("GET", "/?subject=_dead_.>&start=oldest&until=newest", "", "Accept: application/json").body
	if strings.Count(got, `"subject":"_dead_.`) != 1 {
		t.Errorf("got %s, want the one letter", got)
	}
}

// TestASecondDeletionTakesTheDeadLettersThatTheFirstHasLeft cuts the first one off where
// the file of the dead letters is written anew. Of an event that was put off neither place
// says any more where the other one is.
func TestASecondDeletionTakesTheDeadLettersThatTheFirstHasLeft(t *testing.T) {
	for _, by := range []string{"1", "2"} {
		files := faultfs.New()
		b := &testBus{t: t, files: files}
		b.begin(admin)
		b.publish(`{"subject":"orders.later","payload":"` + secret + `","delay":"1ms"}`)
		b.awaitDelivered()
		id := b.pull("&consumer=billing&start=oldest&redelivery=10m&wait=10s&limit=1")[0]
		b.want(202, "PUT", "/?consumer=billing&namespace=orders&verdict=term&event_id="+id, "")
		letters := b.do("GET", "/?subject=_dead_.>&start=oldest&until=newest", "", "Accept: application/json")
		if !strings.Contains(letters.body, secret) {
			t.Fatalf("got the dead letters %s, want one of the event", letters.body)
		}
		files.Inject(func(c faultfs.Call) error {
			if c.Op == "rename" && strings.HasSuffix(c.Path, "_dead_.1.log.tmp") {
				return syscall.EIO
			}
			return nil
		})
		b.refused(500, "storage_failed", "DELETE", ordersEvents+by, "")
		files.Inject(nil)
		b.want(200, "DELETE", ordersEvents+by, "")
		letters = b.do("GET", "/?subject=_dead_.>&start=oldest&until=newest", "", "Accept: application/json")
		if strings.Contains(letters.body, secret) {
			t.Errorf("by index %s: got the dead letters %s, want none", by, letters.body)
		}
	}
}

// TestASecondDeletionTakesFromAConsumerWhatTheFirstHasLeftWithIt has no room for the note
// that what was delivered is settled.
func TestASecondDeletionTakesFromAConsumerWhatTheFirstHasLeftWithIt(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files}
	b.begin(admin)
	b.publish(`{"subject":"orders.later","payload":"` + secret + `","delay":"1ms"}`)
	b.awaitDelivered()
	s := b.open("subject=orders.*&consumer=billing&start=oldest&redelivery=10m")
	s.next("msg")
	var full atomic.Bool
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "write" && strings.Contains(c.Path, "_consumers_.log") && full.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	full.Store(true)
	b.refused(507, "no_space", "DELETE", ordersEvents+"1", "")
	full.Store(false)
	b.want(200, "DELETE", ordersEvents+"1", "")
	if info := b.do("GET", "/v1/namespaces/orders/consumers/billing", ""); info.field("unacked") != "0" {
		t.Errorf("got %s, want nothing that waits for its acknowledgement", info.body)
	}
}
