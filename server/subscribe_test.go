package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

func TestAStreamSaysAtOnceAllThatABrowserNeeds(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.a"}`)
	s := b.open("subject=orders.*")
	if got := s.hello.field("consumer_id"); got == "" || got != s.header.Get("X-BUS-CONSUMER-ID") {
		t.Errorf("consumer id: got %q in the frame and %q in the header, want one id in both", got, s.header.Get("X-BUS-CONSUMER-ID"))
	}
	if got, want := s.hello.field("ack_url"), "/?consumer_id="+s.hello.field("consumer_id")+"&event_id="; got != want || !strings.Contains(s.hello.data, want) {
		t.Errorf("ack_url: got %q in %s, want %q as it is", got, s.hello.data, want)
	}
	if got := s.hello.field("tail"); got != `{"orders":1}` {
		t.Errorf("tail: got %s, want the last index", got)
	}
	for header, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"} {
		if got := s.header.Get(header); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
	if s.hello.id == "" {
		t.Error("hello has no id: a reader that is cut off before its first event would miss what comes meanwhile")
	}
}

func TestEventsArriveInOrderFromHistoryIntoTheLiveFeed(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	b.publish(`{"subject":"orders.2.x"}`)
	s := b.open("subject=orders.*&start=oldest")
	all := b.open("subject=orders.%3E&start=oldest")
	b.publish(`{"subject":"orders.3"}`)
	b.publish(`{"subject":"orders.4.y"}`)
	b.publish(`{"subject":"orders.5"}`)
	if got := s.subjects(3); got != "orders.1 orders.3 orders.5" {
		t.Errorf("orders.*: got %s", got)
	}
	if got := all.subjects(5); got != "orders.1 orders.2.x orders.3 orders.4.y orders.5" {
		t.Errorf("orders.>: got %s", got)
	}
}

func TestAReconnectGoesOnWhereItWasCutOff(t *testing.T) {
	b := openBus(t)
	early := b.open("subject=orders.*")
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"},{"subject":"orders.3"}]`)
	s := b.open("subject=orders.*&start=oldest")
	f := s.next("msg")
	b.restart()
	if got := b.open("subject=orders.*&start=oldest", "Last-Event-ID: "+f.id).subjects(2); got != "orders.2 orders.3" {
		t.Errorf("by header: got %s", got)
	}
	for _, name := range []string{"last_event_id", "lastEventId", "start"} {
		if got := b.open("subject=orders.*&" + name + "=" + f.id).subjects(2); got != "orders.2 orders.3" {
			t.Errorf("by %s: got %s", name, got)
		}
	}
	if got := b.open("subject=orders.*", "Last-Event-ID: "+early.hello.id).subjects(3); got != "orders.1 orders.2 orders.3" {
		t.Errorf("cut off before the first event: got %s", got)
	}
}

func TestAStreamOverNamespacesResumesEachOfThem(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"}]`)
	b.publish(`[{"subject":"app.1"},{"subject":"app.2"}]`)
	s := b.open("subject=orders.*&subject=app.*&start=oldest")
	seen := make(map[string]bool)
	var last frame
	for range 3 {
		last = s.next("msg")
		seen[last.field("subject")] = true
	}
	if len(last.id) > bus.MaxIDLen || bus.CheckID(last.id) != nil {
		t.Errorf("resume point %q: want at most %d bytes of the safe alphabet", last.id, bus.MaxIDLen)
	}
	rest := b.open("subject=orders.*&subject=app.*&start=oldest", "Last-Event-ID: "+last.id)
	f := rest.next("msg")
	if seen[f.field("subject")] {
		t.Errorf("%s came twice", f.field("subject"))
	}
	seen[f.field("subject")] = true
	b.publish(`{"subject":"app.3"}`)
	if got := rest.next("msg").field("subject"); got != "app.3" || len(seen) != 4 {
		t.Errorf("got %s after %v, want app.3 after all four", got, seen)
	}
}

func TestAStreamStartsWhereItIsTold(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"}]`)
	third := b.publish(`{"subject":"orders.3"}`)
	b.publish(`{"id":"chosen-4","subject":"orders.4"}`)
	streams := make(map[string]*sse)
	for start, want := range map[string]string{
		"oldest":                      "orders.1 orders.2 orders.3 orders.4 orders.5",
		"%232":                        "orders.2 orders.3 orders.4 orders.5",
		"2":                           "orders.2 orders.3 orders.4 orders.5",
		"1h":                          "orders.1 orders.2 orders.3 orders.4 orders.5",
		third.field("created_at"):     "orders.3 orders.4 orders.5",
		"2000-01-01T00:00:00%2B02:00": "orders.1 orders.2 orders.3 orders.4 orders.5",
		third.field("id"):             "orders.4 orders.5",
		"chosen-4":                    "orders.5",
		"newest":                      "orders.5",
		"":                            "orders.5",
	} {
		streams[want+" from "+start] = b.open("subject=orders.*&start=" + start)
	}
	b.publish(`{"subject":"orders.5"}`)
	for wish, s := range streams {
		want, start, _ := strings.Cut(wish, " from ")
		if got := s.subjects(strings.Count(want, " ") + 1); got != want {
			t.Errorf("start=%s: got %s, want %s", start, got, want)
		}
	}
}

func TestAPositionThatIsGoneIsSaidInTheStream(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"}]`)
	incarnation := b.engine.Incarnation("orders")
	for id, want := range map[string]string{
		bus.FormatID(bus.Position{Incarnation: incarnation, Index: 9}):     `"resumed_index":3,"lost":7,"reason":"ahead"`,
		bus.FormatID(bus.Position{Incarnation: incarnation ^ 1, Index: 1}): `"resumed_index":1,"lost":null,"reason":"other_log"`,
		"something-else": `"resumed_index":1,"lost":null,"reason":"other_log"`,
	} {
		s := b.open("subject=orders.*", "Last-Event-ID: "+id)
		gap := s.next("gap")
		if !strings.Contains(gap.data, want) || gap.field("requested") != id || gap.field("namespace") != "orders" {
			t.Errorf("%s: got %s, want %s", id, gap.data, want)
		}
		again := b.open("subject=orders.*", "Last-Event-ID: "+gap.id)
		if again.hello.id != gap.id {
			t.Errorf("%s: a reconnect after the gap stands at %s, want %s and no second gap", id, again.hello.id, gap.id)
		}
	}
	s := b.open("subject=orders.*&start=%239")
	if got := s.next("gap").field("requested"); got != "#9" {
		t.Errorf("start=#9: got a gap for %s", got)
	}
}

func TestAPullAnswersOneArrayAndSaysWhereToGoOn(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1","payload":[1]},{"subject":"orders.x.y"},{"subject":"orders.2"},{"subject":"orders.3"}]`)
	var got []string
	resume := ""
	for range 4 {
		a := b.do("GET", "/?subject=orders.*&start=oldest&limit=1&until=newest&last_event_id="+resume, "", "Accept: application/json")
		var events []json.RawMessage
		if err := json.Unmarshal([]byte(a.body), &events); err != nil || a.status != http.StatusOK || len(events) > 1 {
			t.Fatalf("got %d %s, %v, want an array of at most one", a.status, a.body, err)
		}
		got = append(got, pretty(t, a.body))
		resume = a.header.Get("X-BUS-RESUME")
	}
	all := strings.Join(got, "")
	for i := range 3 {
		if strings.Count(all, fmt.Sprintf(`"subject":"orders.%d"`, i+1)) != 1 || got[3] != "[]" {
			t.Fatalf("got %v, want each event once and then none", got)
		}
	}
}

func TestLinesInsteadOfServerSentEvents(t *testing.T) {
	b := openBus(t)
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.2"}]`)
	a := b.do("GET", "/?subject=orders.*&start=oldest&until=newest", "", "Accept: application/x-ndjson")
	got := lines(a.body)
	if len(got) != 2 || !strings.Contains(got[0], `"subject":"orders.1"`) || !strings.Contains(got[1], `"subject":"orders.2"`) {
		t.Errorf("got %q, want two lines", a.body)
	}
	gap := b.do("GET", "/?subject=orders.*&until=newest", "", "Accept: application/x-ndjson", "Last-Event-ID: x")
	if got := lines(gap.body); len(got) != 3 || !strings.HasPrefix(got[0], `{"gap":{"namespace":"orders"`) {
		t.Errorf("got %q, want a gap and two events", gap.body)
	}
}

func TestHeadersTellWithoutAStream(t *testing.T) {
	b := openBus(t)
	a := b.do("HEAD", "/?subject=orders.*", "")
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/event-stream" || a.body != "" {
		t.Errorf("HEAD: got %d %v", a.status, a.header)
	}
	if a := b.do("HEAD", "/", ""); a.status != http.StatusBadRequest {
		t.Errorf("HEAD without a subject: got %d, want 400", a.status)
	}
}

func TestAnIdleStreamHearsAPingThatMovesItsResumePoint(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.Heartbeat = 20 * time.Millisecond })
	s := b.open("subject=orders.wanted")
	b.publish(`[{"subject":"orders.other"},{"subject":"orders.other"}]`)
	want := bus.FormatID(bus.Position{Incarnation: b.engine.Incarnation("orders"), Index: 2})
	for {
		f, ok := s.read()
		if !ok {
			t.Fatal("the stream ended, want pings")
		}
		if f.event == "ping" && f.id == want {
			if got := f.field("tail"); got != `{"orders":2}` {
				t.Errorf("tail: got %s", got)
			}
			return
		}
	}
}

func TestAnOldStreamIsEndedForAReconnect(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxStreamAge = 10 * time.Millisecond })
	if retry := b.open("subject=orders.*").ended(); len(retry) != 4 {
		t.Errorf("retry: got %q, want 1000 to 5000", retry)
	}
}

func TestAPersonInABrowserIsShownHow(t *testing.T) {
	b := openBus(t)
	a := b.do("GET", "/", "", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
	if a.status != http.StatusBadRequest || !strings.Contains(a.body, "<title>bus</title>") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("got %d %.80s, want a page and still 400", a.status, a.body)
	}
}
