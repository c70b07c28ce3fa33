package server

import (
	"bufio"
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const plainLines = "POST / HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n"

func TestOnlyHeadsThatCanBeReadInOneWayArePlain(t *testing.T) {
	for _, head := range []string{
		plainLines,
		plainLines + "CONTENT-type:application/json\r\naccept: */*\r\nuser-agent: \t curl/8 (x; y) \t\r\nConnection: Keep-Alive\r\n",
		"POST /?subject=orders.a&key=%C3%A9+b HTTP/1.1\r\nHost: [::1]:2021\r\nContent-Length: 9999\r\n",
	} {
		if _, ok := parsePlainHead([]byte(head)); !ok {
			t.Errorf("%q: got it refused, want it plain", head)
		}
	}
	for _, head := range []string{
		"", "\r\n", plainLines + "\r\n", plainLines[:len(plainLines)-1], plainLines[:len(plainLines)-2],
		"GET / HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n",
		"POST / HTTP/1.1\r\nHost: bus\r\n", "POST / HTTP/1.1\r\nContent-Length: 2\r\n",
		"POST /?confirm=1 HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n",
		"POST /?subject=a&repl%79=true HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n",
		"POST /?subject=a;confirm=1 HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n",
		"POST /?subject=orders.a&expected_index=1 HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n",
		"POST /?expected_subject_index=1 HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n", plainLines + "If-Match: \"1\"\r\n", plainLines + "if-match: 1\r\n",
		plainLines + "Transfer-Encoding: chunked\r\n", plainLines + "Expect: 100-continue\r\n",
		plainLines + "Upgrade: h2c\r\n", plainLines + "Connection: close\r\n", plainLines + "Connection: keep-alive, upgrade\r\n",
		plainLines + "Content-Length: 2\r\n", plainLines + "Host: bus\r\n", plainLines + "Accept: a\r\naccept: a\r\n",
		plainLines + "Content-Type: application/x-ndjson\r\n", plainLines + "Trailer: x\r\n", plainLines + "X-Any: x\r\n",
		plainLines + "Accept : a\r\n", plainLines + " Accept: a\r\n", plainLines + "Accept\r\n", plainLines + ": a\r\n",
		plainLines + "Accept: a\x00\r\n", plainLines + "Accept: \x7f\r\n", plainLines + "Accept: é\r\n", plainLines + "Accept: a\rb\r\n",
		plainLines + "Idempotency-\u212aey: a\r\n", strings.ReplaceAll(plainLines, "\r\n", "\n"), strings.Replace(plainLines, "\r\n", "\n", 1),
	} {
		if _, ok := parsePlainHead([]byte(head)); ok {
			t.Errorf("%q: got it plain, want it refused", head)
		}
	}
}

// FuzzAPlainHeadSaysWhatNetHTTPReads: what is taken for plain is a request to
// net/http too, and the same one.
func FuzzAPlainHeadSaysWhatNetHTTPReads(f *testing.F) {
	for _, more := range []string{"", "Content-Type: application/json\r\n", "Idempotency-Key: \"k\"\r\nOrigin: http://a\r\n", "Via: a\r\nForwarded:\r\n"} {
		f.Add([]byte(plainLines + more))
		f.Add([]byte(strings.Replace(plainLines, "/", "/?subject=orders.a&id=x%2F&trace_id=", 1) + more))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		h, ok := parsePlainHead(head)
		if !ok {
			return
		}
		whole := append(append(bytes.Clone(head), "\r\n"...), make([]byte, h.length)...)
		in := bufio.NewReader(bytes.NewReader(whole))
		want, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q: net/http says %v", head, err)
		}
		got := h.request()
		if got.Method != want.Method || *got.URL != *want.URL || got.RequestURI != want.RequestURI || got.Proto != want.Proto ||
			got.ProtoMajor != want.ProtoMajor || got.ProtoMinor != want.ProtoMinor || got.Host != want.Host ||
			got.ContentLength != want.ContentLength || want.Close || len(want.TransferEncoding) > 0 || want.Trailer != nil {
			t.Errorf("%q:\ngot  %+v\nwant %+v", head, got, want)
		}
		if !maps.EqualFunc(got.Header, want.Header, slices.Equal) {
			t.Errorf("%q: got headers %q, want %q", head, got.Header, want.Header)
		}
	})
}
