package server_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bus/server"
)

// said is a log that a test can read.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// wantNoPanic also wants the next request to be answered.
func (s *said) wantNoPanic(b *testBus) {
	b.t.Helper()
	s.mu.Lock()
	text := s.text.String()
	s.mu.Unlock()
	if strings.Contains(text, "panic") || strings.Contains(text, `"level":"ERROR"`) {
		b.t.Errorf("got log %s, want nothing broken", text)
	}
	b.publish(`{"subject":"orders.fine"}`)
}

// openHostile opens a bus with small times, and its log.
func openHostile(t *testing.T) (*testBus, *said) {
	return openHeard(t, func(c *server.Config) {
		c.HeadTimeout, c.BodyTimeout, c.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	})
}

// openHeard is a bus whose log can be read.
func openHeard(t *testing.T, configure ...func(*server.Config)) (*testBus, *said) {
	log := &said{}
	return openBus(t, func(c *server.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, each := range configure {
			each(c)
		}
	}), log
}

func TestAbuseOfHTTPIsRefusedOrClosedAndBreaksNothing(t *testing.T) {
	b, log := openHostile(t)
	long := strings.Repeat("y", 1<<20)
	many := strings.Repeat("X-A: b\r\n", 50_000)
	for name, request := range map[string]string{
		"nothing but line ends":          strings.Repeat("\r\n", 5000),
		"no version":                     "GET /livez\r\n\r\n",
		"HTTP/0.9":                       "GET /livez HTTP/0.9\r\n\r\n",
		"HTTP/3.7":                       "GET /livez HTTP/3.7\r\nHost: x\r\n\r\n",
		"a method with spaces":           "GE T /livez HTTP/1.1\r\nHost: x\r\n\r\n",
		"a method of control characters": "G\x01T /livez HTTP/1.1\r\nHost: x\r\n\r\n",
		"a line of one megabyte":         "GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"a query of one megabyte":        "GET /?subject=" + long + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"a header of one megabyte":       "GET /livez HTTP/1.1\r\nHost: x\r\nX: " + long + "\r\n\r\n",
		"fifty thousand headers":         "GET /livez HTTP/1.1\r\nHost: x\r\n" + many + "\r\n",
		"a header name of NUL":           "GET /livez HTTP/1.1\r\nHost: x\r\nA\x00: b\r\n\r\n",
		"a header value of NUL":          "GET /livez HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n",
		"a header without a name":        "GET /livez HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
		"a space before the colon":       "GET /livez HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
		"a bare CR":                      "GET /livez HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
		"two hosts":                      "GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"a host of slashes":              "GET /livez HTTP/1.1\r\nHost: x/../y\r\n\r\n",
		"two lengths":                    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"a list of lengths":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello",
		"a negative length":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
		"a length of 10^30":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000000000000000000000\r\n\r\n",
		"a length in hexadecimal":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello",
		"a coding that is none":          "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
		"chunked twice":                  "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a chunk whose length is none":   "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"a chunk of 2^64":                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{}\r\n",
		"a chunk that is longer":         "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{\"subject\":\"orders.x\"}\r\n0\r\n\r\n",
		"a chunk that is shorter":        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"subject\":\"orders.x\"}\r\n",
		"a chunk extension without end":  "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;" + long,
		"trailers without end":           "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n" + many + many,
		"an expectation that is none":    "POST / HTTP/1.1\r\nHost: x\r\nExpect: coffee\r\nContent-Length: 2\r\n\r\n{}",
		"CONNECT":                        "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n",
		"an asterisk":                    "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
		"an absolute target without end": "GET http://" + long + "/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"TLS":                            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x01", 509),
		"half a preface":                 "PRI * HTTP/2.0\r\n\r\n",
		"a preface and noise":            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 4096),
		"an upgrade to h2c":              "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"a websocket":                    "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		got := b.raw(request)
		refused := strings.Contains(got, " 4") || strings.Contains(got, " 5")
		if got != "" && !refused && !strings.HasPrefix(got, "\x00") { // an HTTP/2 answer begins with the length of a frame
			t.Errorf("%s: got %q, want a refusal or an end", name, got)
		}
	}
	log.wantNoPanic(b)
	if got := b.do("GET", "/v1/namespaces/orders", "").field("last_index"); got != "1" {
		t.Errorf("got %s events, want the last one alone: nothing of a broken request is stored", got)
	}
}

// Chunks win over a length beside them, as RFC 9112 has it, so that what follows
// them is a request of its own and never a part of the one before. net/http does
// not tell of the length, so the connection stays open: a proxy in front has to
// refuse both together (SECURITY.md).
func TestChunksWinOverALengthBesideThem(t *testing.T) {
	b, log := openHostile(t)
	c := b.dial()
	io.WriteString(c, "POST /?subject=orders.outer HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nPOST /?subject=orders.next HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1")
	answers, _ := io.ReadAll(c)
	if n := strings.Count(string(answers), "HTTP/1.1 202 "); n != 2 {
		t.Errorf("got %d answers, want two: %q", n, answers)
	}
	if got := b.do("GET", "/v1/namespaces/orders/events/1", "").field("payload_base64"); got != "eA==" {
		t.Errorf("got payload %s, want the one byte of the chunk", got)
	}
	log.wantNoPanic(b)
}

func (b *testBus) dial() net.Conn {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestPipelinedPublishesAreAnsweredInOrderAndOnceEach(t *testing.T) {
	b := openBus(t)
	const n = 200
	c := b.dial()
	go func() {
		for i := range n {
			fmt.Fprintf(c, "POST /?subject=orders.p%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", i)
		}
	}()
	answers := bufio.NewReader(c)
	for i := range n {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, _ := io.ReadAll(resp.Body)
		if got, want := resp.Header.Get("X-BUS-EVENT-INDEX"), fmt.Sprint(i+1); got != want {
			t.Fatalf("answer %d: got index %s %s, want %s", i, got, body, want)
		}
	}
	s := b.open("subject=orders.>&start=oldest&until=newest")
	for i := range n {
		if got, want := s.next("msg").field("subject"), fmt.Sprint("orders.p", i); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	s.reached("until")
}

func TestAnAbsoluteTargetIsOurs(t *testing.T) {
	b := openBus(t)
	if got := b.raw("GET http://elsewhere.example/livez HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n"); !strings.Contains(got, " 200 ") {
		t.Errorf("got %q, want it answered here: the bus is no proxy", got)
	}
}

// A peer that is asked to go on, or that says it expects to be and does not, gets
// one answer.
func TestExpectContinueHoldsNothingUp(t *testing.T) {
	b, log := openHostile(t)
	head := "POST /?subject=orders.x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
	if got := b.raw(head + "Content-Length: 5\r\n\r\n"); !strings.Contains(got, " 100 ") { // and then silence
		t.Errorf("got %q, want to be asked to go on", got)
	}
	if got := b.raw(head + "Content-Length: 99999999999\r\n\r\n"); !strings.Contains(got, " 413 ") {
		t.Errorf("got %q, want 413 before anything is sent", got)
	}
	if got := b.raw(strings.Replace(head, "subject=orders.x", "typo=1", 1) + "Content-Length: 5\r\n\r\n"); !strings.Contains(got, " 400 ") {
		t.Errorf("got %q, want 400 before anything is sent", got)
	}
	log.wantNoPanic(b)
}

// Frames of HTTP/2, as RFC 9113 has them.
const (
	h2Data, h2Headers, h2Reset, h2Settings, h2Ping, h2Window, h2Continuation = 0, 1, 3, 4, 6, 8, 9

	h2EndStream, h2EndHeaders = 1, 4
)

func h2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	b = binary.BigEndian.AppendUint32(append(b, kind, flags), stream)
	return append(b, payload...)
}

// h2Get is GET / at x, by the static table.
var h2Get = []byte{0x82, 0x84, 0x86, 0x41, 1, 'x'}

func TestAbuseOfHTTP2IsBoundedAndBreaksNothing(t *testing.T) {
	field := append([]byte{0x00, 1, 'a', 0x7f, 0xf1, 0x7e}, bytes.Repeat([]byte("v"), 127+0x3f71)...) // a literal of 16 KB
	for name, flood := range map[string]func(i int) []byte{
		"streams that are reset at once": func(i int) []byte {
			id := uint32(2*i + 1)
			return append(h2Frame(h2Headers, h2EndStream|h2EndHeaders, id, h2Get), h2Frame(h2Reset, 0, id, []byte{0, 0, 0, 8})...)
		},
		"streams without end": func(i int) []byte { return h2Frame(h2Headers, h2EndHeaders, uint32(2*i+1), h2Get) },
		"CONTINUATION for ever": func(i int) []byte {
			if i == 0 {
				return h2Frame(h2Headers, 0, 1, h2Get)
			}
			return h2Frame(h2Continuation, 0, 1, field[:min(len(field), 16384)])
		},
		"empty CONTINUATION for ever": func(i int) []byte {
			if i == 0 {
				return h2Frame(h2Headers, 0, 1, h2Get)
			}
			return h2Frame(h2Continuation, 0, 1, nil)
		},
		"SETTINGS for ever":       func(int) []byte { return h2Frame(h2Settings, 0, 0, []byte{0, 4, 0, 0, 255, 255}) },
		"PING for ever":           func(int) []byte { return h2Frame(h2Ping, 0, 0, make([]byte, 8)) },
		"empty DATA for ever":     func(int) []byte { return h2Frame(h2Data, 0, 1, nil) },
		"a window that overflows": func(int) []byte { return h2Frame(h2Window, 0, 0, []byte{0x7f, 255, 255, 255}) },
		"a window of nothing":     func(int) []byte { return h2Frame(h2Window, 0, 0, make([]byte, 4)) },
		"an index beyond the table": func(i int) []byte {
			return h2Frame(h2Headers, h2EndHeaders|h2EndStream, uint32(2*i+1), []byte{0xff, 0xff, 0xff, 0x7f})
		},
		"frames longer than allowed": func(i int) []byte { return h2Frame(h2Data, 0, 1, make([]byte, 1<<20)) },
		"frames of kinds to come":    func(int) []byte { return h2Frame(0xfa, 0xff, 0x7fffffff, []byte("x")) },
		"headers of stream 0":        func(int) []byte { return h2Frame(h2Headers, h2EndHeaders, 0, h2Get) },
		"headers with a capital name": func(i int) []byte {
			return h2Frame(h2Headers, h2EndHeaders|h2EndStream, uint32(2*i+1), append(bytes.Clone(h2Get), 0, 1, 'A', 1, 'b'))
		},
		"a second method": func(i int) []byte {
			return h2Frame(h2Headers, h2EndHeaders|h2EndStream, uint32(2*i+1), append(bytes.Clone(h2Get), 0x83))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, log := openHostile(t)
			c := b.dial()
			c.(*net.TCPConn).SetReadBuffer(4 << 10) // what is answered is not read
			c.SetWriteDeadline(time.Now().Add(2 * time.Second))
			io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			c.Write(h2Frame(h2Settings, 0, 0, nil))
			sent := 0
			for i := range 20_000 {
				n, err := c.Write(flood(i))
				sent += n
				if err != nil {
					break
				}
			}
			if name == "CONTINUATION for ever" && sent > 32<<20 {
				t.Errorf("got %d bytes of one header taken, want it refused early", sent)
			}
			log.wantNoPanic(b)
		})
	}
}
