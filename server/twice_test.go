package server_test

import (
	"strings"
	"testing"
)

// Which of two was meant nobody knows; the one that is dropped in silence is the
// one that mattered.
func TestTwoThatDifferAreRefusedByNameWhereOneIsWanted(t *testing.T) {
	b := openBus(t)
	for _, path := range []string{"/", "/?subject=orders.1"} {
		body := map[string]string{"/": `{"subject":"orders.1"}`}[path]
		for _, keys := range [][]string{{"a", "b"}, {`"a"`, "b"}, {"a", ""}, {"", "a"}} {
			a := b.refused(400, "invalid_event", "POST", path, body, "Idempotency-Key: "+keys[0], "Idempotency-Key: "+keys[1])
			if !strings.Contains(a.field("detail"), "Idempotency-Key stands twice") {
				t.Errorf("got %s, want the header named", a.body)
			}
		}
		first := b.do("POST", path, body, "Idempotency-Key: k"+path, `Idempotency-Key: "k`+path+`"`)
		if first.status != 202 {
			t.Errorf("twice the same: got %d %s, want 202", first.status, first.body)
		}
	}
	b.refused(400, "invalid_event", "POST", "/", `[{"subject":"orders.1"}]`, "Idempotency-Key: ", "Idempotency-Key: a")
	for _, header := range []string{"X: y", "Last-Event-ID: e_000000V"} {
		a := b.refused(400, "invalid_parameter", "GET", "/?subject=orders.*&until=newest&last_event_id=e_000000V&lastEventId=e_0000001", "", header)
		if !strings.Contains(a.field("detail"), "last_event_id") || !strings.Contains(a.field("detail"), "lastEventId") {
			t.Errorf("got %s, want both named", a.body)
		}
	}
	b.open("subject=orders.*&last_event_id=e_000000V&lastEventId=e_000000V").next("gap")
}
