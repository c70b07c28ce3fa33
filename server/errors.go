package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

const typeProblem = "application/problem+json"

// problem is the document of RFC 9457 around a bus.Error.
type problem struct {
	Type string `json:"type"`
	*bus.Error
}

// fromNothing is a problem whose index is 0, because there is no event yet; an
// ordinary one leaves a 0 out.
type fromNothing struct {
	problem
	Index uint64 `json:"index"`
}

func problemOf(e *bus.Error) any {
	p := problem{Type: "about:blank", Error: e}
	if e.Index == 0 && errors.Is(e, bus.ErrWrongIndex) {
		return fromNothing{problem: p}
	}
	return p
}

// fail answers with a problem document. An error that is no bus.Error is a
// fault of ours: it is logged in full and told without its insides.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := retryable(s.refusal(r.Method, r.URL.Path, err))
	body := encode(problemOf(e))
	h := w.Header()
	h.Set("Content-Type", typeProblem)
	h.Set("Cache-Control", "no-store")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	s.metrics.refused(e.Code)
	s.boundUnread(w, r)
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// encode returns a document of ours and a line break. It leaves & and < as
// they are, because a person may copy an address out of it. It is for types
// that always marshal.
func encode(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return []byte("{}\n")
	}
	return b.Bytes()
}

// retryable says when trying again makes sense, for refusals that pass.
func retryable(e *bus.Error) *bus.Error {
	after := map[string]int{bus.ErrUnavailable.Code: 1, bus.ErrServerFull.Code: 5, bus.ErrTooManyStreams.Code: 5, bus.ErrInsufficientSpace.Code: 10}[e.Code]
	if e.RetryAfter > 0 || after == 0 {
		return e
	}
	c := *e
	c.RetryAfter = after
	return &c
}

// refusal finds the bus.Error to answer with.
func (s *Server) refusal(method, path string, err error) *bus.Error {
	if e, ok := bus.AsError(err); ok {
		if errors.Is(e, bus.ErrUnreadable) {
			s.log.Error(e.Title, "error", e.Detail)
		}
		return e
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return bus.ErrTooLarge.With("at most %d bytes are taken", tooLarge.Limit)
	}
	if removed, ok := bus.AsRemoved(err); ok {
		return removed.Refusal()
	}
	if damage, ok := errors.AsType[*bus.DamageError](err); ok {
		if !damage.Repaired.IsZero() {
			return bus.ErrEventLost.With("%s", damage)
		}
		s.log.Error("damaged log", "namespace", damage.Namespace, "from", damage.From, "next", damage.Next, "error", damage.Err)
		return bus.ErrCorrupt.With("%s", damage)
	}
	if errors.Is(err, delivery.ErrClosed) {
		return bus.ErrUnavailable.With("the server is stopping")
	}
	if errors.Is(err, delivery.ErrSlowInbox) {
		return bus.ErrSlowReader.With("%s", err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return bus.ErrUnavailable.With("the request ended before it was done")
	}
	s.log.Error("request failed", "method", method, "path", path, "error", err)
	return &bus.Error{Code: bus.ErrInternal.Code, Title: bus.ErrInternal.Title, Status: bus.ErrInternal.Status}
}

// writeJSON answers with a small document.
func (s *Server) writeJSON(w http.ResponseWriter, status int, value any) {
	s.writeBody(w, status, encode(value))
}

func (s *Server) writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	s.setAnswerDeadline(w)
	w.WriteHeader(status)
	w.Write(body)
}
