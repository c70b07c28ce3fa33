package disk

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"example.com/bus"
)

// An event becomes a record of its log like this (FORMAT.md says the same, and
// a test compares them):
//
//	offset  size  name
//	0       1     version, 1
//	1       1     flags: which of the optional fields are there
//	2       1     length of the subject, minus 1
//	3       n     length minus 1 of each optional text that is there, a byte each
//	3+n     0, 8  created_at, unix nanoseconds, little-endian, when it was chosen
//	…             subject, id, trace id, key, response subject, content type
//	…             headers (header.go), when there are any
//	…             timing (timing.go), when there is one
//	…             payload, up to the record's end
//
// Index and commit time stand in the block; an id that the bus gave follows
// from the index. They are not repeated in the record.
const (
	recordVersion = 1

	flagID          = 1 << 0 // the publisher chose it
	flagTraceID     = 1 << 1
	flagKey         = 1 << 2
	flagResponse    = 1 << 3
	flagContentType = 1 << 4
	flagCreatedAt   = 1 << 5 // the publisher chose it
	flagHeaders     = 1 << 6
	flagTiming      = 1 << 7

	flagsTexts = flagID | flagTraceID | flagKey | flagResponse | flagContentType

	recordTexts = 6                                                              // the subject, and one for each of the flags below flagCreatedAt
	recordFixed = 3                                                              // version, flags, length of the subject
	maxRecord   = recordFixed + 5 + 8 + recordTexts*256 + maxHeaders + maxTiming // bytes before the payload, at most
)

// appendRecord appends the event as a record. It refuses what decoding would
// refuse: an event that was taken and could not be read again would be lost.
func appendRecord(dst []byte, e *bus.Event) ([]byte, error) {
	if err := e.Check(); err != nil {
		return dst, err
	}
	if err := checkTiming(e.Timing); err != nil {
		return dst, err
	}
	texts := [recordTexts]string{e.Subject, e.Id, e.TraceId, e.Key, e.ResponseSubject, e.ContentType}
	at := len(dst)
	dst = append(dst, recordVersion, 0, byte(len(e.Subject)-1))
	for i, text := range texts[1:] {
		if text != "" {
			dst[at+1] |= 1 << i
			dst = append(dst, byte(len(text)-1))
		}
	}
	if !e.CreatedAt.IsZero() {
		dst[at+1] |= flagCreatedAt
		dst = binary.LittleEndian.AppendUint64(dst, uint64(e.CreatedAt.UnixNano()))
	}
	for _, text := range texts {
		dst = append(dst, text...)
	}
	if len(e.Headers) > 0 {
		dst[at+1] |= flagHeaders
		dst = appendHeaders(dst, e)
	}
	if e.Timing != nil {
		dst[at+1] |= flagTiming
		dst = appendTiming(dst, e.Timing)
	}
	return append(dst, e.Payload...), nil
}

// recordSize returns an upper bound of what appendRecord appends.
func recordSize(e *bus.Event) int {
	return recordFixed + 5 + 8 + len(e.Subject) + len(e.Id) + len(e.TraceId) + len(e.Key) +
		len(e.ResponseSubject) + len(e.ContentType) + headersSize(e) + timingSize(e) + len(e.Payload)
}

// record is what stands where in the bytes of a record.
type record struct {
	lengths [recordTexts]uint16
	created int64 // meaningful with flagCreatedAt
	flags   byte
	texts   []byte // all texts, back to back
	headers []byte // as they stand in the record
	timing  []byte // as well; nil when there is none
	payload []byte
	given   int // length of the id that the bus gave, for the decoder
}

// parseRecord finds the fields of a record without copying. Every length is
// checked against what is there before it is used.
func parseRecord(data []byte) (record, error) {
	if len(data) < recordFixed {
		return record{}, fmt.Errorf("record has %d bytes, wanted at least %d", len(data), recordFixed)
	}
	if data[0] != recordVersion {
		return record{}, fmt.Errorf("record has version %d, wanted %d: it was written by another release of bus", data[0], recordVersion)
	}
	r := record{flags: data[1]}
	need := recordFixed + bits.OnesCount8(r.flags&flagsTexts)
	if r.flags&flagCreatedAt != 0 {
		need += 8
	}
	if len(data) < need {
		return record{}, fmt.Errorf("record has %d bytes, its flags say at least %d", len(data), need)
	}
	sum := r.readLengths(data)
	if r.flags&flagCreatedAt != 0 {
		r.created = int64(binary.LittleEndian.Uint64(data[need-8:]))
	}
	if len(data)-need < sum {
		return record{}, fmt.Errorf("record has %d bytes of text, its lengths say %d", len(data)-need, sum)
	}
	r.texts, need = data[need:need+sum], need+sum
	if r.flags&flagHeaders != 0 {
		n, err := walkHeaders(data[need:], func(_, _ []byte) {})
		if err != nil {
			return record{}, err
		}
		r.headers, need = data[need:need+n], need+n
	}
	if r.flags&flagTiming != 0 {
		n, err := timingLength(data[need:])
		if err != nil {
			return record{}, err
		}
		r.timing, need = data[need:need+n], need+n
	}
	// The capacity ends with the payload: the bytes after it are the next
	// event's, and somebody may append to what he was given.
	r.payload = data[need:len(data):len(data)]
	return r, nil
}

// recordSubject returns the subject of a record that appendRecord has made,
// without looking at the rest.
func recordSubject(data []byte) []byte {
	at := recordFixed + bits.OnesCount8(data[1]&flagsTexts)
	if data[1]&flagCreatedAt != 0 {
		at += 8
	}
	return data[at : at+int(data[2])+1]
}

// timed returns the timing, nil when there is none.
func (r *record) timed() *bus.Timing {
	if r.timing == nil {
		return nil
	}
	return readTiming(r.timing)
}

// recordTiming returns the timing of such a record, nil when it has none.
func recordTiming(data []byte) *bus.Timing {
	if data[1]&flagTiming == 0 {
		return nil // nearly always
	}
	r, err := parseRecord(data)
	if err != nil { // it has been made just now
		return nil
	}
	return r.timed()
}

// readLengths fills the lengths and returns their sum.
func (r *record) readLengths(data []byte) int {
	r.lengths[0] = uint16(data[2]) + 1
	sum, next := int(r.lengths[0]), recordFixed
	for i := range recordTexts - 1 {
		if r.flags>>i&1 == 0 {
			continue
		}
		r.lengths[i+1] = uint16(data[next]) + 1
		sum += int(r.lengths[i+1])
		next++
	}
	return sum
}

// id returns the id that was chosen, "" when none was.
func (r *record) id() string {
	return string(r.texts[r.lengths[0] : r.lengths[0]+r.lengths[1]])
}

// decoder turns blocks into events. It keeps its scratch space from block to
// block and is not for concurrent use; the events do not share it.
type decoder struct {
	namespace   string // of which every event must be; "": not looked at
	incarnation uint64
	records     []record
	text        []byte
}

// events returns the events of the records, of which the first has the index
// first. Payloads share the records' memory, and all texts of the block are
// one string: two allocations a block, however many events it holds. With an
// error, the events before the one that cannot be read are returned as well.
func (d *decoder) events(first uint64, at time.Time, records [][]byte) ([]bus.Event, error) {
	bad := d.parse(first, records)
	text := string(d.text)
	events := make([]bus.Event, len(d.records))
	at = at.UTC()
	for i := range events {
		e, r := &events[i], &d.records[i]
		text = r.fill(e, text)
		if err := e.Check(); err != nil {
			// Not wrapped: it is damage, and must not answer as a user's mistake.
			return events[:i], fmt.Errorf("record holds no valid event: %v", err)
		}
		if d.namespace != "" && bus.Namespace(e.Subject) != d.namespace {
			return events[:i], fmt.Errorf("record holds an event of namespace %s: this is not the log of %s", bus.Namespace(e.Subject), d.namespace)
		}
		e.Index = first + uint64(i)
		if r.flags&flagCreatedAt == 0 {
			e.CreatedAt = at
		}
		if r.flags&flagID == 0 {
			e.Id, text = text[:r.given], text[r.given:]
		}
	}
	return events, bad
}

// parse fills d.records with the records up to the first bad one, and d.text
// with the texts of each and the id that the bus gave it, if it did.
func (d *decoder) parse(first uint64, records [][]byte) error {
	d.records, d.text = d.records[:0], d.text[:0]
	for i, data := range records {
		r, err := parseRecord(data)
		if err != nil {
			return err
		}
		d.text = append(d.text, r.texts...)
		d.text = append(d.text, r.headers...)
		if r.flags&flagID == 0 {
			before := len(d.text)
			d.text = bus.AppendID(d.text, bus.Position{Incarnation: d.incarnation, Index: first + uint64(i)})
			r.given = len(d.text) - before
		}
		d.records = append(d.records, r)
	}
	return nil
}

// fill sets the fields that stand in the record from the front of text, which
// holds its texts, and returns what is left of text.
func (r *record) fill(e *bus.Event, text string) string {
	texts := [recordTexts]*string{&e.Subject, &e.Id, &e.TraceId, &e.Key, &e.ResponseSubject, &e.ContentType}
	for i, n := range r.lengths {
		*texts[i], text = text[:n], text[n:]
	}
	if n := len(r.headers); n > 0 {
		e.Headers, text = readHeaders(text[:n]), text[n:]
	}
	if r.flags&flagCreatedAt != 0 {
		e.CreatedAt = time.Unix(0, r.created).UTC()
	}
	if r.timing != nil {
		e.Timing = readTiming(r.timing)
	}
	if len(r.payload) > 0 {
		e.Payload = r.payload
	}
	if e.ContentType == "" {
		e.Payload = bus.NormalPayload(e.Payload)
	}
	return text
}
