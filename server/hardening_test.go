package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bus/server"
)

func TestNothingThatIsPublishedCanForgeAFrame(t *testing.T) {
	b := openBus(t)
	s := b.open("subject=orders.*")
	evil := "a\\nid: e_1\\nevent: msg\\ndata: {}\\n\\n\\r\\u0000\\u2028"
	b.publish(`{"subject":"orders.1","payload":"` + evil + `"}`)
	b.do("POST", "/?subject=orders.2", "x\n\nevent: msg\ndata: {}\n\n\x00", "Content-Type: text/plain")
	b.publish("{\"subject\":\"orders.3\",\r\n\"payload\":{\n\"a\":\"\u2028\"\r\n}}")
	for _, field := range []string{"subject", "id", "trace_id", "key", "response_subject"} {
		body := fmt.Sprintf(`{"subject":"orders.x",%q:"a\nid: e_1"}`, field)
		if a := b.do("POST", "/", body); a.status != http.StatusBadRequest {
			t.Errorf("%s with a line break: got %d %s, want 400", field, a.status, a.body)
		}
	}
	if got := b.raw("POST /?subject=orders.x HTTP/1.1\r\nHost: x\r\nContent-Type: text/x; a=\"\x01\"\r\nContent-Length: 1\r\n\r\nx"); !strings.Contains(got, " 4") {
		t.Errorf("a content type with a control character: got %q, want it refused", got)
	}
	if got := s.subjects(3); got != "orders.1 orders.2 orders.3" {
		t.Errorf("got %s, want three events and nothing between", got)
	}
}

func TestNamesCannotLeaveTheDirectory(t *testing.T) {
	b := openBus(t)
	for _, name := range []string{"..", "../x", "..%2fx", "%2e%2e", "a/b", `a\b`, "orders\x00", strings.Repeat("n", 300), "CON:", "ordérs"} {
		a := b.do("POST", "/?subject="+url.QueryEscape(name+".created"), "1")
		if a.status/100 != 4 {
			t.Errorf("publish to %q: got %d, want a refusal", name, a.status)
		}
		if a := b.do("GET", "/v1/namespaces/"+url.PathEscape(name), ""); a.status/100 == 2 {
			t.Errorf("inspect %q: got %d, want a refusal", name, a.status)
		}
	}
}

func TestForeignPagesMayNotUseTheBus(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.Origins = []string{"https://app.example.com", "https://*.example.org"} })
	for origin, want := range map[string]bool{
		"https://evil.example": false, "null": false, "https://app.example.com.evil.example": false, "http://app.example.com": false, "https://example.org": false,
		"https://evilexample.org": false, "http://localhost.evil.example": false, "file://": false,
		"http://localhost:8080": true, "http://127.0.0.1:3000": true, "http://[::1]:99": true, "https://app.example.com": true, "https://a.b.example.org": true, b.url: true,
	} {
		for _, method := range []string{"POST", "GET", "PUT", "OPTIONS"} {
			a := b.do(method, "/", `{"subject":"orders.a"}`, "Origin: "+origin, "Content-Type: text/plain")
			if got := a.status != http.StatusForbidden; got != want {
				t.Errorf("%s from %s: got %d, want allowed %v", method, origin, a.status, want)
			}
			if got := a.header.Get("Access-Control-Allow-Origin"); want && got != origin || !want && got != "" {
				t.Errorf("%s from %s: got Access-Control-Allow-Origin %q", method, origin, got)
			}
		}
	}
	if _, err := server.New(server.Config{Engine: b.engine, Origins: []string{"app.example.com"}}); err == nil {
		t.Error("an origin without a scheme was taken")
	}
}

func TestAPageOfAnAllowedOriginMayChangeAndDeleteWhatItMayMake(t *testing.T) {
	b := openBus(t)
	a := b.do("OPTIONS", "/v1/namespaces/orders/consumers/mail", "", "Origin: http://localhost:8080", "Access-Control-Request-Method: PATCH")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if !slices.Contains(strings.Split(a.header.Get("Access-Control-Allow-Methods"), ", "), method) {
			t.Errorf("got %q, want %s to be allowed", a.header.Get("Access-Control-Allow-Methods"), method)
		}
	}
}

// raw sends bytes as they are and returns the status line, "" when the server
// closed the connection without one. To be left waiting fails the test.
func (b *testBus) raw(request string) string {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		return ""
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		b.t.Errorf("%.60q: the server neither answers nor ends the connection", request)
	}
	return line
}

func TestBrokenHTTPIsRefusedAndTheNextRequestIsServed(t *testing.T) {
	b := openBus(t)
	for _, request := range []string{
		"GARBAGE\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"GET /?subject=orders.* HTTP/1.1\r\n\r\n",
		"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 1<<20) + "\r\n\r\n",
		"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /?subject=%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	} {
		if got := b.raw(request); got != "" && !strings.Contains(got, " 4") {
			t.Errorf("%.60q: got %q, want a refusal or an end", request, got)
		}
	}
	b.publish(`{"subject":"orders.fine"}`)
}

func TestASlowBodyIsGivenUp(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.BodyTimeout = 20 * time.Millisecond })
	got := b.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
	if !strings.Contains(got, "408") {
		t.Errorf("got %q, want 408", got)
	}
	if got := b.publish(`{"subject":"orders.1"}`).field("index"); got != "1" {
		t.Errorf("next index is %s, want 1: nothing of a slow body is stored", got)
	}
}

func TestSlowHeadersAreGivenUp(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.HeadTimeout = 20 * time.Millisecond })
	if got := b.raw("POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "); got != "" && !strings.Contains(got, " 408 ") {
		t.Errorf("got %q, want the connection closed", got)
	}
}

func TestAReaderThatDoesNotReadIsLetGoAndHoldsNobodyUp(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.WriteTimeout = 50 * time.Millisecond })
	stuck, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	stuck.(*net.TCPConn).SetReadBuffer(4 << 10)
	io.WriteString(stuck, "GET /?subject=orders.*&start=oldest HTTP/1.1\r\nHost: x\r\n\r\n")
	good := b.open("subject=orders.*&start=oldest")
	big := strings.Repeat("x", 500_000)
	for range 40 { // more than the kernel's buffers hold
		b.publish(`{"subject":"orders.1","payload":"` + big + `"}`)
		good.next("msg")
	}
	for deadline := time.Now().Add(patience); ; {
		metrics := b.do("GET", "/metrics", "").body
		if strings.Contains(metrics, "bus_slow_evictions_total 1") && strings.Contains(metrics, `bus_streams{namespace="orders"} 1`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the reader that does not read is still there, want it let go and counted")
		}
	}
}

func TestAnAnswerThatIsNotReadIsGivenUp(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.WriteTimeout = 50 * time.Millisecond })
	b.publish(`{"subject":"orders.x","payload":"` + strings.Repeat("x", 1_000_000) + `"}`)
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	request := "GET /v1/namespaces/orders/events/1 HTTP/1.1\r\nHost: x\r\n\r\n"
	c.SetDeadline(time.Now().Add(patience))
	for { // without reading, until the server has had enough
		if _, err := io.WriteString(c, request); err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				t.Error("the connection is still held, want it let go")
			}
			return
		}
		runtime.Gosched()
	}
}

func TestLargeRequestsTogetherAreBounded(t *testing.T) {
	log := &lockedBuffer{}
	b := openBus(t, func(c *server.Config) {
		c.MaxEvent, c.MaxBatch, c.MaxBuffered, c.Logger = 1<<20, 1<<20, 1, log.logger()
	})
	var slow []net.Conn
	for range 60 { // each has sent most of a large body; about half may be held
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "POST /?subject=orders.x HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nContent-Length: %d\r\n\r\n%s", 1<<20, strings.Repeat("x", 1<<20-1))
		slow = append(slow, c)
	}
	refused, accepted := 0, 0
	for _, c := range slow { // who is left finishes, and is taken
		io.WriteString(c, "x")
		line, _ := bufio.NewReader(c).ReadString('\n')
		switch {
		case strings.Contains(line, " 503 "):
			refused++
		case strings.Contains(line, " 202 "):
			accepted++
		}
	}
	if refused == 0 || accepted == 0 {
		t.Errorf("got %d refused and %d accepted of 60, want some of each", refused, accepted)
	}
	if got := b.metric(limited("bus_limit_refusals_total", "buffered_bytes")); got != refused {
		t.Errorf("got %d refusals counted, want %d", got, refused)
	}
	if got := log.String(); !strings.Contains(got, "limit=buffered_bytes") {
		t.Errorf("logged %q, want the limit that refuses", got)
	}
	b.publish(`{"subject":"orders.fine"}`)
}

func TestTheRestOfARefusedStreamIsNotTakenForARequest(t *testing.T) {
	b := openBus(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(c)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 2000\r\n\r\n{\"subject\":\"orders.1\"}\n")
	for line := ""; !strings.Contains(line, `"index":1`); { // answered, so that the refusal comes behind it
		if line, err = answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(c, "bad\nGET /v1/namespaces HTTP/1.1\r\nHost: x\r\n\r\n")
	rest, _ := io.ReadAll(answers)
	if !strings.Contains(string(rest), `"invalid_json"`) || strings.Contains(string(rest), "HTTP/1.1 ") || strings.Contains(string(rest), "durability") {
		t.Errorf("got %q, want the refusal and then the end of the connection", rest)
	}
}

func TestARefusalDoesNotWaitForABodyThatIsNotLookedAt(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.BodyTimeout = 100 * time.Millisecond })
	for _, head := range []string{
		"POST /?typo=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"POST /?typo=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		if got := b.raw(head); !strings.Contains(got, " 40") { // raw fails when nothing comes
			t.Errorf("%.40q: got %q, want the refusal", head, got)
		}
	}
}
