package server_test

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// post is a publish as most clients send it.
func post(target, body string, headers ...string) string {
	more := ""
	for _, h := range headers {
		more += h + "\r\n"
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: bus\r\n%sContent-Length: %d\r\n\r\n%s", target, more, len(body), body)
}

// conversations are what peers say, plain and otherwise.
func conversations() map[string]string {
	event := `{"subject":"orders.eu","payload":{"a":1}}`
	one := post("/", event, "Content-Type: application/json")
	last := "GET /livez HTTP/1.1\r\nHost: bus\r\n\r\n"
	raw := func(head, body string) string { return "POST / HTTP/1.1\r\nHost: bus\r\n" + head + "\r\n\r\n" + body }
	all := map[string]string{
		"one":                  one,
		"five":                 strings.Repeat(one, 5),
		"other headers":        strings.Repeat(post("/", event, "User-Agent: curl/8", "accept: */*", "Accept-Encoding: gzip", "Connection: Keep-Alive"), 2),
		"a payload":            post("/?subject=orders.a&trace_id=t-1", "7"),
		"a payload of bytes":   post("/?subject=orders.a", "\x00\xff", "Content-Type: application/octet-stream"),
		"a key twice":          strings.Repeat(post("/", event, `Idempotency-Key: "k"`), 2),
		"a key in the query":   strings.Repeat(post("/?subject=orders.a&key=k2", "1"), 2),
		"an id":                strings.Repeat(post("/", `{"subject":"orders.a","id":"mine-1"}`), 2),
		"headers":              post("/?subject=orders.a&header=a:b&header=c:d", "1") + post("/?subject=orders.a&header=a:b&header=a:d", "1") + one,
		"a trace":              post("/", event, "traceparent: "+aTrace, "Tracestate: a=b") + "GET /v1/namespaces/orders/events/1 HTTP/1.1\r\nHost: bus\r\n\r\n",
		"an inbox":             post("/", `{"subject":"_bus_.x"}`),
		"a small batch":        post("/", "["+event+","+event+"]"),
		"a batch in chunks":    post("/", "["+event+strings.Repeat(","+event, 40)+"]") + one,
		"a condition":          post("/?subject=orders.a&expected_index=0", "1") + strings.Repeat(post("/?subject=orders.b&expected_subject_index=0", "1"), 2) + one,
		"a wrong condition":    post("/", event, `If-Match: "999999999"`) + post("/?expected_index=999999999", event) + post("/?expected_index=x", event) + one,
		"an allowed page":      post("/", event, "Origin: http://localhost:3000"),
		"a foreign page":       post("/", event, "Origin: https://evil.example") + one,
		"a wrong body":         post("/", `{"subject":`) + one,
		"an unknown field":     post("/", `{"subject":"orders.a","paylod":1}`) + one,
		"an unknown namespace": post("/", `{"subject":"nope.a"}`) + one,
		"a wrong subject":      post("/?subject=orders.*", "1") + one,
		"an unknown parameter": post("/?subjekt=orders.a", "1") + one,
		"a parameter twice":    post("/?subject=orders.a&subject=orders.b", "1") + one,
		"an escape":            post("/?subject=orders%2Ea", "1") + post("/?subject=orders%zz", "1") + one,
		"an event too large":   post("/", `{"subject":"orders.a","payload":"`+strings.Repeat("x", 2100)+`"}`) + one,
		"just beyond the room": post("/?subject=orders.a", `"`+strings.Repeat("x", 4100)+`"`) + one,
		"an encoding":          post("/", event, "Content-Encoding: gzip") + one,
		"a stream of lines":    post("/", event+"\n"+event+"\n", "Content-Type: application/x-ndjson") + one,
		"a media type":         post("/", event, "Content-Type: image/png") + post("/", event, "Content-Type: ;") + one,
		"an end":               post("/", event, "Connection: close") + one,
		"two connections":      post("/", event, "Connection: keep-alive", "Connection: close") + one,
		"a list of them":       post("/", event, "Connection: keep-alive, close") + one,
		"an upgrade":           post("/", event, "Connection: Upgrade", "Upgrade: websocket") + one,
		"HTTP/1.0":             strings.ReplaceAll(one, "HTTP/1.1", "HTTP/1.0") + one,
		"another method":       one + "PUT /?consumer_id=c_x&event_id=e_y HTTP/1.1\r\nHost: bus\r\n\r\n" + one,
		"DELETE":               one + "DELETE / HTTP/1.1\r\nHost: bus\r\n\r\n" + one,
		"OPTIONS":              one + "OPTIONS / HTTP/1.1\r\nHost: bus\r\nOrigin: http://localhost\r\n\r\n" + one,
		"lower case":           one + strings.Replace(one, "POST", "post", 1) + one,
		"another path":         one + strings.Replace(one, "POST / ", "POST /x ", 1) + one,
		"two slashes":          one + strings.Replace(one, "POST / ", "POST // ", 1) + one,
		"an absolute target":   one + strings.Replace(one, "POST / ", "POST http://bus/ ", 1) + one,
		"an empty query":       one + strings.Replace(one, "POST / ", "POST /? ", 1) + one,
		"a fragment":           one + strings.Replace(one, "POST / ", "POST /#x ", 1) + one,
		"two spaces":           one + strings.Replace(one, "POST / ", "POST  / ", 1) + one,
		"line ends between":    one + "\r\n" + one + "\n\n" + one + "\r\n\r\n" + one,
		"six line ends":        one + "\r\n\r\n\r\n" + one,
		"line ends at first":   "\r\n" + one,
		"line ends at last":    one + "\r\n",
		"a stray byte":         one + "x",
		"a stray line":         one + "PO\r\n",
		"no host":              "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" + one,
		"an empty host":        "POST / HTTP/1.1\r\nHost:\r\nContent-Length: 2\r\n\r\n{}" + one,
		"two hosts":            post("/", event, "Host: other") + one,
		"a host of slashes":    strings.Replace(one, "Host: bus", "Host: a/../b", 1) + one,
		"a stream":             one + "GET /?subject=orders.* HTTP/1.1\r\nHost: bus\r\n\r\n" + one,
		"no length":            raw("Content-Type: application/json", event) + one,
		"length 0":             raw("Content-Length: 0", "") + one,
		"an expectation":       post("/", event, "Expect: 100-continue") + one,
		"another expectation":  post("/", event, "Expect: coffee") + one,
		"chunks":               raw("Transfer-Encoding: chunked", "29\r\n"+event+"\r\n0\r\n\r\n") + one,
		"chunks and a length":  raw("Content-Length: 4\r\nTransfer-Encoding: chunked", "29\r\n"+event+"\r\n0\r\n\r\n") + one,
		"a length and chunks":  raw("Transfer-Encoding: chunked\r\nContent-Length: 4", "29\r\n"+event+"\r\n0\r\n\r\n") + one,
		"chunks, misspelt":     raw("Content-Length: 41\r\nTransfer-Encoding : chunked", event) + one,
		"chunks, folded":       raw("Content-Length: 41\r\nTransfer-Encoding:\r\n chunked", event) + one,
		"chunks by a VT":       raw("Content-Length: 41\r\nTransfer-Encoding: \x0bchunked", event) + one,
		"a NUL":                raw("Content-Length: 41\r\nUser-Agent: a\x00b", event) + one,
		"a NUL in a name":      raw("Content-Length: 41\r\nUser\x00-Agent: a", event) + one,
		"bytes above ASCII":    raw("Content-Length: 41\r\nUser-Agent: \xff\xfe", event) + one,
		"a folded K":           raw("Content-Length: 41\r\nIdempotency-\u212Aey: a", event) + one,
		"a bare CR":            raw("Content-Length: 41\r\nUser-Agent: a\rb", event) + one,
		"bare LFs":             strings.ReplaceAll(one, "\r\n", "\n") + one,
		"one bare LF":          raw("Content-Length: 41\nUser-Agent: a", event) + one,
		"a folded header":      raw("Content-Length: 41\r\nUser-Agent: a\r\n b", event) + one,
		"a header of nothing":  raw("Content-Length: 41\r\n: a", event) + one,
		"no colon":             raw("Content-Length: 41\r\nUser-Agent", event) + one,
		"a lie that is short":  raw("Content-Length: 40", event) + one,
		"a lie that is long":   raw("Content-Length: 42", event) + one,
		"a huge head":          raw("Content-Length: 41\r\nUser-Agent: "+strings.Repeat("a", 5000), event) + one,
		"many headers":         raw("Content-Length: 41\r\n"+strings.Repeat("X-A: b\r\n", 200)+"Via: c", event) + one,
	}
	for _, length := range []string{"+41", " 41", "\t41 ", "41 ", "0x29", "041", "4 1", "41,41", "41, 42", "-41", "4_1", "41.0", "99999", "18446744073709551657", "", "٤"} {
		all["length "+length] = raw("Content-Length:"+length, event) + one
		all["length "+length+" after one"] = one + raw("Content-Length: 41\r\nContent-Length:"+length, event) + one
	}
	for name, c := range all {
		if strings.HasPrefix(name, "a huge") || strings.HasPrefix(name, "many") { // net/http lingers
			continue
		}
		all[name] = c + last
	}
	return all
}

// Whatever a peer says, and in whatever pieces, it is answered as net/http answers
// it: the same statuses, headers and bodies, and as many of them.
func TestAPlainPublishIsAnsweredAsByNetHTTP(t *testing.T) {
	w := openTwins(t)
	for name, c := range conversations() {
		t.Run(name, func(t *testing.T) {
			b := []byte(c)
			head := bytes.Index(b, []byte("\r\n\r\n")) + 4
			for _, sizes := range [][]int{{len(b)}, {1}, {head, len(b)}, {7, 300}, {4096}, {len(b) / 2}} {
				w.compare(t, cut(b, sizes...))
			}
		})
	}
}

// Also where a request is cut in two, at each of its bytes, as the first of a
// connection and as one that follows.
func TestAPlainPublishMayArriveInAnyTwoPieces(t *testing.T) {
	w := openTwins(t)
	one := post("/?subject=orders.a", `{"a":1}`, "User-Agent: x")
	for i := range len(one) + 1 {
		for _, before := range []string{"", one} {
			w.compare(t, [][]byte{[]byte(before + one[:i]), []byte(one[i:] + one)})
		}
	}
}

// FuzzAPlainPublishIsAnsweredAsByNetHTTP says any bytes in any pieces to both.
func FuzzAPlainPublishIsAnsweredAsByNetHTTP(f *testing.F) {
	for _, c := range conversations() {
		f.Add([]byte(c), uint16(0), uint16(0))
		f.Add([]byte(c), uint16(60), uint16(9))
	}
	w := openTwins(f)
	f.Fuzz(func(t *testing.T, said []byte, first, rest uint16) {
		if waits(said) {
			return
		}
		if first == 0 {
			first = uint16(min(len(said), 1<<16-1))
		}
		pieces := cut(said, int(first), max(int(rest), 1+len(said)/50))
		w.compare(t, pieces)
	})
}

// waits reports whether something in it may be waited for, for seconds, or speaks
// another protocol, whose answers come as it chances.
func waits(said []byte) bool {
	plain := said
	if text, err := url.PathUnescape(string(said)); err == nil {
		plain = []byte(text)
	}
	stream := bytes.Contains(plain, []byte("?")) && (bytes.Contains(plain, []byte("GET ")) || bytes.Contains(plain, []byte("HEAD ")))
	return stream || bytes.Contains(plain, []byte("confirm")) || bytes.Contains(plain, []byte("reply")) || bytes.Contains(plain, []byte("PRI "))
}
