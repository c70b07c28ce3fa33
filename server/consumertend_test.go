package server_test

import (
	"testing"
	"time"
)

func TestTheLastAttemptOfAPullBecomesADeadLetterWithNobodyConnected(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.created","payload":1}`)
	b.publish(`{"subject":"orders.created","payload":2}`)
	ids := b.pull("&consumer=billing&start=oldest&redelivery=20ms&redelivery_count=1&limit=1")
	if len(ids) != 1 {
		t.Fatalf("got %v, want one event", ids)
	}
	for deadline := time.Now().Add(patience); len(b.dead("orders", "")) != 1; {
		if time.Now().After(deadline) {
			t.Fatal("no dead letter")
		}
	}
	b.refused(404, "not_delivered", "PUT", "/?consumer=billing&event_id="+ids[0], "")
}

func TestAfterARestartAnAckUpToTakesAllThatWasPulled(t *testing.T) {
	b := openBus(t)
	for range 5 {
		b.publish(`{"subject":"orders.created","payload":1}`)
	}
	ids := b.pull("&consumer=billing&start=oldest&redelivery=1h&limit=4")
	b.restart()
	if a := b.do("PUT", "/?consumer=billing&up_to=true&event_id="+ids[3], ""); a.status != 202 || a.field("acked") != "4" {
		t.Errorf("got %d %s, want four", a.status, a.body)
	}
	if again := b.pull("&consumer=billing"); len(again) != 1 {
		t.Errorf("got %v, want the fifth alone", again)
	}
}
