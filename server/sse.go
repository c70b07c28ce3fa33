package server

import (
	"strconv"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// This file alone knows the text of Server-Sent Events. Every frame ends with
// an empty line; ids, event names and JSON on one line hold nothing that could
// end a line early, because events are checked when they are published.

// helloFrame is the data of the first frame of a stream. A browser cannot read
// response headers, so everything that it needs for acknowledging is here.
type helloFrame struct {
	ConsumerID string            `json:"consumer_id"`
	Consumer   string            `json:"consumer,omitempty"` // its name
	AckURL     string            `json:"ack_url"`            // append an event id
	Heartbeat  string            `json:"heartbeat"`
	Now        string            `json:"now"`
	Tail       map[string]uint64 `json:"tail"` // last index of each namespace
}

// pingFrame is the data of a heartbeat.
type pingFrame struct {
	Tail map[string]uint64 `json:"tail"`
}

// gapFrame says that events which the stream should have carried are gone.
type gapFrame struct {
	Namespace    string    `json:"namespace"`
	Requested    string    `json:"requested"`
	ResumedIndex uint64    `json:"resumed_index"`
	Lost         *uint64   `json:"lost"`              // null: nobody can know
	AtMost       bool      `json:"at_most,omitempty"` // lost is a bound: they could not be counted
	Reason       string    `json:"reason"`
	RepairedAt   time.Time `json:"repaired_at,omitzero"` // of damage: the log says the gap itself
}

// endFrame is the data of the last frame of a stream that is complete. A proxy
// can make a clean end of a broken connection: without this frame nobody behind
// it could tell the two apart.
type endFrame struct {
	Reason string `json:"reason"`
}

// Which bound a stream has reached.
const (
	endLimit = "limit"
	endUntil = "until"
	endWait  = "wait"
)

// sseShared makes the format of plain streams of a namespace. Streams with the
// same format share their frames.
func sseShared(namespace string, incarnation uint64) *delivery.Format {
	return &delivery.Format{Name: "sse/" + namespace, Encode: func(dst []byte, e *bus.Event) []byte {
		dst = append(dst, "id: "...)
		dst = bus.AppendID(dst, bus.Position{Incarnation: incarnation, Index: e.Index})
		return append(e.AppendJSON(append(dst, "\nevent: msg\ndata: "...)), "\n\n"...)
	}}
}

// appendMsg appends a frame whose id is a resume point rather than the event's
// own. Without positions it leaves the browser's resume point where it is.
func appendMsg(dst []byte, resume []bus.Position, e *bus.Event, attempt int) []byte {
	dst = appendResume(dst, resume)
	dst = append(dst, "event: msg\ndata: "...)
	return append(e.AppendDelivery(dst, attempt), "\n\n"...)
}

func appendResume(dst []byte, resume []bus.Position) []byte {
	if len(resume) == 0 {
		return dst
	}
	dst = append(dst, "id: "...)
	return append(bus.AppendID(dst, resume...), '\n')
}

// appendFrame appends a frame with a JSON document as its data.
func appendFrame(dst []byte, name string, resume []bus.Position, data any) []byte {
	dst = appendResume(dst, resume)
	dst = append(append(append(dst, "event: "...), name...), "\ndata: "...)
	return append(append(dst, encode(data)...), '\n')
}

// appendRetry tells an EventSource how long to wait before it comes back.
func appendRetry(dst []byte, milliseconds int) []byte {
	dst = append(dst, "retry: "...)
	return append(strconv.AppendInt(dst, int64(milliseconds), 10), "\n\n"...)
}
