package server

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"example.com/bus"
)

// publishStream takes a stream of events, a line each, and commits what has
// arrived in groups. The answer is a stream too: a receipt a line, in order, as
// soon as its event is durable. A line that is refused ends both with a
// problem as the last line; what was answered before it is stored.
func (s *Server) publishStream(w http.ResponseWriter, r *http.Request, p *params, when bus.Condition) {
	if when.Asks() {
		s.fail(w, r, bus.ErrInvalidParameter.With("an expected index does not go with application/x-ndjson, whose events are not stored together; send them as a batch: a JSON array, application/json"))
		return
	}
	for name := range p.values {
		if p.text(name) != "" {
			s.fail(w, r, bus.ErrInvalidParameter.With("%s does not go with application/x-ndjson", name))
			return
		}
	}
	if hasKeyHeader(r) {
		s.fail(w, r, bus.ErrInvalidEvent.With("Idempotency-Key is for single events; in a stream each event has its own key"))
		return
	}
	control := http.NewResponseController(w)
	// HTTP/2 is full duplex anyway, and says so by an error.
	control.EnableFullDuplex()
	// A stop ends the wait for a line.
	defer s.whenDrained(func() { control.SetReadDeadline(time.Now()) })()
	held := s.budget.lease()
	defer held.end()
	if err := held.cover(lineBuffer); err != nil {
		s.fail(w, r, unread(w, r, err))
		return
	}
	in := &lineStream{server: s, held: held, control: control, w: w, r: r, lines: bufio.NewReaderSize(r.Body, lineBuffer), trace: traceOf(r)}
	in.run()
}

// What an NDJSON publish holds beside its lines: the buffer they are read into,
// and about as much as an event has beside its text.
const (
	lineBuffer = 64 << 10
	eventBytes = 256
	// What a header has beside its text; the first brings the map with it.
	headerBytes = 128
)

// lineStream is the state of one NDJSON publish.
type lineStream struct {
	server  *Server
	held    *lease
	control *http.ResponseController
	w       http.ResponseWriter
	r       *http.Request
	lines   *bufio.Reader
	trace   trace
	bytes   int   // bytes that the lines and events of the group at hand hold
	line    int   // lines read so far
	numbers []int // the line of each event of the group at hand
	started bool  // the status line is out: errors are lines now
}

func (in *lineStream) run() {
	for {
		group, readErr := in.take()
		receipts, err := in.storeRuns(group)
		if e := in.answer(receipts); e != nil {
			return // the publisher is gone
		}
		switch {
		case err != nil:
			in.refuse(err)
			return
		case in.server.draining.Load() && readErr != io.EOF:
			in.refuse(bus.ErrUnavailable.With("the server is stopping; %s, send the others again", in.stored()))
			return
		case readErr == io.EOF:
			in.start()
			clearDeadlines(in.control)
			return
		case readErr != nil:
			in.refuse(readErr)
			return
		}
	}
}

// take waits for one line and takes the complete ones that came with it, so
// that a busy stream is committed in large groups and a slow one at once.
func (in *lineStream) take() ([]bus.Event, error) {
	var events []bus.Event
	size := 0
	in.bytes, in.numbers = 0, in.numbers[:0]
	in.held.keep(lineBuffer) // the group before is stored
	in.server.setReadDeadline(in.w)
	if in.server.drained.Err() != nil { // it stopped between the last line and this deadline
		in.control.SetReadDeadline(time.Now())
	}
	for len(events) == 0 || in.lineBuffered() {
		line, err := in.next()
		if err != nil {
			return events, err
		}
		if len(line) == 0 {
			continue
		}
		e, err := bus.ParseEvent(line)
		if err == nil {
			in.trace.mark(&e)
			err = in.check(&e)
		}
		if err == nil {
			err = in.cover(eventBytes + len(e.Headers)*headerBytes)
		}
		if err != nil {
			return events, in.atLine(err)
		}
		in.bytes += cap(line) + eventBytes + len(e.Headers)*headerBytes
		events, size = append(events, e), size+len(line)
		in.numbers = append(in.numbers, in.line)
		if len(events) == in.server.config.MaxBatchEvents || size >= in.server.config.MaxBatch {
			break
		}
	}
	return events, nil
}

func (in *lineStream) check(e *bus.Event) error {
	if bus.IsInbox(e.Subject) {
		return bus.ErrInvalidSubject.With("%q is an inbox; inboxes take single events", e.Subject)
	}
	if err := e.SettleTiming(time.Now()); err != nil {
		return err
	}
	return in.server.checkNamespace(bus.Namespace(e.Subject))
}

// lineBuffered reports whether a whole line can be read without waiting.
func (in *lineStream) lineBuffered() bool {
	ahead, _ := in.lines.Peek(in.lines.Buffered())
	return bytes.IndexByte(ahead, '\n') >= 0
}

// next returns the next line without its end, in memory of its own because
// events share it. The last line needs no end. io.EOF after it.
func (in *lineStream) next() ([]byte, error) {
	var line []byte
	for {
		part, err := in.lines.ReadSlice('\n')
		if len(line)+len(part) > in.server.config.MaxEvent {
			in.line++
			return nil, in.atLine(bus.ErrTooLarge.With("at most %d bytes are taken in a line", in.server.config.MaxEvent))
		}
		var full error
		if line, full = in.longer(line, part); full != nil {
			in.line++
			return nil, in.atLine(full)
		}
		switch {
		case err == nil:
			in.line++
			return bytes.TrimSpace(line), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(bytes.TrimSpace(line)) > 0:
			in.line++
			return bytes.TrimSpace(line), nil
		case err == io.EOF:
			return nil, io.EOF
		default:
			return nil, in.atLine(in.broken(err))
		}
	}
}

// longer appends to a line. The room is asked for before it is taken, because
// many lines that grow at once are what memory runs out by.
func (in *lineStream) longer(line, part []byte) ([]byte, error) {
	if need := len(line) + len(part); need > cap(line) {
		size := max(need, min(2*cap(line), in.server.config.MaxEvent))
		if err := in.cover(cap(line) + size); err != nil {
			return nil, err
		}
		line = append(make([]byte, 0, size), line...)
	}
	return append(line, part...), nil
}

// cover has the budget hold more bytes beside those of the group at hand.
func (in *lineStream) cover(more int) error {
	return in.held.cover(lineBuffer + in.bytes + more)
}

// broken says that the body ended early, and what became of it.
func (in *lineStream) broken(err error) error {
	in.line++
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return bus.ErrRequestTimeout.With("no line within %s; %s", in.server.config.BodyTimeout, in.stored())
	}
	return bus.ErrInvalidJSON.With("the body ended early: %s; %s", err, in.stored())
}

func (in *lineStream) stored() string {
	if in.started {
		return "events with a receipt are stored, later ones are not"
	}
	return "nothing was stored"
}

func (in *lineStream) atLine(err error) error { return in.at(in.line, err) }

func (in *lineStream) at(line int, err error) error {
	return bus.AtLine(in.server.refusal(in.r.Method, in.r.URL.Path, err), line)
}

// answer writes the receipts and pushes them out.
func (in *lineStream) answer(receipts []receipt) error {
	if len(receipts) == 0 {
		return nil
	}
	in.start()
	out := make([]byte, 0, len(receipts)*receiptBytes)
	for i := range receipts {
		out = append(receipts[i].appendJSON(out), '\n')
	}
	return in.push(out)
}

func (in *lineStream) push(out []byte) error {
	in.server.setWriteDeadline(in.control)
	defer in.control.SetWriteDeadline(time.Time{}) // HTTP/2 would reset the stream when it passes
	if _, err := in.w.Write(out); err != nil {
		return err
	}
	return in.control.Flush()
}

func (in *lineStream) start() {
	if in.started {
		return
	}
	in.started = true
	h := in.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set(headerDurability, in.server.engine.Durability())
	if in.r.ProtoMajor == 1 {
		// A line may be refused later, with more lines behind it that nobody will
		// read: no request could follow on this connection.
		h.Set("Connection", "close")
	}
	in.w.WriteHeader(http.StatusAccepted)
}

// refuse tells the error: as the answer while none has begun, as the last line
// otherwise. Nothing more is read: net/http would wait for the rest of the body
// before it lets the connection go, and its publisher may never send it. The
// second is for what is on its way: unread, it would have the connection reset,
// and the refusal with it.
func (in *lineStream) refuse(err error) {
	defer func() { in.control.SetReadDeadline(time.Now().Add(time.Second)) }()
	if !in.started {
		unread(in.w, in.r, nil)
		in.server.fail(in.w, in.r, err)
		return
	}
	e := in.server.refusal(in.r.Method, in.r.URL.Path, err)
	in.server.metrics.refused(e.Code)
	in.push(encode(problem{Type: "about:blank", Error: e}))
}
