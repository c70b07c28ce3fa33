package server_test

import (
	"path/filepath"
	"strings"
	"testing"

	"example.com/bus/server/disk"
)

func TestARepairedGapIsSaidOnceAndNotAgainToWhoResumesBehindIt(t *testing.T) {
	b := openBus(t)
	for _, subject := range []string{"orders.1", "orders.2", "orders.3"} {
		b.publish(`{"subject":"` + subject + `","payload":"` + strings.Repeat(subject, 100) + `"}`)
	}
	address := strings.TrimPrefix(b.url, "http://")
	b.stop()
	flip(t, filepath.Join(b.dir, "orders.log"), -1500) // inside the second
	if did, err := disk.Repair(b.dir, "orders", disk.Options{}, true); err != nil || !did.Done {
		t.Fatalf("repair: got %+v and %v", did, err)
	}
	b.start(address)
	b.publish(`{"subject":"orders.4"}`)
	const manual = "&ack=manual&inflight=1"
	for _, query := range []string{"", "&subject=app.*", manual} {
		s := b.open("subject=orders.*&start=oldest" + query)
		acked := func(want string) {
			t.Helper()
			got := s.next("msg")
			if got.field("subject") != want {
				t.Errorf("%s: got %s, want %s", query, got.data, want)
			}
			if query == manual {
				b.ack(s, got, "")
			}
		}
		acked("orders.1")
		gap := s.next("gap")
		if !strings.Contains(gap.data, `"requested":"#2","resumed_index":3,"lost":1,"reason":"damage","repaired_at":"2`) {
			t.Errorf("%s: got %s, want a repaired gap of one", query, gap.data)
		}
		acked("orders.3") // and the gap was said once
		acked("orders.4")
		s.close()
		again := b.open("subject=orders.*"+query, "Last-Event-ID: "+gap.id)
		if got := again.next("msg").field("subject"); gap.id == "" || got != "orders.3" {
			t.Errorf("%s: resumed at %q behind the gap: got %s, want the next event", query, gap.id, got)
		}
		again.close()
	}
	a := b.do("GET", "/?subject=orders.*&start=oldest&until=newest", "", "Accept: application/json")
	if got := a.header.Get("X-BUS-GAP"); strings.Count(got, `"lost":1`) != 1 || !strings.Contains(got, "repaired_at") || strings.Contains(a.body, "orders.2") {
		t.Errorf("a pull: got %q and %s, want the gap once in a header", got, a.body)
	}
	again := b.do("GET", "/?subject=orders.*&until=newest", "", "Accept: application/json", "Last-Event-ID: "+a.header.Get("X-BUS-RESUME"))
	if got := again.header.Get("X-BUS-GAP"); got != "" {
		t.Errorf("the next pull: got %q, want no gap", got)
	}
	lines := b.do("GET", "/?subject=orders.*&start=oldest&until=newest", "", "Accept: application/x-ndjson")
	if strings.Count(lines.body, `{"gap":{"namespace":"orders","requested":"#2"`) != 1 {
		t.Errorf("lines: got %s, want the gap once", lines.body)
	}
	b.refused(410, "event_lost", "GET", "/v1/namespaces/orders/events/2", "")
}
