package bus

import (
	"errors"
	"fmt"
	"time"
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
	Index      uint64   `json:"index,omitempty"`       // its index; for wrong_index, the actual last one; for what was removed, where the next one may stand
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

// AtLine says in which line of a stream, or item of a batch, an error was found,
// from 1. An err that is no *Error comes back as it is.
func AtLine(err error, line int) error {
	e, ok := AsError(err)
	if !ok {
		return err
	}
	c := *e
	c.Line = line
	return &c
}

func newError(status int, code, title string) *Error {
	return &Error{Code: code, Title: title, Status: status}
}

// The refusals, each with the status it travels with. They are values to compare
// with errors.Is and must not be changed.
var (
	ErrInvalidJSON       = newError(400, "invalid_json", "the body is not valid JSON")
	ErrUnknownField      = newError(400, "unknown_field", "a field does not exist")
	ErrInvalidEvent      = newError(400, "invalid_event", "the event has a field with a wrong value")
	ErrInvalidSubject    = newError(400, "invalid_subject", "the subject is not valid")
	ErrInvalidID         = newError(400, "invalid_id", "the id is not valid")
	ErrMissingSubject    = newError(400, "missing_subject", "a subject is missing")
	ErrMixedNamespaces   = newError(400, "mixed_namespaces", "a batch belongs to one namespace")
	ErrInvalidParameter  = newError(400, "invalid_parameter", "a parameter has a wrong value")
	ErrUnknownParameter  = newError(400, "unknown_parameter", "a parameter does not exist")
	ErrForbiddenOrigin   = newError(403, "forbidden_origin", "this origin may not do that")
	ErrAdminOnly         = newError(403, "admin_only", "this is for administrators")
	ErrNotFound          = newError(404, "not_found", "there is nothing at this path")
	ErrUnknownNamespace  = newError(404, "unknown_namespace", "the namespace is not declared")
	ErrUnknownConsumer   = newError(404, "unknown_consumer", "there is no such consumer")
	ErrUnknownEvent      = newError(404, "unknown_event", "there is no such event")
	ErrNotDelivered      = newError(404, "not_delivered", "the event is not with this consumer")
	ErrMethodNotAllowed  = newError(405, "method_not_allowed", "the method is not allowed here")
	ErrNotAcceptable     = newError(406, "not_acceptable", "none of the accepted types can be answered")
	ErrDeclaredAtStart   = newError(409, "declared_at_start", "the namespace is declared when the server starts")
	ErrConsumerDiffers   = newError(409, "consumer_differs", "the consumer has other settings")
	ErrLetterResolved    = newError(409, "dead_letter_resolved", "the dead letter is done with")
	ErrTooManyDead       = newError(409, "too_many_dead_letters", "the namespace has more open dead letters than can be handled at once")
	ErrEventLost         = newError(410, "event_lost", "the event was lost to damage, and the log has been repaired since")
	ErrEventDeleted      = newError(410, "event_deleted", "the event was deleted")
	ErrEventRemoved      = newError(410, "event_removed", "the event is not kept any more")
	ErrRequestTimeout    = newError(408, "request_timeout", "the body did not arrive in time")
	ErrWrongIndex        = newError(412, "wrong_index", "the last index is another one than was expected")
	ErrTooLarge          = newError(413, "too_large", "the event or batch is over the limit")
	ErrUnsupportedMedia  = newError(415, "unsupported_media_type", "the content type or encoding cannot be taken")
	ErrKeyConflict       = newError(422, "key_conflict", "the key belongs to another event")
	ErrTooManySubjects   = newError(422, "too_many_subjects", "the last index of so many subjects is not kept")
	ErrTooManyDelayed    = newError(429, "too_many_delayed", "as many events wait for their delivery as may")
	ErrTooManyStreams    = newError(429, "too_many_streams", "the address has too many streams open")
	ErrStorage           = newError(500, "storage_failed", "the log takes no more events")
	ErrUnreadable        = newError(500, "read_failed", "the log cannot be read now")
	ErrCorrupt           = newError(500, "corrupt", "the log is damaged")
	ErrInternal          = newError(500, "internal", "something went wrong inside the server")
	ErrUnavailable       = newError(503, "unavailable", "the server takes no more requests of this kind now")
	ErrServerFull        = newError(503, "server_full", "the server has as many connections or streams as it may have")
	ErrSlowReader        = newError(503, "slow_reader", "the stream was not read fast enough")
	ErrConfirmTimeout    = newError(504, "confirm_timeout", "the event is stored, but not enough consumers acknowledged it in time")
	ErrReplyTimeout      = newError(504, "reply_timeout", "the event is stored, but no reply came in time")
	ErrInsufficientSpace = newError(507, "no_space", "there is no room for it")
)

// DamageError says that the events with indexes From to Next-1 of a namespace
// cannot be read. Next is 0 when nothing readable is known after them; never
// when they are lost for good.
type DamageError struct {
	Namespace  string
	From, Next uint64
	AtMost     bool      // of a repaired log: not all of them need have been there, since they could not be counted
	Repaired   time.Time // when the log was repaired: the events are lost for good, and the log says so itself; zero: it was not
	Err        error     // what was found, with file and offset
}

// Error names the range and the cause.
func (e *DamageError) Error() string {
	switch {
	case !e.Repaired.IsZero():
		return fmt.Sprintf("namespace %s has lost %s to damage, which was repaired %s", e.Namespace, e.events(), e.Repaired.UTC().Format(time.RFC3339))
	case e.Next == 0:
		return fmt.Sprintf("namespace %s is damaged from event %d on: %v", e.Namespace, e.From, e.Err)
	}
	return fmt.Sprintf("namespace %s is damaged at %s: %v", e.Namespace, e.events(), e.Err)
}

func (e *DamageError) events() string {
	events := fmt.Sprintf("events %d to %d", e.From, e.Next-1)
	if e.Next == e.From+1 {
		events = fmt.Sprintf("event %d", e.From)
	}
	if e.AtMost {
		events += ", or fewer,"
	}
	return events
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }
