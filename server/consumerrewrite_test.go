package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.com/bus/server"
)

func TestTheLogOfNamedConsumersDoesNotGrowForEver(t *testing.T) {
	b := openBus(t, server.RewriteConsumersAt(64<<10))
	var body strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&body, ",{\"subject\":\"orders.created\",\"payload\":%d}", i)
	}
	b.publish("[" + body.String()[1:] + "]")
	b.want(201, "PUT", "/v1/namespaces/orders/consumers/idle", `{"subjects":["orders.*"],"start":"#7","inflight":3}`)
	b.want(201, "PUT", "/v1/namespaces/orders/consumers/gone", `{"subjects":["orders.*"]}`)
	b.want(204, "DELETE", "/v1/namespaces/orders/consumers/gone", "")
	var workers sync.WaitGroup
	for w := range 3 {
		workers.Go(func() {
			for {
				ids := b.pull(fmt.Sprintf("&consumer=billing%d&start=oldest&redelivery=1h&inflight=64&limit=50", w))
				if len(ids) == 0 {
					return
				}
				for _, id := range ids {
					if a := b.do("PUT", fmt.Sprintf("/?consumer=billing%d&event_id=%s", w, id), ""); a.status != 202 {
						t.Errorf("ack: got %d %s", a.status, a.body)
						return
					}
				}
			}
		})
	}
	workers.Wait()
	eventually(t, "the log is not written anew", func() bool {
		first, _ := b.engine.Bounds("_consumers_")
		return first > 1
	})
	b.restart()
	for w := range 3 {
		a := b.do("GET", fmt.Sprintf("/v1/namespaces/orders/consumers/billing%d", w), "")
		if a.field("ack_floor") != "1500" || a.field("unacked") != "0" {
			t.Errorf("got %s, want all of it to be settled", a.body)
		}
		wantIDs(t, b.pull(fmt.Sprintf("&consumer=billing%d", w)))
	}
	if a := b.do("GET", "/v1/namespaces/orders/consumers/idle", ""); a.field("ack_floor") != "6" || a.field("inflight") != "3" {
		t.Errorf("got %s, want it where it was made", a.body)
	}
	b.refused(404, "unknown_consumer", "GET", "/v1/namespaces/orders/consumers/gone", "")
	if got := b.engine.Inspect("_consumers_").Bytes; got > 400<<10 {
		t.Errorf("got a log of %d bytes after 4,500 acknowledgements, want it to be written anew", got)
	}
}
