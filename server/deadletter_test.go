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
