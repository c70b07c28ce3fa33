package client

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
)

// Error is what a server refuses, from package bus: Code is stable, Detail is for people.
type Error = bus.Error

// GapError says that a stream could not deliver some events and went on after them. It does
// not end a loop over Get.
type GapError struct {
	Namespace    string    `json:"namespace"`
	Requested    string    `json:"requested"`            // the id or index that was asked for
	ResumedIndex uint64    `json:"resumed_index"`        // where the stream goes on
	Lost         uint64    `json:"lost"`                 // how many events are not there, 0 when that is not known
	AtMost       bool      `json:"at_most,omitempty"`    // Lost is a bound: they could not be counted
	Reason       string    `json:"reason"`               // damage, retention, deleted, other_log, ahead
	RepairedAt   time.Time `json:"repaired_at,omitzero"` // of damage: since then the log says the gap itself, and they are gone for good; zero: it is not repaired
}

// Error names the gap in numbers.
func (e *GapError) Error() string {
	lost := "some events are"
	switch {
	case e.AtMost:
		lost = "at most " + strconv.FormatUint(e.Lost, 10) + " events are"
	case e.Lost == 1:
		lost = "1 event is"
	case e.Lost > 0:
		lost = strconv.FormatUint(e.Lost, 10) + " events are"
	}
	if e.Reason == "ahead" {
		return fmt.Sprintf("gap in namespace %s: asked for %s, which is beyond the end; going on at index %d", e.Namespace, e.Requested, e.ResumedIndex)
	}
	reason := e.Reason
	if !e.RepairedAt.IsZero() {
		reason += ", repaired " + e.RepairedAt.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("gap in namespace %s: %s gone (%s); asked for %s, going on at index %d",
		e.Namespace, lost, reason, e.Requested, e.ResumedIndex)
}

// problemOf reads the refusal out of an answer. A proxy's error page becomes an Error as well,
// with a code that says no more than the status.
func problemOf(resp *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	e := &Error{}
	contentType := resp.Header.Get("Content-Type")
	if !isJSON(contentType) || json.Unmarshal(body, e) != nil {
		e = &Error{}
	}
	e.Status = resp.StatusCode
	fillIn(e, fmt.Sprintf("http_%d", resp.StatusCode), "the server answered "+resp.Status)
	if e.Detail == "" && strings.HasPrefix(contentType, "text/plain") {
		e.Detail = fmt.Sprintf("%.200q", strings.TrimSpace(string(body)))
	}
	if asked := retryAfter(resp.Header); asked > 0 {
		e.RetryAfter = int((asked + time.Second - 1) / time.Second)
	}
	return e
}

// fillIn says what a refusal left out.
func fillIn(e *Error, code, title string) {
	if e.Code == "" {
		e.Code = code
	}
	if e.Title == "" {
		e.Title = title
	}
}

// unexpected is the error for a success that no bus server would have answered.
func unexpected(resp *http.Response, format string, args ...any) *Error {
	e := &Error{Code: "unexpected_answer", Title: "the answer is not one of a bus server", Status: resp.StatusCode}
	return e.With(format+"; check the URL", args...)
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// retryAfter reads Retry-After, which is a number of seconds or a date.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// asked is the wait that an error's server asked for.
func asked(err error) time.Duration {
	if e, ok := bus.AsError(err); ok {
		return time.Duration(min(e.RetryAfter, 1<<31)) * time.Second
	}
	return 0
}

// passing tells whether a stream that failed like this is worth another try. Unknown hosts
// are: a name may appear with the server. A certificate that is refused, or a server that
// does not speak TLS, is a matter for a person.
func passing(err error) bool {
	if e, ok := bus.AsError(err); ok {
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests ||
			e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooEarly
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return false
	}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	return !certificate && !record
}

// busy tells whether a Put that failed like this may be sent again if its key makes that
// safe: the connection failed, or the server said that it cannot take it now.
func busy(err error) bool {
	if e, ok := bus.AsError(err); ok {
		return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
	}
	return passing(err)
}
