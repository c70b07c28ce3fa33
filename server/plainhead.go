package server

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

var headEnd = []byte("\r\n\r\n")

// plainHead is what the head of a plain publish says.
type plainHead struct {
	query  string
	host   string
	length int
	header http.Header
}

// plainNames are the headers that a plain publish may have, each once. All others
// are for net/http: those that change how a request is read (Transfer-Encoding,
// Expect, Upgrade, Trailer) among those that mean nothing.
var plainNames = []string{
	"Host", "Content-Length", "Content-Type", "User-Agent", "Accept", "Accept-Encoding", "Connection",
	"Idempotency-Key", "Origin", "Accept-Language", "Referer", "Traceparent", "Tracestate", "X-Request-Id",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded", "Via",
}

// plainTypes are the types of a body that is one JSON document, or is told by
// ?subject= to be anything. A stream of events is none of them: it may never end.
var plainTypes = []string{
	"", "application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded",
	"text/plain", "text/plain;charset=UTF-8", "text/plain; charset=utf-8", "application/octet-stream",
}

// plainParams are the parameters that make nobody wait.
var plainParams = []string{"subject", "key", "trace_id", "id", "response_subject", "header"}

// What follows reads bytes of strangers, in front of which may stand a proxy that
// has read them already. Whatever two readers could take for two things - a length
// that stands twice or is written oddly, a line that ends in LF alone or goes on in
// the next, a name with a space behind it - must never be taken for plain: it would
// let a request hide in the body of another.

// parsePlainHead reads a head, with the line end of its last header and without
// the empty line. It reports false for everything that is not exactly a plain
// publish.
func parsePlainHead(head []byte) (*plainHead, bool) {
	line, rest, ok := cutLine(head)
	if !ok {
		return nil, false
	}
	h := &plainHead{header: make(http.Header, 8)}
	if h.query, ok = plainTarget(line); !ok {
		return nil, false
	}
	for len(rest) > 0 {
		if line, rest, ok = cutLine(rest); !ok || !h.field(line) {
			return nil, false
		}
	}
	return h, h.host != "" && h.length > 0 && slices.Contains(plainTypes, h.header.Get("Content-Type"))
}

// cutLine cuts at the first line end, and refuses a CR or LF that stands alone.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	line, rest, ok = bytes.Cut(b, lineEnd)
	return line, rest, ok && bytes.IndexByte(line, '\r') < 0 && bytes.IndexByte(line, '\n') < 0
}

// plainTarget returns the query of "POST /?query HTTP/1.1", "" without one.
func plainTarget(line []byte) (query string, ok bool) {
	target, ok := bytes.CutPrefix(line, []byte("POST /"))
	if ok {
		target, ok = bytes.CutSuffix(target, []byte(" HTTP/1.1"))
	}
	if !ok || len(target) == 0 {
		return "", ok
	}
	if target[0] != '?' || len(target) == 1 {
		return "", false
	}
	query = string(target[1:])
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if !slices.Contains(plainParams, name) {
			return "", false
		}
	}
	return query, isOf(query, "-._~%+=&:,")
}

// isOf reports whether all of s are letters, digits or one of the others.
func isOf(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

// field takes a header, and reports false when it is none that is known, comes a
// second time, or has a value that may mean something else to somebody else.
func (h *plainHead) field(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return false
	}
	name, ok := plainName(line[:i])
	value := strings.Trim(string(line[i+1:]), " \t")
	if !ok || !printable(value) {
		return false
	}
	switch name {
	case "Host":
		ok = h.host == "" && value != "" && isOf(value, "-._:[]")
		h.host = value
		return ok
	case "Content-Length":
		if h.length, ok = plainLength(value); !ok {
			return false
		}
	case "Connection":
		if !strings.EqualFold(value, "keep-alive") {
			return false
		}
	}
	if _, twice := h.header[name]; twice {
		return false
	}
	h.header[name] = []string{value}
	return true
}

// plainName returns the name in the spelling of net/http. That a name is of
// letters and hyphens comes first: EqualFold knows letters beyond ASCII that are
// the same as one within.
func plainName(name []byte) (string, bool) {
	if !isOf(string(name), "-") {
		return "", false
	}
	for _, known := range plainNames {
		if len(known) == len(name) && strings.EqualFold(known, string(name)) {
			return known, true
		}
	}
	return "", false
}

// printable reports whether a value is of visible ASCII, spaces and tabs.
func printable(value string) bool {
	for i := range len(value) {
		if c := value[i]; c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}

// plainLength reads a length of up to four digits that begins with none that
// somebody could read as octal.
func plainLength(value string) (n int, ok bool) {
	if len(value) == 0 || len(value) > 4 || value[0] == '0' {
		return 0, false
	}
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return 0, false
		}
		n = 10*n + int(value[i]-'0')
	}
	return n, true
}

// request is what net/http makes of the same bytes, but for the body.
func (h *plainHead) request() *http.Request {
	target := "/"
	if h.query != "" {
		target += "?" + h.query
	}
	return &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/", RawQuery: h.query}, RequestURI: target,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h.header, Host: h.host, ContentLength: int64(h.length),
	}
}
