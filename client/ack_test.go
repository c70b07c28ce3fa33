package client

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

func taken(_ int, w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprint(w, `{"already":true}`)
}

func TestEveryAckOptionReachesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, taken)
		for _, c := range []struct {
			opts              []AckOption
			wantQuery, wantIn string
		}{
			{nil, "consumer_id=c_1&event_id=e_1", ""},
			{[]AckOption{WithUpTo()}, "consumer_id=c_1&event_id=e_1&up_to=true", ""},
			{[]AckOption{WithVerdict(Nak), WithDelay(30 * time.Second)}, "consumer_id=c_1&delay=30s&event_id=e_1&verdict=nak", ""},
			{[]AckOption{WithVerdict(Term)}, "consumer_id=c_1&event_id=e_1&verdict=term", ""},
			{[]AckOption{WithVerdict(Wip)}, "consumer_id=c_1&event_id=e_1&verdict=wip", ""},
			{[]AckOption{WithData(map[string]int{"sum": 3})}, "consumer_id=c_1&event_id=e_1", `{"sum":3}`},
			{[]AckOption{WithData(nil)}, "consumer_id=c_1&event_id=e_1", `null`},
			{[]AckOption{WithTimeout(time.Second)}, "consumer_id=c_1&event_id=e_1", ""},
		} {
			if err := s.client.Ack(t.Context(), "c_1", "e_1", c.opts...); err != nil {
				t.Fatal(err)
			}
			seen := s.seen()
			got := seen[len(seen)-1]
			if got.method != http.MethodPut || got.query != c.wantQuery || got.body != c.wantIn {
				t.Errorf("got %s %q %q, want PUT %q %q", got.method, got.query, got.body, c.wantQuery, c.wantIn)
			}
		}
		if err := s.client.Ack(t.Context(), "c&x=1", "e#1"); err != nil {
			t.Fatal(err)
		}
		seen := s.seen()
		if got, want := seen[len(seen)-1].query, "consumer_id=c%26x%3D1&event_id=e%231"; got != want {
			t.Errorf("odd ids: got %q, want %q", got, want)
		}
	})
}

func TestAnAckThatMakesNoSenseIsNotSent(t *testing.T) {
	c := NewClient("http://127.0.0.1:1")
	for name, err := range map[string]error{
		"no consumer":  c.Ack(t.Context(), "", "e_1"),
		"no event":     c.Ack(t.Context(), "c_1", ""),
		"no delay":     c.Ack(t.Context(), "c_1", "e_1", WithDelay(0)),
		"no time":      c.Ack(t.Context(), "c_1", "e_1", WithTimeout(-1)),
		"own event":    (&Event{Event: bus.Event{Id: "e_1"}, ConsumerId: "c_1"}).Ack(t.Context()),
		"no event yet": (*Event)(nil).Ack(t.Context()),
	} {
		if !errors.Is(err, bus.ErrInvalidParameter) {
			t.Errorf("%s: got %v, want invalid_parameter", name, err)
		}
	}
	if err := c.Ack(t.Context(), "c_1", "e_1", WithData([]byte("{"))); !errors.Is(err, bus.ErrInvalidJSON) {
		t.Errorf("bad reply: got %v, want invalid_json", err)
	}
}

func TestAnEventIsAcknowledgedForTheConnectionThatDeliveredIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				if r.URL.Query().Get("consumer_id") == "c_first" {
					problem(w, 404, "unknown_consumer", "gone")
					return
				}
				taken(n, w, r)
				return
			}
			stream := &stream{w, r}
			stream.head()
			if n == 1 {
				stream.hello("c_first", 0)
				stream.events(1)
				stream.breakOff()
			}
			stream.hello("c_second", 0)
			stream.send("id: e_1\nevent: msg\ndata: {\"id\":\"e_1\",\"subject\":\"app.x\",\"index\":1,\"attempt\":2,\"payload\":null}\n\n")
			stream.hold()
		})
		var events []*Event
		for e, err := range s.client.Get(t.Context(), WithSubject("app.x"), WithAckStrategy(AckManual)) {
			if err != nil {
				t.Fatal(err)
			}
			if events = append(events, e); len(events) == 2 {
				break
			}
		}
		if a, b := events[0].Attempt, events[1].Attempt; a != 1 || b != 2 {
			t.Errorf("attempts: got %d and %d, want 1 and 2", a, b)
		}
		if err := events[0].Ack(t.Context()); !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Errorf("for the connection that is gone: got %v, want unknown_consumer", err)
		}
		if err := events[1].Ack(t.Context()); err != nil {
			t.Errorf("for the new one: got %v", err)
		}
	})
}
