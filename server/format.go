package server

import (
	"sync"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// format is how a stream is written: one for each media type that GET answers.
type format interface {
	// mediaType is what the stream says it is.
	mediaType() string
	// event appends one delivery; resume is what a reconnect would name.
	event(dst []byte, resume []bus.Position, d delivery.Delivery) []byte
	// control appends what is no event: hello, ping, gap, problem, end.
	control(dst []byte, name string, resume []bus.Position, data any) []byte
	// letGo appends the end of a stream that is not complete, and that the peer
	// should come back to after so many milliseconds.
	letGo(dst []byte, retry int) []byte
	// shared is the format of plain frames that all streams of a namespace
	// share.
	shared(namespace string) *delivery.Format
}

// sseFormat is text/event-stream. Its text is in sse.go.
type sseFormat struct {
	engine Engine
	plain  *sync.Map // by incarnation of the namespace's log: *delivery.Format
}

func (f sseFormat) mediaType() string { return typeSSE }

func (f sseFormat) event(dst []byte, resume []bus.Position, d delivery.Delivery) []byte {
	return appendMsg(dst, resume, d.Event, d.Attempt)
}

func (f sseFormat) control(dst []byte, name string, resume []bus.Position, data any) []byte {
	return appendFrame(dst, name, resume, data)
}

func (f sseFormat) letGo(dst []byte, retry int) []byte { return appendRetry(dst, retry) }

func (f sseFormat) shared(namespace string) *delivery.Format {
	incarnation := f.engine.Incarnation(namespace)
	if format, ok := f.plain.Load(incarnation); ok {
		return format.(*delivery.Format)
	}
	format, _ := f.plain.LoadOrStore(incarnation, sseShared(namespace, incarnation))
	return format.(*delivery.Format)
}

// ndjsonFormat is application/x-ndjson: a line an event. A ping is an empty
// line; a gap or problem is an object with that one member, so that it cannot
// be taken for an event.
type ndjsonFormat struct{ plain *delivery.Format }

// notComplete is the last line of a stream that is let go.
var notComplete = retryable(bus.ErrUnavailable.With("the server ends this stream before it is complete; go on behind its last event"))

func newNDJSONFormat() ndjsonFormat {
	return ndjsonFormat{plain: &delivery.Format{Name: "ndjson", Encode: func(dst []byte, e *bus.Event) []byte {
		return append(e.AppendJSON(dst), '\n')
	}}}
}

func (f ndjsonFormat) mediaType() string { return typeNDJSON }

func (f ndjsonFormat) event(dst []byte, _ []bus.Position, d delivery.Delivery) []byte {
	return append(d.Event.AppendDelivery(dst, d.Attempt), '\n')
}

func (f ndjsonFormat) control(dst []byte, name string, _ []bus.Position, data any) []byte {
	switch name {
	case "hello", "end": // what is complete ends without a problem
		return dst
	case "ping":
		return append(dst, '\n')
	}
	return append(dst, encode(map[string]any{name: data})...)
}

// A reader of lines must be able to tell a stream that is complete from one that
// the server let go of.
func (f ndjsonFormat) letGo(dst []byte, _ int) []byte {
	return append(dst, encode(map[string]any{"problem": notComplete})...)
}

func (f ndjsonFormat) shared(string) *delivery.Format { return f.plain }
