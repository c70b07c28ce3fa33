package bus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

// ParseEvent reads one event in its wire form, strictly: a name that is not a
// field, a name that stands twice, or a value of another type is refused, so
// that a typo cannot lose a payload. Empty strings, null and the zero time
// count as absent; so do "index", "delivered_index" and "attempt", which only the bus gives. A
// missing payload is null. The event's payload may share memory with data.
//
// The result has passed Check.
func ParseEvent(data []byte) (Event, error) {
	s := scanner{data: data}
	s.space()
	e, err := s.event()
	if err != nil {
		return Event{}, err
	}
	if err := s.end(); err != nil {
		return Event{}, err
	}
	return e, e.Check()
}

// ParseDelivery reads an event as a stream carries it: with its id, its index
// and the attempt, 1 when none stands there. Names that are not known are passed
// over, because a later server may have more to say. The payload shares memory
// with data.
//
// The result has passed Check: it stands on one line again, and cannot forge
// another, whoever the server is.
func ParseDelivery(data []byte) (e Event, attempt int, err error) {
	s := scanner{data: data, lenient: true}
	s.space()
	if e, err = s.event(); err != nil {
		return Event{}, 0, err
	}
	if e.Id == "" || e.Subject == "" {
		return Event{}, 0, ErrInvalidEvent.With("wanted an id and a subject, found %.80q", data)
	}
	if e.Index = s.index; s.delivered > 0 && s.delivered != s.index && s.index > 0 {
		e.Index, e.timing().Published = s.delivered, s.index
	}
	if err := s.end(); err != nil {
		return Event{}, 0, err
	}
	return e, max(s.attempt, 1), e.Check()
}

// ParseEvents reads an array of events as ParseEvent reads one. More than most
// events are refused before the rest is looked at. An error of an item carries
// its number in Line, from 1.
func ParseEvents(data []byte, most int) ([]Event, error) {
	s := scanner{data: data}
	s.space()
	var events []Event
	err := s.elements(0, func() error {
		if len(events) == most {
			return ErrTooLarge.With("the batch has more than %d events", most)
		}
		e, err := s.event()
		if err == nil {
			err = e.Check()
		}
		if err != nil {
			return AtLine(err, len(events)+1)
		}
		events = append(events, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return events, s.end()
}

// CompactJSON checks a JSON text and returns it on one line, so that it can
// stand in a line of a stream. The result shares memory with data when data is
// on one line already.
func CompactJSON(data []byte) ([]byte, error) {
	s := scanner{data: data}
	s.space()
	s.raw = false
	start := s.pos
	if err := s.value(0); err != nil {
		return nil, err
	}
	stop, raw := s.pos, s.raw
	if err := s.end(); err != nil {
		return nil, err
	}
	return oneLine(data[start:stop], raw)
}

// NormalPayload returns nil for the payload null, which is the same as none, so
// that two events with it are equal however they came in.
func NormalPayload(value []byte) []byte {
	if string(value) == "null" {
		return nil
	}
	return value
}

func oneLine(value []byte, raw bool) ([]byte, error) {
	if !raw {
		return value, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return nil, ErrInvalidJSON.With("%s", err)
	}
	return b.Bytes(), nil
}

// fields are the names an event may have, each with its bit for telling that
// it stands twice.
const (
	fieldID = 1 << iota
	fieldSubject
	fieldPayload
	fieldBase64
	fieldTraceID
	fieldKey
	fieldCreatedAt
	fieldResponse
	fieldContentType
	fieldIndex
	fieldAttempt
	fieldHeaders
	fieldDeliveredIndex
	fieldDeliverAt
	fieldExpiresAt
	fieldDelay
	fieldTTL
)

func fieldBit(name []byte) int {
	switch string(name) {
	case "id":
		return fieldID
	case "subject":
		return fieldSubject
	case "payload":
		return fieldPayload
	case "payload_base64":
		return fieldBase64
	case "trace_id":
		return fieldTraceID
	case "key":
		return fieldKey
	case "created_at":
		return fieldCreatedAt
	case "response_subject":
		return fieldResponse
	case "content_type":
		return fieldContentType
	case "index":
		return fieldIndex
	case "attempt":
		return fieldAttempt
	case "headers":
		return fieldHeaders
	case "delivered_index":
		return fieldDeliveredIndex
	case "deliver_at":
		return fieldDeliverAt
	case "expires_at":
		return fieldExpiresAt
	case "delay":
		return fieldDelay
	case "ttl":
		return fieldTTL
	}
	return 0
}

func (s *scanner) event() (Event, error) {
	var e Event
	seen := 0
	if s.peek() != '{' {
		return e, s.fail("an event: an object with a subject and a payload")
	}
	err := s.members(0, func(name []byte, _ bool) error {
		bit := fieldBit(name)
		if bit == 0 && s.lenient {
			return s.value(1)
		}
		if bit == 0 {
			return ErrUnknownField.With("field %.80q; the fields are id, subject, payload, trace_id, key, created_at, response_subject, headers, deliver_at, delay, expires_at, ttl, content_type and payload_base64", name)
		}
		if seen&bit != 0 {
			return ErrInvalidEvent.With("field %q stands twice", name)
		}
		seen |= bit
		return s.field(&e, bit)
	})
	if err != nil {
		return e, err
	}
	return e, checkPayload(&e, seen)
}

func (s *scanner) field(e *Event, bit int) (err error) {
	switch bit {
	case fieldID:
		e.Id, err = s.text("id")
	case fieldSubject:
		e.Subject, err = s.text("subject")
	case fieldTraceID:
		e.TraceId, err = s.text("trace_id")
	case fieldKey:
		e.Key, err = s.text("key")
	case fieldResponse:
		e.ResponseSubject, err = s.text("response_subject")
	case fieldContentType:
		e.ContentType, err = s.text("content_type")
	case fieldCreatedAt:
		e.CreatedAt, err = s.time("created_at")
	case fieldHeaders:
		e.Headers, err = s.headers()
	case fieldDeliverAt:
		err = s.moment(e, "deliver_at", func(t *Timing, at time.Time) { t.DeliverAt = at })
	case fieldExpiresAt:
		err = s.moment(e, "expires_at", func(t *Timing, at time.Time) { t.ExpiresAt = at })
	case fieldDelay:
		err = s.duration(e, "delay", func(t *Timing, d time.Duration) { t.Delay = d })
	case fieldTTL:
		err = s.duration(e, "ttl", func(t *Timing, d time.Duration) { t.TTL = d })
	case fieldPayload:
		err = s.payload(e)
	case fieldBase64:
		err = s.base64(e)
	case fieldIndex:
		s.index, err = s.count()
	case fieldDeliveredIndex:
		s.delivered, err = s.count()
	case fieldAttempt:
		var n uint64
		n, err = s.count()
		s.attempt = int(min(n, 1<<31-1))
	}
	return err
}

// count reads what only the bus gives: an index or an attempt. A publisher may
// send back an event as it came, so any number passes.
func (s *scanner) count() (uint64, error) {
	start := s.pos
	if err := s.value(1); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(s.data[start:s.pos]), 10, 64)
	if err != nil {
		return 0, nil
	}
	return n, nil
}

func (s *scanner) payload(e *Event) error {
	s.raw = false
	start := s.pos
	if err := s.value(1); err != nil {
		return err
	}
	value, err := oneLine(s.data[start:s.pos], s.raw)
	if err != nil {
		return err
	}
	if e.Payload == nil {
		e.Payload = NormalPayload(value)
	}
	return nil
}

func (s *scanner) base64(e *Event) error {
	text, err := s.text("payload_base64")
	if err != nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ErrInvalidEvent.With("payload_base64: %s", err)
	}
	e.Payload = data
	return nil
}

// checkPayload holds the two ways to give a payload apart: JSON has no content
// type, bytes have one.
func checkPayload(e *Event, seen int) error {
	binary := seen&fieldBase64 != 0
	switch {
	case binary && seen&fieldPayload != 0:
		return ErrInvalidEvent.With("payload and payload_base64 stand side by side, wanted one of them")
	case binary && e.ContentType == "":
		return ErrInvalidEvent.With("payload_base64 stands without a content_type")
	case !binary && e.ContentType != "":
		return ErrInvalidEvent.With("content_type %.80q stands without payload_base64; a JSON payload has none", e.ContentType)
	}
	return nil
}

func (s *scanner) time(field string) (time.Time, error) {
	text, err := s.text(field)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, ErrInvalidEvent.With("%s is %.80q, wanted a time like 2026-01-31T12:00:00Z", field, text)
	}
	return t.UTC(), nil
}
