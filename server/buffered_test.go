package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus/server"
)

// sends opens a connection that takes little ahead, and writes a request to it.
func (b *testBus) sends(request string) net.Conn {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, request)
	return c
}

// awaitMetric waits until a metric is what is wanted.
func (b *testBus) awaitMetric(name string, want func(int) bool) {
	b.t.Helper()
	got := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		_, rest, _ := strings.Cut(b.do("GET", "/metrics", "").body, "\n"+name+" ") // absent while it is 0
		value, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.ParseFloat(value, 64)
		if got = int(n); want(got) {
			return
		}
	}
	b.t.Fatalf("%s: got %d", name, got)
}

func TestLinesThatGrowAreBoundedTogether(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxEvent, c.MaxBatch, c.MaxBuffered = 1<<20, 1<<20, 1 })
	most := b.metric(limited("bus_limit", "buffered_bytes"))
	head := `{"subject":"orders.1","payload":"`
	line := head + strings.Repeat("x", 1<<20-len(head)-100)
	var slow []net.Conn
	for range 60 { // a line that does not end; not half of them may be held
		slow = append(slow, b.sends(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(line)+3, line)))
		if got := b.metric(limited("bus_limit_used", "buffered_bytes")); got > most {
			t.Fatalf("got %d bytes held, want at most %d", got, most)
		}
	}
	refused, accepted := 0, 0
	for _, c := range slow {
		io.WriteString(c, "\"}\n")
		status, _ := bufio.NewReader(c).ReadString('\n')
		switch {
		case strings.Contains(status, " 503 "):
			refused++
		case strings.Contains(status, " 202 "):
			accepted++
		}
	}
	if refused == 0 || accepted == 0 || refused+accepted != len(slow) {
		t.Errorf("got %d refused and %d accepted of %d, want some of each", refused, accepted, len(slow))
	}
	b.awaitMetric(limited("bus_limit_used", "buffered_bytes"), func(n int) bool { return n == 0 })
}

// A stream of events that is open for days must not hold what its largest group took.
func TestAnNDJSONPublishGivesBackWhatAGroupHeld(t *testing.T) {
	b := openBus(t)
	line := `{"subject":"orders.1","payload":"` + strings.Repeat("x", 1_000_000) + "\"}\n"
	c := b.sends(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", 2*len(line), line))
	answer := bufio.NewReader(c)
	for got := ""; !strings.Contains(got, `"index":1`); {
		var err error
		if got, err = answer.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	b.awaitMetric(limited("bus_limit_used", "buffered_bytes"), func(n int) bool { return n > 0 && n <= 64<<10 })
}

// stuck is a peer that takes nothing before it is let go on.
type stuck struct {
	*httptest.ResponseRecorder
	goOn <-chan struct{}
}

func (s stuck) Write(b []byte) (int, error) {
	<-s.goOn
	return s.ResponseRecorder.Write(b)
}

func TestEventsThatNobodyTakesAreBoundedTogether(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxEvent, c.MaxBatch, c.MaxBuffered = 1<<20, 1<<20, 1 })
	b.publish(`{"subject":"orders.1","payload":"` + strings.Repeat("x", 1_000_000) + `"}`)
	b.awaitMetric(limited("bus_limit_used", "buffered_bytes"), func(n int) bool { return n == 0 })
	goOn := make(chan struct{})
	answers := make([]*httptest.ResponseRecorder, 40)
	var peers sync.WaitGroup
	for i := range answers {
		answers[i] = httptest.NewRecorder()
		peers.Go(func() {
			b.server.Handler().ServeHTTP(stuck{answers[i], goOn}, httptest.NewRequest("GET", "/v1/namespaces/orders/events/1", nil))
		})
	}
	b.awaitMetric(limited("bus_limit_refusals_total", "buffered_bytes"), func(n int) bool { return n > 0 })
	close(goOn)
	peers.Wait()
	whole, refused := 0, 0
	for _, a := range answers {
		switch {
		case a.Code == http.StatusOK && a.Body.Len() > 1_000_000:
			whole++
		case a.Code == http.StatusServiceUnavailable && a.Header().Get("Retry-After") != "":
			refused++
		}
	}
	if whole == 0 || refused == 0 || whole+refused != len(answers) {
		t.Errorf("got %d whole and %d refused, want some of each of %d", whole, refused, len(answers))
	}
	b.awaitMetric(limited("bus_limit_used", "buffered_bytes"), func(n int) bool { return n == 0 })
}
