package server_test

import (
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
	for index := range uint64(20) {
		if !strings.Contains(text, fmt.Sprintf("event=%s ", b.resumeAt(index+1))) {
			t.Errorf("got %s, want event %d named", text, index+1)
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
