package server

import (
	"net/http"

	"example.com/bus"
)

// setHeaders gives an event whose body is its payload the headers of the query.
func setHeaders(e *bus.Event, p *params) error {
	for _, text := range p.list("header") {
		name, value, err := bus.ParseHeader(text)
		if err != nil {
			return err
		}
		if _, twice := e.Headers[name]; twice {
			return bus.ErrInvalidEvent.With("header %q stands twice", name)
		}
		setHeader(e, name, value)
	}
	return bus.CheckHeaders(e.Headers)
}

func setHeader(e *bus.Event, name, value string) {
	if e.Headers == nil {
		e.Headers = make(map[string]string)
	}
	e.Headers[name] = value
}

// trace is what a request says of the trace that it belongs to, for events that
// say nothing of it themselves.
type trace struct{ parent, state string }

// traceOf reads the headers of W3C Trace Context. What is not well formed counts
// as absent, as that standard wants it: tracing must not fail a publish.
func traceOf(r *http.Request) (t trace) {
	values := r.Header["Traceparent"]
	if len(values) != 1 || !isTraceparent(values[0]) {
		return trace{}
	}
	t.parent = values[0]
	if states := r.Header["Tracestate"]; len(states) == 1 && bus.CheckHeaders(map[string]string{"tracestate": states[0]}) == nil {
		t.state = states[0]
	}
	return t
}

// isTraceparent knows version 00, and what later versions may have behind it.
func isTraceparent(s string) bool {
	const form = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx"
	if len(s) < len(form) || len(s) > bus.MaxTextLen || s[:2] == "ff" || len(s) > len(form) && (s[:2] == "00" || s[len(form)] != '-') {
		return false
	}
	for i := range len(form) {
		digit := '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f'
		if form[i] == 'x' && !digit || form[i] == '-' && s[i] != '-' {
			return false
		}
	}
	return s[3:35] != "00000000000000000000000000000000" && s[36:52] != "0000000000000000" &&
		bus.CheckHeaders(map[string]string{"traceparent": s}) == nil
}

// mark gives an event the trace of its request. It has none when it says one
// itself, or has no room for it.
func (t trace) mark(e *bus.Event) {
	if t.parent == "" {
		return
	}
	if _, has := e.Headers["traceparent"]; has {
		return
	}
	if _, has := e.Headers["tracestate"]; has {
		return
	}
	before := len(e.Headers)
	setHeader(e, "traceparent", t.parent)
	if t.state != "" {
		setHeader(e, "tracestate", t.state)
	}
	if bus.CheckHeaders(e.Headers) == nil {
		return
	}
	delete(e.Headers, "traceparent")
	delete(e.Headers, "tracestate")
	if before == 0 {
		e.Headers = nil
	}
}
