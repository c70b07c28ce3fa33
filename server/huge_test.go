package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
)

// allocated is how many bytes were ever asked for.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

func TestOneByteOverTheLimitIsRefusedAndTheLimitItselfIsTaken(t *testing.T) {
	const limit = 1 << 20
	b := openBus(t)
	payload := strings.Repeat("x", limit)
	if a := b.do("POST", "/?subject=orders.1", payload, "Content-Type: text/x"); a.status != http.StatusAccepted {
		t.Errorf("the limit: got %d %s, want 202", a.status, a.body)
	}
	b.refused(413, "too_large", "POST", "/?subject=orders.1", payload+"x", "Content-Type: text/x")
	// Announced, it is refused before a byte of it has come.
	if got := b.raw(fmt.Sprintf("POST /?subject=orders.1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", limit+1)); !strings.Contains(got, " 413 ") {
		t.Errorf("announced: got %q, want 413", got)
	}
	if got := b.metric(`bus_log_last_index{namespace="orders"}`); got != 1 {
		t.Errorf("got %d events, want the one that was not too large", got)
	}
}

// A body without a length and without an end: the server answers at the limit,
// and takes no more than what is on the way.
func TestABodyWithoutEndIsReadNoFurtherThanTheLimit(t *testing.T) {
	const limit = 1 << 20
	b := openBus(t, func(c *server.Config) { c.MaxEvent, c.MaxBatch = limit, limit })
	for _, head := range []string{"/?subject=orders.1 HTTP/1.1\r\nContent-Type: text/x", "/ HTTP/1.1", "/ HTTP/1.1\r\nContent-Type: application/x-ndjson"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		before := allocated()
		fmt.Fprintf(c, "POST %s\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", head)
		answer := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(io.LimitReader(c, 512))
			answer <- string(text)
		}()
		chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", 64<<10, strings.Repeat(`"`, 64<<10))
		sent := 0
		for err = nil; err == nil && sent < 64<<20; sent += 64 << 10 {
			_, err = c.Write(chunk)
		}
		if err == nil {
			t.Errorf("%.40q: the server took %d MiB, want it to end the connection", head, sent>>20)
		}
		if got := <-answer; !strings.Contains(got, " 413 ") && !strings.Contains(got, `"too_large"`) && got != "" { // the end may overtake it
			t.Errorf("%.40q: got %q, want 413", head, got)
		}
		if got := allocated() - before; got > 8*limit {
			t.Errorf("%.40q: %d MiB were asked for, want no more than the buffer that grows to the limit", head, got>>20)
		}
	}
}

func TestABatchOfAMillionEventsIsRefusedByCountWithoutMakingThem(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxBatch = 64 << 20 })
	body := "[" + strings.Repeat(`{"subject":"orders.1"},`, 999_999) + `{"subject":"orders.1"}]`
	before := allocated()
	b.refused(413, "too_large", "POST", "/", body)
	if got, most := allocated()-before, int64(5*len(body)); got > most {
		t.Errorf("%d MiB were asked for to refuse %d, want at most %d", got>>20, len(body)>>20, most>>20)
	}
	if got := b.publish(`{"subject":"orders.1"}`).field("index"); got != "1" {
		t.Errorf("next index is %s, want 1", got)
	}
}

func TestACompressedBodyIsNotOpened(t *testing.T) {
	b := openBus(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	io.CopyN(z, zeros{}, 2<<20)
	z.Close()
	before := allocated()
	b.refused(415, "unsupported_media_type", "POST", "/?subject=orders.1", bomb.String(), "Content-Encoding: gzip")
	if got := allocated() - before; got > 1<<20 {
		t.Errorf("%d MiB were asked for, want the body not even read", got>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
