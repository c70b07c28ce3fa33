package server

import (
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wholeAnswer is up to which size net/http waits for the end of an answer, to
// tell its length. A longer one goes out in chunks.
const wholeAnswer = 2 << 10

// plainOwn are headers that are written here for each answer. A second length
// would be read as one or the other.
var plainOwn = []string{"Content-Length", "Date", "Transfer-Encoding"}

// plainAnswer collects an answer, to be written at once. It is not for statuses
// without a body, which no publish has.
type plainAnswer struct {
	header  http.Header
	status  int
	body    []byte
	writeBy time.Time // what the handler asked for

	out    []byte
	names  []string
	date   []byte
	dateOf int64 // Unix time
}

// begin makes room for the next answer.
func (a *plainAnswer) begin() {
	clear(a.header)
	a.status, a.body, a.writeBy = 0, a.body[:0], time.Time{}
}

// rest lets go of what an unusual answer took, while its connection is idle.
func (a *plainAnswer) rest() {
	if cap(a.body)+cap(a.out) > plainRoom {
		a.body, a.out = nil, nil
	}
}

// Header implements http.ResponseWriter.
func (a *plainAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter: the first call counts. Answers of
// 1xx, which come before the one that counts, are left out.
func (a *plainAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

// Write implements http.ResponseWriter. It does not wait, and does not fail.
func (a *plainAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}

// SetReadDeadline is there for http.ResponseController. The body has arrived.
func (a *plainAnswer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is kept until there is something to write.
func (a *plainAnswer) SetWriteDeadline(t time.Time) error {
	a.writeBy = t
	return nil
}

// bytes returns the whole answer, good until the next call, and whether it ends
// the connection: because the server does, or the handler wants it.
func (a *plainAnswer) bytes(ending bool) (out []byte, ends bool) {
	a.WriteHeader(http.StatusOK)
	ends = ending || strings.EqualFold(a.header.Get("Connection"), "close")
	if ends {
		a.header["Connection"] = []string{"close"}
	}
	out = strconv.AppendInt(append(a.out[:0], "HTTP/1.1 "...), int64(a.status), 10)
	out = append(append(append(out, ' '), http.StatusText(a.status)...), lineEnd...)
	out = a.appendDate(a.appendHeader(out))
	if len(a.body) > wholeAnswer {
		out = append(out, "Transfer-Encoding: chunked\r\n\r\n"...)
		out = append(strconv.AppendInt(out, int64(len(a.body)), 16), lineEnd...)
		out = append(append(append(out, a.body...), lineEnd...), lastChunk...)
	} else {
		out = strconv.AppendInt(append(out, "Content-Length: "...), int64(len(a.body)), 10)
		out = append(append(out, headEnd...), a.body...)
	}
	a.out = out
	return out, ends
}

// appendHeader appends headers by name. A value may be of what a request said:
// line ends in it must not make headers of their own.
func (a *plainAnswer) appendHeader(out []byte) []byte {
	if _, typed := a.header["Content-Type"]; !typed && len(a.body) > 0 {
		a.header.Set("Content-Type", http.DetectContentType(a.body))
	}
	a.names = a.names[:0]
	for name := range a.header {
		if !slices.Contains(plainOwn, name) {
			a.names = append(a.names, name)
		}
	}
	slices.Sort(a.names)
	for _, name := range a.names {
		for _, value := range a.header[name] {
			if strings.ContainsAny(value, "\r\n") {
				value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
			}
			out = append(append(append(out, name...), ": "...), textproto.TrimString(value)...)
			out = append(out, lineEnd...)
		}
	}
	return out
}

// appendDate appends the time, which is written anew once a second.
func (a *plainAnswer) appendDate(out []byte) []byte {
	now := time.Now()
	if at := now.Unix(); at != a.dateOf || a.date == nil {
		a.dateOf, a.date = at, now.UTC().AppendFormat(a.date[:0], http.TimeFormat)
	}
	return append(append(append(out, "Date: "...), a.date...), lineEnd...)
}
