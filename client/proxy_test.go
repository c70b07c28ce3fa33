package client_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bus "example.com/bus/client"
)

// oldProxy speaks HTTP/1.0 to the server, as nginx does unless told otherwise: an answer ends
// with its connection, so that a server that dies looks like one that is done, and the proxy
// ends its own answer cleanly. Its first connection to the server breaks after the hello.
func oldProxy(t *testing.T, server string) (url string, passed *atomic.Int32) {
	t.Helper()
	passed = &atomic.Int32{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := passed.Add(1)
		up, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
		if err != nil {
			t.Error(err)
			return
		}
		defer up.Close()
		defer context.AfterFunc(r.Context(), func() { up.Close() })()
		fmt.Fprintf(up, "GET %s HTTP/1.0\r\nHost: bus\r\nAccept: text/event-stream\r\nLast-Event-ID: %s\r\n\r\n", r.URL.RequestURI(), r.Header.Get("Last-Event-ID"))
		resp, err := http.ReadResponse(bufio.NewReader(up), nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		lines := bufio.NewScanner(resp.Body)
		for hello := false; lines.Scan() && !(n == 1 && hello && lines.Text() != ""); {
			hello = hello || strings.HasPrefix(lines.Text(), "data:")
			fmt.Fprintln(w, lines.Text())
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, passed
}

func TestNoBoundIsReachedBehindAProxyThatHidesADeadServer(t *testing.T) {
	for name, bound := range map[string][]bus.GetOption{
		"until":                     {bus.WithUntilNewest()},
		"wait":                      {bus.WithWait(100 * time.Millisecond)},
		"limit":                     {bus.WithLimit(5)},
		"limit, to be acknowledged": {bus.WithLimit(5), bus.WithAckStrategy(bus.AckManual)},
		"until, to be acknowledged": {bus.WithUntilNewest(), bus.WithAckStrategy(bus.AckManual)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, ctx := realBus(t)
			direct := bus.NewClient(url)
			for i := range 5 {
				if err := direct.Put(ctx, bus.WithSubject("orders.x"), bus.WithData(i)).Error(); err != nil {
					t.Fatal(err)
				}
			}
			proxy, passed := oldProxy(t, url)
			var got string
			for event, err := range bus.NewClient(proxy).Get(ctx, append(bound, bus.WithSubject("orders.*"), bus.WithStartFrom(bus.StartOldest))...) {
				if err != nil {
					t.Error(err)
					continue
				}
				got += string(event.Payload)
				if err := direct.Ack(ctx, event.ConsumerId, event.Id); err != nil && strings.HasSuffix(name, "acknowledged") {
					t.Error(err)
				}
			}
			if want := "01234"; got != want || passed.Load() != 2 || ctx.Err() != nil {
				t.Errorf("got events %s over %d connections, %v, want %s over 2", got, passed.Load(), ctx.Err(), want)
			}
		})
	}
}
