package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"example.com/bus"
)

// setReadDeadline gives the body its time. Transports that know no deadlines
// (a test's recorder) go without.
func (s *Server) setReadDeadline(w http.ResponseWriter) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.config.BodyTimeout))
}

// setAnswerDeadline gives an answer its time, so that a peer that does not read
// cannot hold a connection and what was to be written for ever.
func (s *Server) setAnswerDeadline(w http.ResponseWriter) {
	s.setWriteDeadline(http.NewResponseController(w))
}

func (s *Server) setWriteDeadline(c *http.ResponseController) {
	c.SetWriteDeadline(time.Now().Add(s.config.WriteTimeout))
}

// clearDeadlines gives a connection its leisure back. net/http keeps looking
// whether the peer is gone while a publisher waits for confirmations, and a
// read deadline that passes meanwhile looks like that; a write deadline left
// behind would cut the next request on the connection.
func clearDeadlines(c *http.ResponseController) {
	c.SetReadDeadline(time.Time{})
	c.SetWriteDeadline(time.Time{})
}

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
	body, limit := make([]byte, 0, min(size, 64<<10)), most
	for {
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if firstByte(body) != '[' && len(body) > 0 {
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
			return nil, bodyError(err)
		}
		if len(body) == cap(body) {
			if err := held.cover(2 * cap(body)); err != nil {
				return nil, unread(w, r, err)
			}
			body = append(body, 0)[:len(body)]
		}
	}
}

func tooLarge(w http.ResponseWriter, r *http.Request, limit int) error {
	return unread(w, r, bus.ErrTooLarge.With("at most %d bytes are taken", limit))
}

// unread has the connection closed after the refusal, because the rest of the
// body still stands in it.
func unread(w http.ResponseWriter, r *http.Request, err error) error {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	return err
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
