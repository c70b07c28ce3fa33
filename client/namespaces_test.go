package client_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"example.com/bus"
	"example.com/bus/client"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

func TestNamespacesAreDeclaredChangedPurgedAndDeleted(t *testing.T) {
	engine, err := disk.Open(t.TempDir(), disk.Options{Namespaces: []string{"orders"}})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	s, err := server.New(server.Config{Engine: engine, Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(t.Context())
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	c, ctx := client.NewClient(web.URL), t.Context()
	info, err := c.DeclareNamespace(ctx, "mail", &bus.RetentionInfo{MaxAge: "7d"})
	if err != nil || info.Name != "mail" || info.Retention == nil || info.Retention.MaxAge != "168h0m0s" {
		t.Fatalf("got %+v and %v", info, err)
	}
	if info, err = c.DeclareNamespace(ctx, "mail", nil); err != nil || info.Retention == nil {
		t.Fatalf("again, without a retention: got %+v and %v, want it to stay", info, err)
	}
	if r := c.Put(ctx, client.WithSubject("mail.sent"), client.WithData(1)); r.Error() != nil {
		t.Fatal(r.Error())
	}
	if info, err = c.PurgeNamespace(ctx, "mail", 2); err != nil || info.First != 2 || info.Events != 0 {
		t.Fatalf("purged: got %+v and %v", info, err)
	}
	r := c.Put(ctx, client.WithSubject("mail.sent"), client.WithData(2))
	for _, name := range []string{r.Id, "2", r.Id} {
		did, err := c.DeleteEvent(ctx, "mail", name)
		if err != nil || did != (bus.DeletedEvent{Namespace: "mail", Index: 2, ID: r.Id, Deleted: true, Already: did.Already}) || did.Already == (name == r.Id && info.Removed.Deleted == 0) {
			t.Fatalf("delete %s: got %+v and %v", name, did, err)
		}
		if info, err = c.Namespace(ctx, "mail"); err != nil || info.Removed.Deleted != 1 {
			t.Fatalf("got %+v and %v, want one that was deleted", info, err)
		}
	}
	for name, want := range map[string]error{"9": bus.ErrUnknownEvent, "id:2": bus.ErrUnknownEvent, "..": bus.ErrInvalidID, "a/b": bus.ErrInvalidID} {
		if _, err := c.DeleteEvent(ctx, "mail", name); !errors.Is(err, want) {
			t.Errorf("delete %s: got %v, want %v", name, err, want)
		}
	}
	all, err := c.Namespaces(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "mail" || all[1].Name != "orders" {
		t.Fatalf("got %+v and %v", all, err)
	}
	if err := c.DeleteNamespace(ctx, "mail"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"mail": bus.ErrUnknownNamespace, "../x": bus.ErrInvalidSubject} {
		if _, err := c.Namespace(ctx, name); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if err := c.DeleteNamespace(ctx, name); !errors.Is(err, want) {
			t.Errorf("delete %s: got %v, want %v", name, err, want)
		}
	}
	if err := c.DeleteNamespace(ctx, "orders"); !errors.Is(err, bus.ErrDeclaredAtStart) {
		t.Errorf("got %v, want %v", err, bus.ErrDeclaredAtStart)
	}
}
