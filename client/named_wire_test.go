package client

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

func TestAReconnectOfANamedConsumerGoesByTheNameAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(n int, s *stream) {
			if s.events(n); n == 1 {
				s.breakOff()
			}
			s.end("limit")
		})
		n := 0
		for _, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithConsumer("billing"), WithStartFrom(StartOldest), WithDelivery(time.Minute, 5), WithInflight(3), WithLimit(2)) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		var got []string
		for _, r := range s.seen() {
			q, err := url.QueryUnescape(r.query)
			if err != nil || r.header.Get("Last-Event-ID") != "" {
				t.Errorf("got %q and Last-Event-ID %q, %v, want none", r.query, r.header.Get("Last-Event-ID"), err)
			}
			got = append(got, q)
		}
		want := []string{
			"consumer=billing&inflight=3&limit=2&redelivery=1m0s&redelivery_count=5&start=oldest&subject=app.>",
			"consumer=billing&limit=1&start=oldest&subject=app.>",
		}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] || n != 2 {
			t.Errorf("got %d events by %q, want 2 by %q", n, got, want)
		}
	})
}

func TestAcksOfANamedConsumerLeaveTogetherByItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				w.WriteHeader(http.StatusAccepted)
				return
			}
			s := &stream{w, r}
			s.head()
			s.hello("c_1", 0)
			s.events(1, 2, 3)
			s.end("limit")
		})
		for event, err := range s.client.Get(t.Context(), WithSubject("app.>"), WithConsumer("billing"), WithLimit(3)) {
			if err != nil {
				t.Fatal(err)
			}
			event.AckAsync()
		}
		if err := s.client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := s.seen()
		if got, want := seen[len(seen)-1].query, "consumer=billing&event_id=e_1&event_id=e_2&event_id=e_3&namespace=app"; got != want || len(seen) != 2 {
			t.Errorf("got %q, the last of %d requests, want %q", got, len(seen), want)
		}
	})
}
