package server_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
)

// unsent are requests that announce a body, and what they are answered when it
// never comes.
var unsent = map[string]string{
	"GET /?subject=orders.* HTTP/1.1\r\nTransfer-Encoding: chunked":                  " 408 ",
	"GET /?subject=orders.* HTTP/1.1\r\nContent-Length: 5":                           " 408 ",
	"GET /?subject=orders.*&until=newest HTTP/1.1\r\nContent-Length: 5":              " 408 ",
	"GET / HTTP/1.1\r\nAccept: text/html\r\nContent-Length: 5":                       " 408 ",
	"GET /livez HTTP/1.1\r\nContent-Length: 5":                                       " 408 ",
	"GET /nothing HTTP/1.1\r\nTransfer-Encoding: chunked":                            " 408 ",
	"DELETE / HTTP/1.1\r\nTransfer-Encoding: chunked":                                " 408 ",
	"OPTIONS / HTTP/1.1\r\nContent-Length: 5":                                        " 408 ",
	"POST /?subject=orders.1 HTTP/1.1\r\nContent-Length: 5":                          " 408 ",
	"POST /?subject=orders.1&typo=1 HTTP/1.1\r\nContent-Length: 5":                   " 400 ",
	"POST /nothing HTTP/1.1\r\nTransfer-Encoding: chunked":                           " 404 ",
	"PUT /?consumer_id=c_1&event_id=e_1 HTTP/1.1\r\nContent-Length: 5":               " 408 ",
	"GET /?subject=orders.* HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5": " 408 ",
}

// TestABodyThatNeverComesHoldsNoConnectionWhateverIsAsked: one that did would
// hold the stop of the server too.
func TestABodyThatNeverComesHoldsNoConnectionWhateverIsAsked(t *testing.T) {
	for request, want := range unsent {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			b := openBus(t, func(c *server.Config) { c.BodyTimeout, c.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond })
			c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			io.WriteString(c, request+"\r\nHost: x\r\n\r\n")
			got, err := io.ReadAll(c)
			if err != nil || !strings.Contains(string(got), want) {
				t.Errorf("got %.200q, %v, want%sand the end of the connection", got, err, want)
			}
		})
	}
}

func TestABodyThatMeansNothingHoldsNoStopUp(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.BodyTimeout = time.Hour })
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /?subject=orders.* HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell")
	eventually(t, "the request has not come", func() bool { return b.metric(limited("bus_limit_used", "connections")) >= 2 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.server.Shutdown(ctx); err != nil {
		t.Errorf("got %v, want a stop that does not wait for the body", err)
	}
}
