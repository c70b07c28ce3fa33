package server_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
)

// dialPull sends a pull of consumer k over a connection of its own, that the test
// can break off.
func (b *testBus) dialPull(accept, query string) (net.Conn, *bufio.Reader) {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "GET /?subject=orders.*&consumer=k&redelivery=1h&"+query+" HTTP/1.1\r\nHost: x\r\nAccept: "+accept+"\r\n\r\n")
	return c, bufio.NewReader(c)
}

// awaitState waits until consumer k has a field.
func (b *testBus) awaitState(name, want string) {
	b.t.Helper()
	eventually(b.t, name+" of k is not "+want, func() bool {
		return b.do("GET", "/v1/namespaces/orders/consumers/k", "").field(name) == want
	})
}

// readTo reads up to and with a text.
func readTo(t *testing.T, r *bufio.Reader, text string) {
	t.Helper()
	var got strings.Builder
	for !strings.Contains(got.String(), text) {
		c, err := r.ReadByte()
		if err != nil {
			t.Fatalf("got %q and %v, want %q in it", got.String(), err, text)
		}
		got.WriteByte(c)
	}
}

func TestAPullThatBreaksOffLeavesItsEventsToTheNext(t *testing.T) {
	for accept, attempt := range map[string]string{
		"application/json":     "", // nothing of it was written
		"application/x-ndjson": "2",
		"text/event-stream":    "2",
	} {
		t.Run(accept, func(t *testing.T) {
			b := openBus(t)
			c, said := b.dialPull(accept, "limit=5&wait=20s")
			b.awaitState("connections", "1")
			ids := b.publishSome(2)
			b.awaitState("unacked", "2")
			if attempt != "" {
				readTo(t, said, ids[1])
			}
			c.Close()
			b.awaitState("connections", "0")
			b.awaitState("waiting", "2")
			a := b.do("GET", "/?subject=orders.*&consumer=k&until=newest", "", "Accept: application/x-ndjson")
			got := lines(a.body)
			if len(got) != 2 {
				t.Fatalf("got %s, want both at once", a.body)
			}
			for i, line := range got {
				e := answer{body: line}
				if e.field("id") != ids[i] || e.field("attempt") != attempt {
					t.Errorf("got %s, want %s at attempt %q", line, ids[i], attempt)
				}
			}
		})
	}
}

// TestAPullThatWasAnsweredKeepsWhatItWasGiven: also that of a client which closes
// as soon as it has what it came for.
func TestAPullThatWasAnsweredKeepsWhatItWasGiven(t *testing.T) {
	for how, test := range map[string]struct{ accept, query, last string }{
		"an array":              {"application/json", "start=oldest&limit=2", "\n]\n"},
		"an array to the end":   {"application/json", "start=oldest&until=newest", "\n]\n"},
		"lines":                 {"application/x-ndjson", "start=oldest&limit=2", "\r\n0\r\n\r\n"},
		"lines that are enough": {"application/x-ndjson", "start=oldest&limit=2", `"payload":1}`},
		"lines to the end":      {"application/x-ndjson", "start=oldest&until=newest", "\r\n0\r\n\r\n"},
		"a stream":              {"text/event-stream", "start=oldest&limit=2", "event: end\n"},
		"a stream to the end":   {"text/event-stream", "start=oldest&until=newest", "event: end\n"},
		"a stream that waited":  {"text/event-stream", "start=oldest&wait=20ms", "event: end\n"},
	} {
		t.Run(how, func(t *testing.T) {
			b := openBus(t)
			ids := b.publishSome(2)
			c, said := b.dialPull(test.accept, test.query)
			readTo(t, said, test.last)
			c.Close()
			b.awaitState("connections", "0")
			wantIDs(t, b.pull("&consumer=k"))
			b.awaitState("unacked", "2")
			b.want(202, "PUT", "/?consumer=k&event_id="+ids[0]+"&event_id="+ids[1], "")
		})
	}
}

// TestAPullOfWhatComesAgainEndsAtItsLimitAndSaysSo: of a named consumer limit
// counts all deliveries.
func TestAPullOfWhatComesAgainEndsAtItsLimitAndSaysSo(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(1)
	b.pull("&consumer=k&start=oldest&redelivery=1h&limit=1")
	b.want(202, "PUT", "/?consumer=k&verdict=nak&event_id="+ids[0], "")
	s := b.open("subject=orders.*&consumer=k&limit=1")
	s.next("msg")
	s.reached("limit")
}

func TestAPullThatDoesNotReadLeavesItsEventsToTheNext(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.WriteTimeout = 200 * time.Millisecond })
	for range 14 { // more than lies between two ends of a connection
		b.publish(`{"subject":"orders.created","payload":"` + strings.Repeat("x", 1_000_000) + `"}`)
	}
	b.dialPull("application/x-ndjson", "start=oldest&until=newest")
	b.awaitMetric("bus_slow_evictions_total", func(n int) bool { return n == 1 })
	b.awaitState("waiting", b.do("GET", "/v1/namespaces/orders/consumers/k", "").field("unacked"))
	if a := b.do("GET", "/?subject=orders.*&consumer=k&limit=1", "", "Accept: application/x-ndjson"); !strings.Contains(a.body, `"index":1,`) {
		t.Errorf("got %.200s, want the first event at once", a.body)
	}
}
