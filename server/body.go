package server

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"example.com/bus"
)

// readBody reads a body of at most one bytes if it is a single event, and most
// if it is an array. It stops at the limit: what lies beyond is not read. The
// result is the caller's own; held covers it until the request is done.
func readBody(w http.ResponseWriter, r *http.Request, held *lease, one, most int) ([]byte, error) {
	if r.ContentLength > int64(most) {
		return nil, tooLarge(w, r, most)
	}
	size := 512
	if r.ContentLength > 0 {
		size = int(r.ContentLength) + 1 // one more, so that the last Read finds the end
	}
	body, limit := make([]byte, 0, min(size, freeBytes)), most
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if first := firstByte(body); first != '[' && first != 0 {
			limit = one
		}
		if len(body) > limit {
			return nil, tooLarge(w, r, limit)
		}
		if err == io.EOF {
			clearDeadlines(http.NewResponseController(w))
			return body, nil
		}
		if err != nil {
			return nil, unread(w, r, bodyError(err))
		}
		if len(body) == cap(body) {
			if err := held.cover(2 * cap(body)); err != nil {
				return nil, unread(w, r, err)
			}
			body = grow(body, size)
		}
	}
}

// grow doubles a full body, up to the size that was announced: a length is not
// trusted before its bytes are there, and one that proves true ends in a buffer
// that fits.
func grow(body []byte, announced int) []byte {
	size := 2 * cap(body)
	if announced > cap(body) {
		size = min(size, announced)
	}
	return append(make([]byte, 0, size), body...)
}

func tooLarge(w http.ResponseWriter, r *http.Request, limit int) error {
	return unread(w, r, bus.ErrTooLarge.With("at most %d bytes are taken; bus server --max-event and --max-batch say how many", limit))
}

// unread has the connection closed after the refusal, because the rest of the
// body still stands in it.
func unread(w http.ResponseWriter, r *http.Request, err error) error {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	return err
}

// maxPassedOver is how many bytes of a body that means nothing are read.
const maxPassedOver = 64 << 10

// boundBody gives what a request has announced its time, whatever becomes of the
// request: over HTTP/1.1 net/http waits for the end of a body before it lets an
// answer out, and again before it lets the connection go, both without a bound
// of its own. A body that nobody will look at is read here.
func (s *Server) boundBody(w http.ResponseWriter, r *http.Request) error {
	wanted := r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
	if r.ContentLength == 0 || !wanted && r.ProtoMajor != 1 {
		return nil
	}
	s.setReadDeadline(w)
	if wanted {
		return nil
	}
	control := http.NewResponseController(w)
	defer s.whenDrained(func() { control.SetReadDeadline(time.Now()) })()
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxPassedOver+1))
	switch {
	case err != nil:
		return unread(w, r, bodyError(err))
	case n > maxPassedOver:
		return unread(w, r, bus.ErrTooLarge.With("%.20s takes no body, found more than %d bytes", r.Method, maxPassedOver))
	}
	clearDeadlines(control)
	return nil
}

// boundUnread keeps a body that a refusal has not looked at from holding the
// refusal back: net/http reads on before it lets the answer out. A short one has
// the rest of its time for that, and the answer its own behind it.
func (s *Server) boundUnread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength < 0 {
		unread(w, r, nil)
	}
	deadline := time.Now().Add(s.config.WriteTimeout)
	if r.ContentLength > 0 {
		deadline = deadline.Add(s.config.BodyTimeout)
	}
	http.NewResponseController(w).SetWriteDeadline(deadline)
}

func bodyError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return bus.ErrRequestTimeout.With("nothing was stored")
	}
	return bus.ErrInvalidJSON.With("the body ended early: %s; nothing was stored", err)
}

// firstByte returns the first byte of a JSON text, 0 when there is none.
func firstByte(body []byte) byte {
	for _, c := range body {
		switch c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// checkEncoding: bodies are taken as they are, so that a small body cannot
// become a large one.
func checkEncoding(r *http.Request) error {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return bus.ErrUnsupportedMedia.With("content-encoding %.40q; wanted the body as it is", e)
	}
	return nil
}

func mediaType(r *http.Request) (string, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return "", nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		return "", bus.ErrUnsupportedMedia.With("content-type %.80q cannot be read", header)
	}
	return media, nil
}
