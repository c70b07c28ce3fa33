package server_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// What was answered and has been seen must not be gone without a word, because
// the damage happens to be at the end, where a log seems to be shorter.
func TestADamagedEndIsSaidToEveryReaderAndIsNotTheEnd(t *testing.T) {
	b := openBus(t)
	b.publish(`{"subject":"orders.1"}`)
	good := b.publish(`{"subject":"orders.2"}`).field("id")
	gone := b.publish(`{"subject":"orders.3","payload":"` + strings.Repeat("x", 500) + `"}`).field("id")
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	flip(t, filepath.Join(b.dir, "orders.log"), -200)
	b.start(address)
	const want = `{"namespace":"orders","requested":"#3","resumed_index":3,"lost":null,"reason":"damage"}`
	for _, test := range []struct{ query, last, subjects string }{
		{"start=oldest", "", "orders.1 orders.2"},
		{"start=newest", "", ""},
		{"start=%233", "", ""},
		{"start=%2377", "", ""},
		{"start=1h", "", "orders.1 orders.2"},
		{"start=newest", good, ""},
		{"start=newest", gone, ""},
		{"start=newest&ack=manual", gone, ""},
		{"start=newest&subject=app.*", gone, ""},
	} {
		query := "subject=orders.*&" + test.query
		n := len(strings.Fields(test.subjects))
		live := b.open(query, "Last-Event-ID: "+test.last)
		if got := live.subjects(n); got != test.subjects {
			t.Errorf("%s after %q: got %s, want %s", test.query, test.last, got, test.subjects)
		}
		if got := live.next("gap").data; got != want {
			t.Errorf("%s after %q: got the gap %s, want %s", test.query, test.last, got, want)
		}
		live.close()
		bounded := b.open(query+"&until=newest", "Last-Event-ID: "+test.last)
		bounded.subjects(n)
		if got := bounded.next("gap").data; got != want {
			t.Errorf("%s until newest: got the gap %s, want %s", test.query, got, want)
		}
		if !strings.Contains(test.query, "manual") {
			bounded.reached("until")
		}
		a := b.do("GET", "/?"+strings.ReplaceAll(query, "&ack=manual", "")+"&until=newest", "", "Accept: application/json", "Last-Event-ID: "+test.last)
		if got := a.header.Get("X-BUS-GAP"); got != "["+want+"]" || strings.Count(a.body, `"subject"`) != n {
			t.Errorf("%s: a pull: got %q and %s, want the gap once", test.query, got, a.body)
		}
	}
	for _, name := range []string{"3", "4", gone} {
		b.refused(http.StatusInternalServerError, "corrupt", "GET", "/v1/namespaces/orders/events/"+name, "")
	}
	if a := b.do("GET", "/v1/namespaces/orders/events/2", ""); a.status != http.StatusOK {
		t.Errorf("before the damage: got %d %s, want 200", a.status, a.body)
	}
	b.refused(http.StatusNotFound, "unknown_event", "GET", "/v1/namespaces/app/events/3", "")
}
