package bus

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is a refusal as it travels on the wire (application/problem+json, RFC
// 9457) and as the client returns it. Code is stable; Detail is for people.
// errors.Is compares codes, so it works with the sentinels below on both ends.
type Error struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	// Filled where they say something.
	Namespaces []string `json:"namespaces,omitempty"`  // the declared ones, for unknown_namespace
	EventID    string   `json:"event_id,omitempty"`    // the event that was stored all the same, or the one meant
	Index      uint64   `json:"index,omitempty"`       // its index
	Confirmed  *int     `json:"confirmed,omitempty"`   // consumers that had acknowledged, for confirm_timeout
	Wanted     int      `json:"wanted,omitempty"`      // consumers that were waited for
	Line       int      `json:"line,omitempty"`        // line of an NDJSON body, item of a batch, from 1
	RetryAfter int      `json:"retry_after,omitempty"` // seconds after which trying again makes sense
}

// Error returns the code and what there is to say.
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Title
	}
	return e.Title + ": " + e.Detail
}

// Is compares codes, so that a decoded error equals its sentinel.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With returns a copy that carries a detail. The sentinels stay as they are.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Detail = fmt.Sprintf(format, args...)
	return &c
}

// AsError returns err as an *Error, wherever it stands in the chain.
func AsError(err error) (*Error, bool) {
	e, ok := errors.AsType[*Error](err)
	return e, ok
}

func newError(status int, code, title string) *Error {
	return &Error{Code: code, Title: title, Status: status}
}

// The refusals. They are values to compare with errors.Is and must not be
// changed.
var (
	ErrInvalidJSON       = newError(http.StatusBadRequest, "invalid_json", "the body is not valid JSON")
	ErrUnknownField      = newError(http.StatusBadRequest, "unknown_field", "the event has a field that does not exist")
	ErrInvalidEvent      = newError(http.StatusBadRequest, "invalid_event", "the event has a field with a wrong value")
	ErrInvalidSubject    = newError(http.StatusBadRequest, "invalid_subject", "the subject is not valid")
	ErrInvalidID         = newError(http.StatusBadRequest, "invalid_id", "the id is not valid")
	ErrMissingSubject    = newError(http.StatusBadRequest, "missing_subject", "a subject is missing")
	ErrMixedNamespaces   = newError(http.StatusBadRequest, "mixed_namespaces", "a batch belongs to one namespace")
	ErrInvalidParameter  = newError(http.StatusBadRequest, "invalid_parameter", "a parameter has a wrong value")
	ErrUnknownParameter  = newError(http.StatusBadRequest, "unknown_parameter", "a parameter does not exist")
	ErrForbiddenOrigin   = newError(http.StatusForbidden, "forbidden_origin", "this origin may not do that")
	ErrNotFound          = newError(http.StatusNotFound, "not_found", "there is nothing at this path")
	ErrUnknownNamespace  = newError(http.StatusNotFound, "unknown_namespace", "the namespace is not declared")
	ErrUnknownConsumer   = newError(http.StatusNotFound, "unknown_consumer", "the consumer is not connected")
	ErrUnknownEvent      = newError(http.StatusNotFound, "unknown_event", "there is no such event")
	ErrNotDelivered      = newError(http.StatusNotFound, "not_delivered", "the event is not with this consumer")
	ErrMethodNotAllowed  = newError(http.StatusMethodNotAllowed, "method_not_allowed", "the method is not allowed here")
	ErrNotAcceptable     = newError(http.StatusNotAcceptable, "not_acceptable", "none of the accepted types can be answered")
	ErrRequestTimeout    = newError(http.StatusRequestTimeout, "request_timeout", "the body did not arrive in time")
	ErrTooLarge          = newError(http.StatusRequestEntityTooLarge, "too_large", "the event or batch is over the limit")
	ErrUnsupportedMedia  = newError(http.StatusUnsupportedMediaType, "unsupported_media_type", "the content type or encoding cannot be taken")
	ErrKeyConflict       = newError(http.StatusUnprocessableEntity, "key_conflict", "the key belongs to another event")
	ErrStorage           = newError(http.StatusInternalServerError, "storage_failed", "the log takes no more events")
	ErrCorrupt           = newError(http.StatusInternalServerError, "corrupt", "the log is damaged")
	ErrInternal          = newError(http.StatusInternalServerError, "internal", "something went wrong inside the server")
	ErrUnavailable       = newError(http.StatusServiceUnavailable, "unavailable", "the server takes no more requests of this kind now")
	ErrSlowReader        = newError(http.StatusServiceUnavailable, "slow_reader", "the stream was not read fast enough")
	ErrConfirmTimeout    = newError(http.StatusGatewayTimeout, "confirm_timeout", "the event is stored, but not enough consumers acknowledged it in time")
	ErrReplyTimeout      = newError(http.StatusGatewayTimeout, "reply_timeout", "the event is stored, but no reply came in time")
	ErrInsufficientSpace = newError(http.StatusInsufficientStorage, "no_space", "the disk is full")
)
