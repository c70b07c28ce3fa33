package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"example.com/bus/server"
)

func TestEveryDeadLetterIsCountedAndOnlyTheFirstAreNamedInTheLog(t *testing.T) {
	const events = 200
	log := &lockedBuffer{}
	b := openBus(t, func(c *server.Config) { c.Logger = log.logger() })
	b.publish("[" + strings.TrimSuffix(strings.Repeat(`{"subject":"orders.1"},`, events), ",") + "]")
	b.open("subject=orders.*&start=oldest&ack=manual&redelivery=10ms&redelivery_count=1&inflight=200")
	b.awaitMetric("bus_dead_letters_total", func(n int) bool { return n == events })
	text := log.String()
	if got := strings.Count(text, "given up"); got != 20 {
		t.Errorf("got %d lines, want 20 a minute", got)
	}
	named := 0
	for index := range uint64(events) { // several chunks become dead letters side by side
		if strings.Contains(text, fmt.Sprintf("event=%s ", b.resumeAt(index+1))) {
			named++
		}
	}
	if named != 20 {
		t.Errorf("got %d events named in %s, want 20", named, text)
	}
}

func TestADeadLetterIsOneLineInEveryFormat(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(1)
	b.pull("&consumer=billing&start=oldest")
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+ids[0], "")
	for _, accept := range []string{"application/json", "application/x-ndjson", "text/event-stream"} {
		a := b.do("GET", "/?subject=_dead_.%3E&start=oldest&until=newest", "", "Accept: "+accept)
		found := false
		for line := range strings.Lines(a.body) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "data: ")
			found = found || strings.Contains(line, ids[0]) && json.Valid([]byte(strings.TrimSuffix(line, ",")))
		}
		if !found {
			t.Errorf("%s: got %s, want a line that is a whole letter", accept, a.body)
		}
	}
}

func TestADeadLetterIsOneLineToEveryReader(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(1)
	b.pull("&consumer=billing&start=oldest")
	b.want(202, "PUT", "/?consumer=billing&verdict=term&event_id="+ids[0], "")
	f := b.open("subject=_dead_.orders.*&start=oldest").next("msg")
	if got := f.field("subject"); got != "_dead_.orders.billing" || !strings.Contains(f.data, ids[0]) {
		t.Errorf("got the frame %q, want the whole letter in its data", f.data)
	}
	body := b.do("GET", "/?subject=_dead_.orders.*&start=oldest&until=newest", "", "Accept: application/x-ndjson").body
	for _, line := range lines(body) {
		pretty(t, line)
	}
}
