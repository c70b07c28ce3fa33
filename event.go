package bus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits on the small fields of an event. The payload's limit is the server's
// to set.
const (
	MaxTextLen        = 256     // bytes in a trace id, a key or a content type
	DefaultMaxEvent   = 1 << 20 // bytes in one event as it is published
	DefaultMaxBatch   = 8 << 20 // bytes in one batch
	DefaultBatchCount = 10_000  // events in one batch
)

// Event is one entry of a namespace's log. Events that have been read are
// shared between readers: treat them as immutable.
type Event struct {
	Id              string    // opaque; made by the bus unless the publisher chose it
	Subject         string    // orders.eu.created; the first segment is the namespace
	Index           uint64    // position in the namespace, from 1; 0 before it is stored, and in inboxes
	CreatedAt       time.Time // when the bus committed it, unless the publisher said otherwise
	TraceId         string
	Key             string // idempotency key, "" when there is none
	ResponseSubject string // where the publisher waits for replies
	ContentType     string // media type of a payload that is not JSON, "" for JSON

	// Headers are what the publisher says beside the payload, by names in small
	// letters; nil when there are none. CheckHeaders has the limits.
	Headers map[string]string

	Timing *Timing // nil: it is delivered at once, and for ever

	// Payload is JSON on one line when ContentType is "", and the bytes as
	// they were published otherwise.
	Payload json.RawMessage
}

// MarshalJSON returns the wire form: a JSON payload under "payload", any other
// under "payload_base64".
func (e Event) MarshalJSON() ([]byte, error) {
	return e.AppendJSON(make([]byte, 0, len(e.Payload)+256)), nil
}

// UnmarshalJSON reads what MarshalJSON writes, as ParseDelivery does: names that
// are not known are passed over. The event shares no memory with data.
func (e *Event) UnmarshalJSON(data []byte) error {
	read, _, err := ParseDelivery(bytes.Clone(data))
	if err != nil {
		return err
	}
	*e = read
	return nil
}

// AppendJSON appends the wire form to dst, on one line. It allocates nothing
// beyond the growth of dst, unless there are headers to be sorted.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst = append(e.appendHead(dst), '}')
	return dst
}

// AppendDelivery is AppendJSON for a delivery: one that is not the first says
// which it is.
func (e *Event) AppendDelivery(dst []byte, attempt int) []byte {
	dst = e.appendHead(dst)
	if attempt > 1 {
		dst = append(dst, `,"attempt":`...)
		dst = strconv.AppendInt(dst, int64(attempt), 10)
	}
	return append(dst, '}')
}

func (e *Event) appendHead(dst []byte) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, e.Id...) // ids and subjects hold nothing that JSON escapes
	dst = append(dst, `","subject":"`...)
	dst = append(dst, e.Subject...)
	dst = append(dst, '"')
	if index := e.GivenIndex(); index > 0 {
		dst = append(dst, `,"index":`...)
		dst = strconv.AppendUint(dst, index, 10)
		if index != e.Index {
			dst = append(dst, `,"delivered_index":`...)
			dst = strconv.AppendUint(dst, e.Index, 10)
		}
	}
	dst = append(dst, `,"created_at":"`...)
	dst = e.CreatedAt.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	dst = appendText(dst, `,"trace_id":`, e.TraceId)
	dst = appendText(dst, `,"key":`, e.Key)
	dst = appendText(dst, `,"response_subject":`, e.ResponseSubject)
	dst = e.appendHeaders(dst)
	dst = e.appendTiming(dst)
	return e.appendPayload(dst)
}

func (e *Event) appendPayload(dst []byte) []byte {
	switch {
	case e.ContentType != "":
		dst = appendText(dst, `,"content_type":`, e.ContentType)
		dst = append(dst, `,"payload_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Payload)
		return append(dst, '"')
	case len(e.Payload) == 0:
		return append(dst, `,"payload":null`...)
	}
	dst = append(dst, `,"payload":`...)
	return append(dst, e.Payload...)
}

// appendText appends a member whose value is a string, and nothing when it is
// empty.
func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, name...)
	return appendQuoted(dst, value)
}

func appendQuoted(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always marshals
				return append(dst, `""`...)
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// Check returns nil for an event that may be stored: a subject without
// wildcards, and small fields within their limits and alphabets. The payload
// is not looked at: ParseEvent has validated a JSON one.
func (e *Event) Check() error {
	if e.Subject == "" {
		return ErrMissingSubject.With(`wanted "subject", as in {"subject":"orders.created","payload":{}}`)
	}
	if err := CheckSubject(e.Subject); err != nil {
		return err
	}
	if e.Id != "" {
		if err := CheckID(e.Id); err != nil {
			return err
		}
	}
	if e.ResponseSubject != "" {
		if err := CheckSubject(e.ResponseSubject); err != nil {
			return err
		}
	}
	return e.checkTexts()
}

func (e *Event) checkTexts() error {
	if err := checkText("trace_id", e.TraceId); err != nil {
		return err
	}
	if err := checkText("key", e.Key); err != nil {
		return err
	}
	if err := checkText("content_type", e.ContentType); err != nil {
		return err
	}
	if len(e.Headers) > 0 {
		if err := CheckHeaders(e.Headers); err != nil {
			return err
		}
	}
	if e.Timing != nil {
		if err := e.Timing.check(); err != nil {
			return err
		}
	}
	return checkYear("created_at", e.CreatedAt)
}

func checkText(name, value string) error {
	if value == "" {
		return nil
	}
	if len(value) > MaxTextLen {
		return ErrInvalidEvent.With("%s has %d bytes, at most %d are allowed", name, len(value), MaxTextLen)
	}
	return checkLine(name, value)
}

// checkLine keeps what lands in log lines, terminals and headers free of control
// characters.
func checkLine(name, value string) error {
	if !utf8.ValidString(value) {
		return ErrInvalidEvent.With("%s is not valid UTF-8", name)
	}
	for i, r := range value {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r == '\u2028' || r == '\u2029' {
			return ErrInvalidEvent.With("%s has the control character %U at byte %d", name, r, i+1)
		}
	}
	return nil
}
