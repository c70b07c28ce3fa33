package server_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestOfAStreamAllLinesInFrontOfTheRefusedOneAreStoredAndNoneBehindIt(t *testing.T) {
	b := &testBus{t: t, dir: t.TempDir(), delayed: 1}
	b.begin(admin)
	b.publish(`{"subject":"app.d","delay":"1h"}`)
	b.publish(`{"subject":"app.k","key":"K","payload":"a"}`)
	b.publish(`{"subject":"app.k","id":"I","payload":"a"}`)
	b.want(201, "PUT", "/v1/namespaces/aged", `{"retention":{"max_age":"1m"}}`)
	b.want(201, "PUT", "/v1/namespaces/few", `{"retention":{"max_events":9,"discard":"new"}}`)
	for range 6 {
		b.publish(`{"subject":"few.n"}`)
	}
	for name, c := range map[string]struct {
		namespace, refused, code string
		front                    int
	}{
		"too many that wait":                 {"app", `{"subject":"app.n","delay":"1h"}`, "too_many_delayed", 3},
		"as the first line":                  {"app", `{"subject":"app.n","delay":"1h"}`, "too_many_delayed", 0},
		"a key of another event":             {"app", `{"subject":"app.k","key":"K","payload":"b"}`, "key_conflict", 4},
		"an id of another event":             {"app", `{"subject":"app.k","id":"I","payload":"b"}`, "key_conflict", 2},
		"put off for longer than it is kept": {"aged", `{"subject":"aged.n","delay":"2m"}`, "invalid_event", 3},
		"of another namespace":               {"orders", `{"subject":"aged.n","delay":"2m"}`, "invalid_event", 5},
		"beyond the limit":                   {"few", `{"subject":"few.n"}`, "no_space", 3},
	} {
		_, before := b.engine.Bounds(c.namespace)
		body := "\n" + strings.Repeat(fmt.Sprintf("{\"subject\":\"%s.n\"}\n", c.namespace), c.front) + c.refused + "\n" + fmt.Sprintf("{\"subject\":\"%s.n\"}\n", c.namespace)
		a := b.do("POST", "/", body, "Content-Type: application/x-ndjson")
		got := lines(a.body)
		if last := got[len(got)-1]; len(got) != c.front+1 || !strings.Contains(last, `"`+c.code+`"`) || !strings.Contains(last, fmt.Sprintf(`"line":%d`, c.front+2)) {
			t.Errorf("%s: got %s, want %d receipts and %s in line %d", name, a.body, c.front, c.code, c.front+2)
		}
		if _, next := b.engine.Bounds(c.namespace); next-before != uint64(c.front) {
			t.Errorf("%s: got %d stored, want %d", name, next-before, c.front)
		}
	}
	if got := b.do("GET", "/metrics", "").body; !strings.Contains(got, "bus_limit_refusals_total{limit=\"delayed\"} 2\n") {
		t.Error("got another number, want each refused request counted once")
	}
}
