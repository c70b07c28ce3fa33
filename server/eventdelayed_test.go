package server_test

import (
	"strings"
	"testing"
)

// leftOfDelayed publishes a secret that is put off, and purges the place where it
// waited: it stands as index 1 at index 3 alone.
func (b *testBus) leftOfDelayed() (id string) {
	b.t.Helper()
	id = b.publish(`{"subject":"orders.lock","payload":"` + secret + `","delay":"200ms"}`).field("id")
	b.publishSome(1)
	b.want(200, "POST", "/v1/namespaces/orders/purge?before=2", "") // closes the file, and deletes nothing
	b.awaitDelivered()
	b.want(200, "POST", "/v1/namespaces/orders/purge?before=3", "")
	if first, _ := b.engine.Bounds("orders"); first != 3 {
		b.t.Fatalf("got %d as the first index, want 3", first)
	}
	return id
}

func TestADelayedEventOfWhichOnlyTheDeliveryIsLeftIsDeletedByEitherIndexOrItsID(t *testing.T) {
	for _, name := range []string{"1", "3", "id"} {
		b := openBus(t, admin)
		id := b.leftOfDelayed()
		b.refused(404, "unknown_event", "DELETE", ordersEvents+"2", "")
		if name == "id" {
			name = id
		}
		a := b.do("DELETE", ordersEvents+name, "")
		if want := `{"namespace":"orders","index":1,"id":"` + id + `","deleted":true}`; strings.TrimSpace(a.body) != want {
			t.Errorf("by %s: got %s, want %s", name, a.body, want)
		}
		if found := b.holding(secret); len(found) > 0 {
			t.Errorf("by %s: got it in %v, want it nowhere", name, found)
		}
	}
}

func TestTheAnswerToADeletionHasTheIndexThatThePublisherWasTold(t *testing.T) {
	for _, name := range []string{"1", "2", "id"} {
		b := openBus(t, admin)
		id := b.publish(`{"subject":"orders.lock","delay":"200ms"}`).field("id")
		b.awaitDelivered()
		if name == "id" {
			name = id
		}
		if a := b.do("DELETE", ordersEvents+name, ""); a.field("index") != "1" || a.field("id") != id {
			t.Errorf("by %s: got %s, want index 1 and the id", name, a.body)
		}
	}
}

func TestNobodyIsFirstOnASubjectWhileADelayedEventOfItCanBeRead(t *testing.T) {
	b := openBus(t, admin)
	b.leftOfDelayed()
	for range 2 {
		a := b.refused(412, "wrong_index", "POST", "/?expected_subject_index=0", `{"subject":"orders.lock"}`)
		if a.field("index") != "1" {
			t.Errorf("got %s, want the index that the publisher was told", a.body)
		}
		b.restart()
	}
}
