package server_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
)

// metric reads one number of /metrics.
func (b *testBus) metric(name string) int {
	b.t.Helper()
	text := b.do("GET", "/metrics", "").body
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		b.t.Fatalf("there is no metric %s", name)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		b.t.Fatal(err)
	}
	return int(n)
}

func limited(name, limit string) string { return fmt.Sprintf("%s{limit=%q}", name, limit) }

// checkLimit compares what /metrics says of a limit.
func (b *testBus) checkLimit(limit string, most, used, refused int) {
	b.t.Helper()
	for name, want := range map[string]int{"bus_limit": most, "bus_limit_used": used, "bus_limit_refusals_total": refused} {
		if got := b.metric(limited(name, limit)); got != want {
			b.t.Errorf("%s of %s: got %d, want %d", name, limit, got, want)
		}
	}
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// turnedAway asks for a stream that the server has no room for, and checks that
// an EventSource will come back, in a while, and that everybody knows why.
func (b *testBus) turnedAway(code string, headers ...string) {
	b.t.Helper()
	a := b.do("GET", "/?subject=orders.*&last_event_id=e_1", "", headers...)
	if got := a.header.Get("Content-Type"); a.status != http.StatusOK || got != "text/event-stream" {
		b.t.Fatalf("got %d %s %s, want a stream", a.status, got, a.body)
	}
	found := regexp.MustCompile(`\Aretry: (\d+)\n\nevent: problem\ndata: (.*)\n\n\z`).FindStringSubmatch(a.body)
	if found == nil {
		b.t.Fatalf("got %q, want a retry, a problem and the end", a.body)
	}
	if n, err := strconv.Atoi(found[1]); err != nil || n < 5000 || n >= 15000 {
		b.t.Errorf("retry: got %s, want 5000 to 15000", found[1])
	}
	problem := answer{body: found[2]}
	if problem.field("code") != code || problem.field("retry_after") == "" {
		b.t.Errorf("got %s, want %s with retry_after", found[2], code)
	}
}

func TestStreamsOverTheLimitOfAnAddressEndCleanlyAndPullsAreRefused(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxStreamsPerAddress = 2 })
	first := b.open("subject=orders.*")
	b.open("subject=orders.*")
	b.checkLimitOpen("streams_per_address", 2, 2)
	b.turnedAway("too_many_streams")
	for _, accept := range []string{"application/json", "application/x-ndjson"} {
		a := b.refused(429, "too_many_streams", "GET", "/?subject=orders.*&until=newest", "", "Accept: "+accept)
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 5 || n > 15 {
			t.Errorf("Retry-After: got %q, want 5 to 15", a.header.Get("Retry-After"))
		}
	}
	if a := b.do("HEAD", "/?subject=orders.*", ""); a.status != http.StatusOK {
		t.Errorf("HEAD opens no stream: got %d, want 200", a.status)
	}
	b.publish(`{"subject":"orders.1"}`)
	b.checkLimit("streams_per_address", 2, 2, 3)
	first.close()
	eventually(t, "the place of a stream that ended is not free", func() bool { return b.metric(limited("bus_limit_used", "streams")) == 1 })
	b.open("subject=orders.*")
}

// checkLimitOpen is checkLimit before anything was refused.
func (b *testBus) checkLimitOpen(limit string, most, used int) {
	b.t.Helper()
	if got := b.metric(limited("bus_limit", limit)); got != most {
		b.t.Errorf("bus_limit of %s: got %d, want %d", limit, got, most)
	}
	if got := b.metric(limited("bus_limit_used", limit)); got != used {
		b.t.Errorf("bus_limit_used of %s: got %d, want %d", limit, got, used)
	}
}

func TestStreamsOverTheLimitOfTheServerEndCleanlyAndPullsAreRefused(t *testing.T) {
	log := &lockedBuffer{}
	b := openBus(t, func(c *server.Config) { c.MaxStreams, c.Logger = 1, log.logger() })
	b.open("subject=orders.*&subject=app.*")
	b.turnedAway("server_full")
	b.refused(503, "server_full", "GET", "/?subject=orders.*&wait=1s", "", "Accept: application/json")
	b.checkLimit("streams", 1, 1, 2)
	if got := strings.Count(log.String(), "limit=streams"); got != 1 {
		t.Errorf("got it logged %d times, want once a minute:\n%s", got, log)
	}
	// A mistake is told as such, also now: coming back would not mend it.
	b.refused(400, "invalid_parameter", "GET", "/?subject=orders.*&ack=manuel", "")
}

// A publisher that waits for its readers takes the place of a stream: over
// HTTP/2 there could be hundreds on each connection.
func TestPublishersThatWaitCountAsStreams(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxStreams = 2 })
	s := b.open("subject=orders.*")
	waiting := make(chan answer, 1)
	go func() { waiting <- b.do("POST", "/?confirm=1&timeout=20s", `{"subject":"orders.1"}`) }()
	asked := s.next("msg")
	b.checkLimitOpen("streams", 2, 2)
	for _, query := range []string{"confirm=1", "reply=true"} {
		b.refused(503, "server_full", "POST", "/?timeout=20s&"+query, `{"subject":"orders.1"}`)
	}
	if got := b.publish(`{"subject":"orders.1"}`).field("index"); got != "2" {
		t.Errorf("who does not wait: got index %s, want 2: nothing of the refused is stored", got)
	}
	b.ack(s, asked, "")
	if a := <-waiting; a.status != http.StatusAccepted {
		t.Errorf("got %d %s, want 202", a.status, a.body)
	}
	eventually(t, "the place of a publisher that was answered is not free", func() bool { return b.metric(limited("bus_limit_used", "streams")) == 1 })
}

func TestAStreamThatCannotBeginGivesItsPlaceBack(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxStreams = 1 })
	for range 3 {
		b.refused(400, "invalid_parameter", "GET", "/?subject=orders.*&start=never", "")
		b.do("GET", "/?subject=orders.*&until=newest", "")
	}
	eventually(t, "places are not given back", func() bool { return b.metric(limited("bus_limit_used", "streams")) == 0 })
}

func TestWithoutALimitNothingIsCountedAsRefused(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxConnections, c.MaxStreams, c.MaxStreamsPerAddress = -1, -1, -1 })
	for range 20 {
		b.open("subject=orders.*")
	}
	b.checkLimitOpen("streams", 0, 20)
	b.checkLimitOpen("streams_per_address", 0, 20)
	for line := range strings.Lines(b.do("GET", "/metrics", "").body) {
		if strings.HasPrefix(line, "bus_limit_refusals_total{") && !strings.HasSuffix(line, " 0\n") {
			t.Errorf("got %s, want no refusal", line)
		}
	}
}

func TestSubjectsPatternsAndWindowsAreHeldToTheirLimits(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxSubjects, c.MaxPatternLength, c.MaxInflight = 2, 10, 3 })
	b.refused(400, "invalid_parameter", "GET", "/?subject=orders.1&subject=orders.2&subject=orders.3", "")
	b.checkLimit("subjects", 2, 0, 1)
	b.refused(400, "invalid_subject", "GET", "/?subject=orders.four", "")
	b.checkLimit("pattern_length", 10, 0, 1)
	b.refused(400, "invalid_parameter", "GET", "/?subject=orders.*&ack=manual&inflight=4", "")
	b.publish(`[{"subject":"orders.1"},{"subject":"orders.1"},{"subject":"orders.1"},{"subject":"orders.1"},{"subject":"orders.longer"}]`)
	for _, query := range []string{"", "&inflight=3"} { // without one it is the limit, which is less than the usual 64
		s := b.open("subject=orders.*&subject=orders.x&start=oldest&ack=manual&redelivery=1h" + query)
		s.subjects(3)
		b.checkLimit("inflight", 3, 3, 1)
		b.ack(s, s.hello, "") // unknown: it holds nothing back
		s.close()
	}
	b.checkLimit("subjects", 2, 2, 1)
	b.checkLimit("pattern_length", 10, 8, 1)
}

func TestTheCommonBoundOfBodiesLeavesRoomForTheLargestArray(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxEvent, c.MaxBatch, c.MaxBuffered = 1<<10, 1<<10, 1 })
	if got, want := b.metric(limited("bus_limit", "buffered_bytes")), 8*4<<20; got != want {
		t.Errorf("got %d, want %d: less would refuse the largest array", got, want)
	}
	if got := b.metric(limited("bus_limit_used", "buffered_bytes")); got != 0 {
		t.Errorf("got %d bytes held at rest, want 0", got)
	}
}

func TestKeysBeyondTheLimitAreForgottenOldestFirstAndItIsSaid(t *testing.T) {
	log := &lockedBuffer{}
	b := openBus(t, func(c *server.Config) { c.DedupKeys, c.Logger = 2, log.logger() })
	for _, key := range []string{"a", "b", "c", "d"} {
		b.publish(`{"subject":"orders.1","key":"` + key + `"}`)
	}
	if got := b.publish(`{"subject":"orders.1","key":"d"}`).field("index"); got != "4" {
		t.Errorf("the newest key: got index %s, want 4, a repeat", got)
	}
	if got := b.publish(`{"subject":"orders.1","key":"a"}`).field("index"); got != "5" {
		t.Errorf("the oldest key: got index %s, want 5, stored anew", got)
	}
	for name, want := range map[string]int{"bus_dedup_keys": 2, "bus_dedup_forgotten_early_total": 3} {
		if got := b.metric(name + `{namespace="orders"}`); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
	b.checkLimitOpen("dedup_keys", 2, 2)
	if got := strings.Count(log.String(), "keys are forgotten before"); got != 1 {
		t.Errorf("got it said %d times, want once:\n%s", got, log)
	}
}
