package server_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"example.com/bus/immuta/faultfs"
)

// bury publishes n events, has a named consumer refuse them, and returns the ids
// of the events and of the dead letters.
func (b *testBus) bury(consumer string, n int) (events, letters []string) {
	b.t.Helper()
	before := len(b.dead("orders", ""))
	events = b.publishSome(n)
	b.pull("&consumer=" + consumer + "&start=oldest&redelivery=10m&inflight=1000&limit=1000")
	for _, id := range events {
		b.want(202, "PUT", "/?consumer="+consumer+"&namespace=orders&verdict=term&event_id="+id, "")
	}
	return events, b.dead("orders", "")[before:]
}

// dead lists the ids of open dead letters.
func (b *testBus) dead(namespace, query string) (ids []string) {
	b.t.Helper()
	a := b.do("GET", "/v1/namespaces/"+namespace+"/dead"+query, "")
	if a.status != 200 {
		b.t.Fatalf("got %d %s", a.status, a.body)
	}
	for _, part := range strings.Split(a.body, `{"id":"`)[1:] {
		ids = append(ids, part[:strings.IndexByte(part, '"')])
	}
	return ids
}

const deadPath = "/v1/namespaces/orders/dead/"

func TestARetriedDeadLetterIsDeliveredToItsConsumerAloneAtTheFirstAttempt(t *testing.T) {
	b := openBus(t)
	events, letters := b.bury("billing", 2)
	b.pull("&consumer=mail&start=oldest&redelivery=10m")
	a := b.do("POST", deadPath+letters[1]+"/retry", "")
	if a.status != 200 || a.field("how") != "retried" || a.field("delivered_to") != "billing" || a.field("resolved") != letters[1] || a.field("published") != "" {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	got := b.do("GET", "/?subject=orders.*&consumer=billing&until=newest", "", "Accept: application/json")
	if !strings.Contains(got.body, events[1]) || strings.Contains(got.body, events[0]) || strings.Contains(got.body, "attempt") {
		t.Errorf("got %s, want the second event at its first attempt", got.body)
	}
	wantIDs(t, b.pull("&consumer=mail"))
	wantIDs(t, b.dead("orders", ""), letters[0])
	b.want(202, "PUT", "/?consumer=billing&event_id="+events[1], "")
	b.restart()
	wantIDs(t, b.pull("&consumer=billing"))
	wantIDs(t, b.dead("orders", ""), letters[0])
}

func TestADeadLetterIsDoneWithOnceAlsoOverARestart(t *testing.T) {
	b := openBus(t)
	_, letters := b.bury("billing", 2)
	b.want(204, "DELETE", deadPath+letters[0], "")
	b.want(200, "POST", deadPath+letters[1]+"/retry", "")
	for range 2 {
		for _, id := range letters {
			if a := b.refused(409, "dead_letter_resolved", "POST", deadPath+id+"/retry", ""); a.field("event_id") != id {
				t.Errorf("got %s, want it to say which", a.body)
			}
			b.refused(409, "dead_letter_resolved", "DELETE", deadPath+id, "")
			if a := b.do("GET", deadPath+id, ""); a.status != 200 || a.field("open") != "false" {
				t.Errorf("got %d %s, want it there and not open", a.status, a.body)
			}
		}
		wantIDs(t, b.dead("orders", ""))
		b.restart()
	}
	log := b.do("GET", "/?subject=_dead_.orders.billing&start=oldest&until=newest", "", "Accept: application/json").body
	for _, want := range []string{fmt.Sprintf(`"resolved":"%s","how":"dropped"`, letters[0]), fmt.Sprintf(`"resolved":"%s","how":"retried"`, letters[1])} {
		if strings.Count(log, want) != 1 {
			t.Errorf("got %s, want %s once: who subscribes sees it", log, want)
		}
	}
}

func TestOfTwoWhoRetryADeadLetterAtOnceExactlyOneWins(t *testing.T) {
	b := openBus(t)
	const letters = 8
	events, ids := b.bury("billing", letters)
	var all sync.WaitGroup
	statuses := make([][2]int, letters)
	for i, id := range ids {
		for j := range 2 {
			all.Go(func() { statuses[i][j] = b.do("POST", deadPath+id+"/retry", "").status })
		}
	}
	all.Wait()
	for i, got := range statuses {
		if got != [2]int{200, 409} && got != [2]int{409, 200} {
			t.Errorf("letter %d: got %v, want 200 and 409", i, got)
		}
	}
	wantIDs(t, b.pull("&consumer=billing"), events...)
}

func TestTheDeadLetterOfADeletedConsumerIsPublishedAgain(t *testing.T) {
	b := openBus(t)
	b.do("POST", "/", `{"subject":"orders.created","payload":{"n":1},"trace_id":"t-1","headers":{"source":"web"}}`)
	b.pull("&consumer=billing&start=oldest")
	id := b.resumeAt(1)
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+id, "")
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	letter := b.dead("orders", "?consumer=billing")[0]
	a := b.refused(404, "unknown_consumer", "POST", deadPath+letter+"/retry?publish=false", "")
	if !strings.Contains(a.field("detail"), "publish=false") {
		t.Errorf("got %s, want what to do", a.body)
	}
	wantIDs(t, b.dead("orders", ""), letter)
	a = b.do("POST", deadPath+letter+"/retry", "")
	if a.status != 200 || a.field("delivered_to") != "" || !strings.Contains(a.body, `"published":{"id":"`+b.resumeAt(2)+`","index":2}`) {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	anew := b.do("GET", "/v1/namespaces/orders/events/2", "")
	for name, want := range map[string]string{"subject": "orders.created", "payload": `{"n":1}`, "trace_id": "t-1", "headers": `{"source":"web"}`, "key": "retry " + letter} {
		if got := anew.field(name); got != want {
			t.Errorf("%s: got %s, want %s in %s", name, got, want, anew.body)
		}
	}
	b.refused(409, "dead_letter_resolved", "POST", deadPath+letter+"/retry", "")
}

func TestTheDeadLetterOfAConsumerWithoutANameIsPublishedAgain(t *testing.T) {
	b := openBus(t)
	s := b.open("subject=orders.*&ack=manual")
	b.do("POST", "/?subject=orders.logo", "\x89PNG", "Content-Type: image/png")
	if a := b.ack(s, s.next("msg"), "&verdict=term"); a.status != 202 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	s.close()
	letter := b.dead("orders", "?consumer=_")[0]
	shown := b.do("GET", deadPath+letter, "")
	if shown.field("named") != "false" || shown.field("consumer") != s.hello.field("consumer_id") || shown.field("reason") != "term" || shown.field("open") != "true" || !strings.Contains(shown.field("event"), "payload_base64") {
		t.Errorf("got %s", shown.body)
	}
	if a := b.do("POST", deadPath+letter+"/retry", ""); a.status != 200 || !strings.Contains(a.body, `"index":2`) {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	anew := b.do("GET", "/v1/namespaces/orders/events/2", "")
	if anew.field("payload_base64") != "iVBORw==" || anew.field("content_type") != "image/png" {
		t.Errorf("got %s", anew.body)
	}
}

// A consumer that was made anew under the name may not subscribe to it.
func TestADeadLetterIsNotDeliveredToAnotherConsumerOfThatName(t *testing.T) {
	b := openBus(t)
	_, letters := b.bury("billing", 1)
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	b.want(201, "PUT", "/v1/namespaces/orders/consumers/billing", `{"subjects":["orders.paid"]}`)
	if a := b.do("POST", deadPath+letters[0]+"/retry", ""); a.status != 200 || a.field("delivered_to") != "" {
		t.Errorf("got %d %s, want it published", a.status, a.body)
	}
}

// What is noted behind the deed cannot be noted: the letter stays open, and the
// second retry publishes nothing twice.
func TestARetryThatCannotBeNotedLeavesTheLetterOpenAndIsNotDoneTwice(t *testing.T) {
	files := faultfs.New()
	b := &testBus{t: t, files: files}
	b.begin()
	_, letters := b.bury("billing", 2)
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/billing", "")
	var full atomic.Bool
	files.Inject(func(c faultfs.Call) error {
		if c.Op == "write" && strings.Contains(c.Path, "_dead_.log") && full.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	full.Store(true)
	b.refused(507, "no_space", "POST", deadPath+letters[0]+"/retry", "")
	b.refused(507, "no_space", "DELETE", deadPath+letters[1], "")
	wantIDs(t, b.dead("orders", ""), letters...)
	full.Store(false)
	if a := b.do("POST", deadPath+letters[0]+"/retry", ""); a.status != 200 || !strings.Contains(a.body, `"index":3`) {
		t.Errorf("got %d %s, want the event that the first try has published", a.status, a.body)
	}
	b.want(204, "DELETE", deadPath+letters[1], "")
	wantIDs(t, b.dead("orders", ""))
	if last := b.do("GET", "/v1/namespaces/orders", "").field("last_index"); last != "3" {
		t.Errorf("got %s events, want 3: published once", last)
	}
}
