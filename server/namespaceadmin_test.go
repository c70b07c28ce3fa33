package server_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/bus/server"
)

func admin(c *server.Config) { c.Admin = true }

func (b *testBus) left(prefix string) (found []string) {
	b.t.Helper()
	for _, pattern := range []string{prefix + "*", filepath.Join("derived", prefix+"*")} {
		paths, err := filepath.Glob(filepath.Join(b.dir, pattern))
		if err != nil {
			b.t.Fatal(err)
		}
		found = append(found, paths...)
	}
	return found
}

func TestANamespaceIsDeclaredAndDeletedWhileTheServerRunsAndThatIsRemembered(t *testing.T) {
	b := openBus(t, admin)
	b.refused(404, "unknown_namespace", "POST", "/", `{"subject":"invoices.sent"}`)
	b.want(201, "PUT", "/v1/namespaces/invoices", "")
	b.want(200, "PUT", "/v1/namespaces/invoices", "{}")
	s := b.open("subject=invoices.*")
	for range 3 {
		if a := b.publish(`{"subject":"invoices.sent","key":"k","payload":1}`); a.field("index") != "1" {
			t.Fatalf("got %s, want the key to count", a.body)
		}
	}
	s.next("msg")
	b.do("GET", "/?subject=invoices.*&consumer=mail&start=oldest&until=newest", "", "Accept: application/json")
	if a := b.do("GET", "/v1/namespaces/invoices", ""); a.field("consumers") != "1" || a.field("rate") != "0.016666666666666666" {
		t.Errorf("got %s, want one consumer and one event a minute", a.body)
	}
	b.restart() // without being an administrator's any more
	if a := b.publish(`{"subject":"invoices.sent","key":"k","payload":1}`); a.field("duplicate") != "true" {
		t.Fatalf("after a restart: got %s, want the key to be known", a.body)
	}
	b.refused(403, "admin_only", "DELETE", "/v1/namespaces/invoices?confirm=invoices", "")
	b.stop()
	b.start("127.0.0.1:0", admin)
	s = b.open("subject=invoices.*")
	mail := b.open("subject=invoices.*&consumer=mail")
	b.refused(400, "invalid_parameter", "DELETE", "/v1/namespaces/invoices", "")
	b.refused(400, "invalid_parameter", "DELETE", "/v1/namespaces/invoices?confirm=orders", "")
	b.want(204, "DELETE", "/v1/namespaces/invoices?confirm=invoices", "")
	mail.next("msg") // it was leased, which a restart forgets
	for _, stream := range []*sse{s, mail} {
		if f := stream.next("problem"); f.field("code") != "unknown_namespace" {
			t.Errorf("got %s, want why the stream ends", f.data)
		}
	}
	if left := b.left("invoices."); len(left) > 0 {
		t.Errorf("got %v left, want nothing", left)
	}
	b.refused(404, "unknown_namespace", "POST", "/", `{"subject":"invoices.sent"}`)
	b.refused(404, "unknown_namespace", "DELETE", "/v1/namespaces/invoices?confirm=invoices", "")
	b.want(201, "PUT", "/v1/namespaces/invoices", "")
	if a := b.publish(`{"subject":"invoices.sent","key":"k","payload":2}`); a.field("index") != "1" || a.field("duplicate") != "" {
		t.Errorf("in a new one of the name: got %s, want the first event", a.body)
	}
	if a := b.do("GET", "/v1/namespaces/invoices/consumers", ""); strings.Contains(a.body, "mail") {
		t.Errorf("got %s, want its consumers to be gone, too", a.body)
	}
	b.restart()
	if a := b.do("GET", "/v1/namespaces/invoices", ""); a.field("last_index") != "1" {
		t.Errorf("got %s", a.body)
	}
}

func TestADeletionThatACrashCutShortIsFinishedByTheNextStart(t *testing.T) {
	b := openBus(t, admin)
	b.want(201, "PUT", "/v1/namespaces/invoices", "")
	b.publish(`{"subject":"invoices.sent"}`)
	log, err := os.ReadFile(filepath.Join(b.dir, "invoices.log"))
	if err != nil {
		t.Fatal(err)
	}
	b.want(204, "DELETE", "/v1/namespaces/invoices?confirm=invoices", "")
	b.stop()
	// As a crash leaves it between the two notes: the last one is not there yet,
	// and neither is the file gone.
	own := filepath.Join(b.dir, "_namespaces_.log")
	notes, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.LastIndex(string(notes), `"deleted"`)
	if err := os.Truncate(own, int64(cut)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "invoices.log"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start("127.0.0.1:0", admin)
	if left := b.left("invoices."); len(left) > 0 {
		t.Errorf("got %v left, want nothing", left)
	}
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/invoices", "")
}

func TestOnlyAdministratorsDeclareAndDelete(t *testing.T) {
	b := openBus(t)
	b.refused(403, "admin_only", "PUT", "/v1/namespaces/invoices", "")
	b.refused(403, "admin_only", "DELETE", "/v1/namespaces/orders?confirm=orders", "")
	b.refused(405, "method_not_allowed", "POST", "/v1/namespaces/orders", "")
	b.refused(403, "admin_only", "POST", "/v1/namespaces/orders/purge?before=1", "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.server.ServeAdmin(l) }()
	everybody := b.url
	b.url = "http://" + l.Addr().String()
	b.want(201, "PUT", "/v1/namespaces/invoices", "")
	for _, bad := range []string{"_x", "a.b", "a%20b", "Orders"} {
		if a := b.do("PUT", "/v1/namespaces/"+bad, ""); a.status/100 != 4 {
			t.Errorf("%s: got %d %s, want a refusal", bad, a.status, a.body)
		}
	}
	b.refused(409, "declared_at_start", "DELETE", "/v1/namespaces/orders?confirm=orders", "")
	b.refused(400, "invalid_json", "PUT", "/v1/namespaces/invoices", `{"retention":"7d"}`)
	b.refused(400, "invalid_parameter", "PUT", "/v1/namespaces/invoices", `{"retention":{"max_age":"soon"}}`)
	b.refused(400, "invalid_parameter", "PUT", "/v1/namespaces/invoices", `{"retention":{"max_bytes":-1}}`)
	b.refused(400, "invalid_parameter", "POST", "/v1/namespaces/invoices/purge", "")
	b.refused(400, "invalid_parameter", "PUT", "/v1/namespaces/receipts", `{"retention":{"max_age":"1s"}}`)
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/receipts", "") // what is refused leaves nothing behind
	b.url = everybody
	b.publish(`{"subject":"invoices.sent"}`)
	b.stop()
	if err := <-served; err != nil {
		t.Errorf("ServeAdmin: %v", err)
	}
}

func TestRetentionIsChangedWhileTheServerRunsAndRemembered(t *testing.T) {
	b := openBus(t, admin)
	for range 40 {
		b.publish(`{"subject":"orders.created"}`)
	}
	b.want(200, "POST", "/v1/namespaces/orders/purge?before=31", "")
	if a := b.do("GET", "/v1/namespaces/orders", ""); a.field("first_index") != "1" {
		t.Errorf("got %s: a segment that has more than that stays", a.body)
	}
	b.want(200, "POST", "/v1/namespaces/orders/purge?before=41", "")
	if a := b.do("GET", "/v1/namespaces/orders", ""); a.field("first_index") != "41" || a.field("events") != "0" {
		t.Errorf("got %s, want all of it to be gone", a.body)
	}
	if got := b.publish(`{"subject":"orders.created"}`).field("index"); got != "41" {
		t.Errorf("got index %s, want 41: none is given twice", got)
	}
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"max_age":"7d","max_events":16,"discard":"old"}}`)
	b.want(201, "PUT", "/v1/namespaces/mail", `{"retention":{"max_bytes":1048576,"discard":"new"}}`)
	b.restart()
	for name, want := range map[string]string{"orders": `{"max_age":"168h0m0s","max_events":16,"discard":"old"}`, "mail": `{"max_bytes":1048576,"discard":"new"}`} {
		if got := b.do("GET", "/v1/namespaces/"+name, "").field("retention"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for range 60 {
		b.publish(`{"subject":"orders.created"}`)
	}
	eventually(t, "the oldest events are not deleted", func() bool {
		first, _ := b.engine.Bounds("orders")
		return first > 41
	})
	b.stop()
	b.start("127.0.0.1:0", admin)
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{}}`)
	b.restart()
	if got := b.do("GET", "/v1/namespaces/orders", "").field("retention"); got != "" {
		t.Errorf("got %s, want everything to be kept", got)
	}
}
