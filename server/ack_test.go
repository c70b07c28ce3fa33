package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
)

func TestAnUnacknowledgedEventComesAgainAndAnAcknowledgedOneDoesNot(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"}]`)
	s := b.open("subject=orders.*&start=oldest&ack=manual&redelivery=30ms&redelivery_count=0")
	first, second := s.next("msg"), s.next("msg")
	if a := b.ack(s, first, ""); a.status != http.StatusAccepted || pretty(t, a.body) != `{"acked":1}` {
		t.Errorf("ack: got %d %s", a.status, a.body)
	}
	again := s.next("msg")
	for again.field("id") == first.field("id") { // it may have been on its way before the ack
		again = s.next("msg")
	}
	if again.field("id") != second.field("id") || again.field("attempt") != "2" {
		t.Errorf("got %s, want attempt 2 of %s", again.data, second.field("id"))
	}
	if a := b.ack(s, first, ""); pretty(t, a.body) != `{"acked":1,"already":true}` {
		t.Errorf("a second ack: got %s", a.body)
	}
}

func TestTheFrameIDIsWhatIsAcknowledgedNotWhatWasReceived(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"},{"subject":"orders.3"}]`)
	s := b.open("subject=orders.*&start=oldest&ack=manual")
	one, two := s.next("msg"), s.next("msg")
	three := s.next("msg")
	b.ack(s, one, "")
	b.ack(s, three, "")
	b.publish(`{"subject":"orders.4"}`)
	four := s.next("msg")
	s.close()
	again := b.open("subject=orders.*&ack=manual", "Last-Event-ID: "+four.id)
	if got := again.next("msg").field("id"); got != two.field("id") {
		t.Errorf("after a reconnect got %s first, want %s, which was not acknowledged", got, two.field("id"))
	}
}

func TestWrongAcksAreRefused(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	other := b.publish(`{"subject":"app.1"}`).field("id")
	for _, ack := range []string{"manual", "none"} {
		s := b.open("subject=orders.*&start=oldest&ack=" + ack)
		f := s.next("msg")
		path := "/?consumer_id=" + s.hello.field("consumer_id") + "&event_id="
		b.refused(404, "not_delivered", "PUT", path+other, "")
		b.refused(404, "not_delivered", "PUT", path+"e_nothing", "")
		if a := b.ack(s, f, ""); a.status != http.StatusAccepted {
			t.Errorf("ack=%s: got %d %s, want 202 for what the stream carried", ack, a.status, a.body)
		}
		s.close()
	}
	b.refused(404, "unknown_consumer", "PUT", "/?consumer_id=c_gone&event_id="+other, "")
}

func TestTheWindowBoundsWhatIsOut(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.Heartbeat = 5 * time.Millisecond })
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"},{"subject":"orders.3"}]`)
	s := b.open("subject=orders.*&start=oldest&ack=manual&inflight=1&redelivery=1h")
	for i := range 3 {
		f := s.next("msg")
		if got, want := f.field("subject"), fmt.Sprintf("orders.%d", i+1); got != want {
			t.Fatalf("got %s, want %s", f.data, want)
		}
		for range 2 { // nothing but pings comes before it is acknowledged
			if f, ok := s.read(); !ok || f.event != "ping" {
				t.Fatalf("got %+v, want a ping", f)
			}
		}
		b.ack(s, f, "")
	}
}

func TestUpToAcknowledgesAllBefore(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"},{"subject":"orders.3"}]`)
	s := b.open("subject=orders.*&start=oldest&ack=manual&limit=3")
	s.next("msg")
	two, three := s.next("msg"), s.next("msg")
	if a := b.ack(s, two, "&up_to=true"); pretty(t, a.body) != `{"acked":2}` {
		t.Errorf("up to the second: got %s, want two", a.body)
	}
	if a := b.ack(s, three, "&event_id="+two.field("id")); pretty(t, a.body) != `{"acked":2,"already":1}` {
		t.Errorf("two ids: got %s, want two, one of them already", a.body)
	}
	s.reached("limit")
}

func TestNakBringsAnEventBackAndTermDoesNot(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"}]`)
	s := b.open("subject=orders.*&start=oldest&ack=manual&redelivery=1h&limit=2")
	one, two := s.next("msg"), s.next("msg")
	b.ack(s, one, "&verdict=nak&delay=1ms")
	again := s.next("msg")
	if again.field("id") != one.field("id") || again.field("attempt") != "2" {
		t.Fatalf("after nak got %s, want attempt 2 of %s", again.data, one.field("id"))
	}
	b.ack(s, again, "&verdict=term")
	b.ack(s, two, "")
	s.reached("limit")
	if got := b.do("GET", "/metrics", "").body; !strings.Contains(got, "bus_dead_letters_total 1") {
		t.Error("an event that its consumer will never take is not counted")
	}
}

func TestAnEventAtWorkIsNotSettled(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	s := b.open("subject=orders.*&start=oldest&ack=manual&redelivery=50ms&redelivery_count=2")
	f := s.next("msg")
	if a := b.ack(s, f, "&verdict=wip"); a.status != http.StatusAccepted {
		t.Fatalf("wip: got %d %s", a.status, a.body)
	}
	if again := s.next("msg"); again.field("attempt") != "2" {
		t.Errorf("got %s, want it once more, because nothing came after wip", again.data)
	}
}

func TestAnIDThatStandsInTwoNamespacesIsAcknowledgedInEach(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"app.x","id":"order-1","payload":1}`)
	b.publish(`{"subject":"orders.x","id":"order-1","payload":2}`)
	for _, ack := range []string{"none", "manual"} {
		s := b.open("subject=orders.x&start=oldest&ack=" + ack)
		f := s.next("msg")
		for range 2 { // twice is fine
			if a := b.ack(s, f, ""); a.status != http.StatusAccepted {
				t.Errorf("ack=%s: got %d %s, want 202", ack, a.status, a.body)
			}
		}
	}
}

func TestAReplyThatIsSentTwiceIsStoredOnce(t *testing.T) {
	b := openBus(t)
	service := b.open("subject=app.add&ack=manual")
	b.publish(`{"subject":"app.add","response_subject":"orders.answers"}`)
	f := service.next("msg")
	for range 2 {
		if a := b.do("PUT", service.hello.field("ack_url")+f.field("id"), `3`); a.field("replied") != "true" {
			t.Errorf("got %d %s, want it replied", a.status, a.body)
		}
	}
	if a := b.do("GET", "/?subject=orders.answers&start=oldest&until=newest", "", "Accept: application/x-ndjson"); len(lines(a.body)) != 1 {
		t.Errorf("got %s, want one reply", a.body)
	}
}

func TestAConfirmedPublishWaitsForDistinctConsumers(t *testing.T) {
	b := openBus(t)
	one := b.open("subject=orders.*&ack=manual")
	two := b.open("subject=orders.*")
	done := make(chan answer)
	go func() { done <- b.do("POST", "/?confirm=2&timeout=20s", `{"subject":"orders.1"}`) }()
	f := one.next("msg")
	b.ack(one, f, "")
	b.ack(one, f, "")
	select {
	case a := <-done:
		t.Fatalf("answered after one consumer: %s", a.body)
	default:
	}
	b.ack(two, two.next("msg"), "")
	if a := <-done; a.status != http.StatusAccepted || a.field("confirmed") != "2" {
		t.Errorf("got %d %s, want 202 confirmed by 2", a.status, a.body)
	}
	late := b.refused(504, "confirm_timeout", "POST", "/?confirm=1&timeout=1ms", `{"subject":"orders.2"}`)
	if late.field("confirmed") != "0" || late.field("wanted") != "1" || late.field("index") != "2" || late.header.Get("X-BUS-EVENT-INDEX") != "2" {
		t.Errorf("got %s, want how many had, and where the event stands", late.body)
	}
}

func TestAPublisherMayWaitLongerThanABodyMayTake(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.BodyTimeout, c.Heartbeat = 5*time.Millisecond, 50*time.Millisecond })
	s := b.open("subject=orders.*")
	done := make(chan answer)
	go func() { done <- b.do("POST", "/?confirm=1&timeout=20s", `{"subject":"orders.1"}`) }()
	f := s.next("msg")
	for ping, ok := s.read(); ping.event != "ping"; ping, ok = s.read() { // by then the body's time is over
		if !ok {
			t.Fatal("the stream ended, want a ping")
		}
	}
	b.ack(s, f, "")
	if a := <-done; a.status != http.StatusAccepted {
		t.Errorf("got %d %s, want 202", a.status, a.body)
	}
}

func TestARequestIsAnsweredByWhoAcknowledgesWithABody(t *testing.T) {
	b := openBus(t)
	service := b.open("subject=app.add&ack=manual")
	done := make(chan answer)
	go func() { done <- b.do("POST", "/?reply=true&timeout=20s", `{"subject":"app.add","payload":[1,2]}`) }()
	f := service.next("msg")
	if !strings.HasPrefix(f.field("response_subject"), "_bus_.") {
		t.Errorf("got %s, want a response subject", f.data)
	}
	a := b.do("PUT", service.hello.field("ack_url")+f.field("id"), `{"sum":3}`)
	if pretty(t, a.body) != `{"acked":1,"replied":true}` {
		t.Errorf("the reply's answer: got %s", a.body)
	}
	if a := <-done; a.status != http.StatusOK || a.body != `{"sum":3}` || a.header.Get("X-BUS-EVENT-ID") != f.field("id") {
		t.Errorf("got %d %q, want the reply", a.status, a.body)
	}
	b.refused(504, "reply_timeout", "POST", "/?reply=true&timeout=1ms", `{"subject":"app.add"}`)
}

func TestRequestAndReplyByHandThroughAnInbox(t *testing.T) {
	b := openBus(t)
	inbox := b.open("subject=_bus_.mine")
	service := b.open("subject=app.add")
	b.publish(`{"id":"","subject":"app.add","payload":[1,2],"created_at":"0001-01-01T00:00:00Z","response_subject":"_bus_.mine"}`)
	f := service.next("msg")
	a := b.publish(`{"subject":"` + f.field("response_subject") + `","payload":3}`)
	if a.field("receivers") != "1" || a.header.Get("X-BUS-DURABILITY") != "memory" || a.header.Get("X-BUS-EVENT-INDEX") != "0" {
		t.Errorf("got %s %v, want one receiver, in memory, at no index", a.body, a.header)
	}
	b.ack(service, f, "")
	if got := inbox.next("msg"); got.field("payload") != "3" || got.field("subject") != "_bus_.mine" || got.id != "" {
		t.Errorf("got %+v, want the reply, and no resume point", got)
	}
	if a := b.publish(`{"subject":"_bus_.nobody","payload":1}`); a.field("receivers") != "0" {
		t.Errorf("got %s, want no receivers", a.body)
	}
	both := b.open("subject=_bus_.both&subject=orders.*")
	b.publish(`{"subject":"orders.1"}`)
	b.publish(`{"subject":"_bus_.both"}`)
	if got := both.subjects(2); got != "orders.1 _bus_.both" && got != "_bus_.both orders.1" {
		t.Errorf("an inbox beside a namespace: got %s, want both", got)
	}
}
