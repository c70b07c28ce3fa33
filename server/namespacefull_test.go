package server_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/server"
)

// fill starts the server again on a disk that is too full for anything, or, with
// false, on one that has room.
func (b *testBus) fill(full bool) {
	b.t.Helper()
	b.stop()
	if b.minFree = 0; full {
		b.minFree = 1 << 60
	}
	b.start("127.0.0.1:0", admin)
}

func TestADeclarationThatAFullDiskRefusesDeclaresNothing(t *testing.T) {
	b := openBus(t, admin)
	b.want(201, "PUT", "/v1/namespaces/mail", "")
	b.fill(true)
	for _, body := range []string{"", `{"retention":{"max_events":5}}`} {
		b.refused(507, "no_space", "PUT", "/v1/namespaces/inv", body)
	}
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/inv", "")
	b.refused(404, "unknown_namespace", "POST", "/", `{"subject":"inv.a"}`)
	if left := b.left("inv."); len(left) > 0 {
		t.Errorf("got %v left, want nothing", left)
	}
	b.fill(false)
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/inv", "")
	b.want(201, "PUT", "/v1/namespaces/inv", "")
	b.publish(`{"subject":"inv.a"}`)
}

func TestARefusedDeclarationLeavesALogThatIsThereAlone(t *testing.T) {
	b := openBus(t, admin)
	b.want(201, "PUT", "/v1/namespaces/mail", "")
	b.stop()
	log, err := os.ReadFile(filepath.Join(b.dir, "mail.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "found.log"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	b.start("127.0.0.1:0", admin)
	if a := b.do("PUT", "/v1/namespaces/found", ""); a.status != 500 || !strings.Contains(a.body, "the same log under two names") {
		t.Errorf("got %d %s, want it refused", a.status, a.body)
	}
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/found", "")
	if left := b.left("found.log"); len(left) != 1 {
		t.Errorf("got %v, want the log that was there", left)
	}
}

func TestARetentionThatAFullDiskRefusesDeletesNothing(t *testing.T) {
	b := openBus(t, admin)
	for range 40 {
		b.publish(`{"subject":"app.a"}`)
	}
	b.want(200, "PUT", "/v1/namespaces/orders", `{"retention":{"max_age":"7d"}}`)
	b.fill(true)
	for _, name := range []string{"app", "orders"} {
		b.refused(507, "no_space", "PUT", "/v1/namespaces/"+name, `{"retention":{"max_events":5}}`)
	}
	for range 2 {
		for name, want := range map[string]string{"app": "", "orders": `{"max_age":"168h0m0s","discard":"old"}`} {
			if got := b.do("GET", "/v1/namespaces/"+name, "").field("retention"); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
		if first, next := b.engine.Bounds("app"); first != 1 || next != 41 {
			t.Errorf("got events %d to %d, want 1 to 40", first, next-1)
		}
		b.fill(false)
	}
}

func TestADeletionThatAFullDiskRefusesDeletesNothing(t *testing.T) {
	b := openBus(t, admin)
	b.want(201, "PUT", "/v1/namespaces/mail", "")
	b.publish(`{"subject":"mail.a"}`)
	b.do("GET", "/?subject=mail.*&consumer=post&start=oldest&until=newest", "", "Accept: application/json")
	b.fill(true)
	b.refused(507, "no_space", "DELETE", "/v1/namespaces/mail?confirm=mail", "")
	for range 2 {
		if a := b.do("GET", "/v1/namespaces/mail", ""); a.field("last_index") != "1" || a.field("consumers") != "1" {
			t.Errorf("got %s, want the event and the consumer", a.body)
		}
		if got := b.open("subject=mail.*&start=oldest").subjects(1); got != "mail.a" {
			t.Errorf("got %s, want it to be read", got)
		}
		b.fill(false)
	}
}

func TestWhatADeletionHasLeftOfConsumersIsDeletedByTheNextStart(t *testing.T) {
	b := openBus(t, admin)
	b.want(201, "PUT", "/v1/namespaces/mail", "")
	b.publish(`{"subject":"mail.a"}`)
	b.do("GET", "/?subject=mail.*&consumer=post&start=oldest&until=newest", "", "Accept: application/json")
	b.stop()
	b.start("127.0.0.1:0", admin, func(c *server.Config) {
		deleting, err := json.Marshal(map[string]string{"state": "deleting"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Engine.Append(ctx, bus.NamespacesNamespace, []bus.Event{{Subject: bus.NamespacesNamespace + ".mail", Payload: deleting, CreatedAt: time.Now().UTC()}}); err != nil {
			t.Fatal(err)
		}
	})
	b.want(201, "PUT", "/v1/namespaces/mail", "")
	b.refused(404, "unknown_consumer", "GET", "/v1/namespaces/mail/consumers/post", "")
}

func TestANamespaceThatTheServerIsStartedWithIsNoLongerToBeDeleted(t *testing.T) {
	b := openBus(t, admin)
	b.want(201, "PUT", "/v1/namespaces/mail", "")
	b.stop()
	named := func(c *server.Config) { // as --namespaces does
		if err := c.Engine.Declare("mail", nil); err != nil {
			t.Fatal(err)
		}
	}
	b.start("127.0.0.1:0", admin, func(c *server.Config) { // a deletion that a crash has cut off
		said := []bus.Event{{Subject: bus.NamespacesNamespace + ".mail", Payload: []byte(`{"state":"deleting"}`)}}
		if err := c.Engine.Append(t.Context(), bus.NamespacesNamespace, said); err != nil {
			t.Fatal(err)
		}
	}, named)
	b.publish(`{"subject":"mail.sent","payload":1}`)
	b.stop()
	b.start("127.0.0.1:0", admin)
	b.stop()
	b.start("127.0.0.1:0", admin, named)
	if a := b.do("GET", "/v1/namespaces/mail", ""); a.field("last_index") != "1" {
		t.Errorf("got %s, want the event that was published since", a.body)
	}
}
