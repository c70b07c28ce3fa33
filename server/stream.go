package server

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// Milliseconds that an EventSource is told to wait before it comes back. Never
// below 1000: browsers take a smaller number at its word and hammer.
const (
	retryUsual    = 2000
	retryDrainMin = 1000
	retryDrainMax = 5000
)

// subscribe answers GET and HEAD.
func (s *Server) subscribe(w http.ResponseWriter, r *http.Request) {
	if wantsWelcome(r) {
		s.welcome(w, r)
		return
	}
	sub, err := s.parseSubscription(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if s.draining.Load() {
		s.turnAway(w, r, sub)
		return
	}
	start := &starter{engine: s.engine, start: sub.start, resume: sub.resume, now: time.Now()}
	places, err := start.places(r.Context(), sub.patterns, sub.namespaces)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if r.Method == http.MethodHead {
		s.streamHeaders(w.Header(), s.format(sub.format).mediaType())
		return
	}
	st, err := s.openStream(w, r, sub, places)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer st.close()
	if sub.format == typeJSON {
		st.array(start.gaps)
		return
	}
	st.run(start.gaps)
}

func (s *Server) format(mediaType string) format {
	if mediaType == typeSSE {
		return s.sse
	}
	return s.ndjson
}

// streamHeaders are those of every stream. no-transform and X-Accel-Buffering
// keep proxies from holding events back.
func (s *Server) streamHeaders(h http.Header, mediaType string) {
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
}

// turnAway ends a stream before it begins, while the server is stopping. A
// refusal would make an EventSource give up for ever; an end makes it return.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, sub *subscription) {
	if sub.format != typeSSE {
		s.fail(w, r, bus.ErrUnavailable.With("the server is stopping; come back in a moment"))
		return
	}
	s.streamHeaders(w.Header(), typeSSE)
	w.Write(s.sse.end(nil, retryDrain()))
}

// retryDrain spreads those who come back, so that they do not all come at once.
func retryDrain() int { return retryDrainMin + rand.IntN(retryDrainMax-retryDrainMin) }

// stream is one GET that is being answered. It belongs to one goroutine.
type stream struct {
	server  *Server
	request *http.Request
	w       http.ResponseWriter
	control *http.ResponseController
	sub     *subscription
	format  format
	source  *delivery.Stream
	id      string         // consumer id
	places  []string       // namespaces, in the order of the source's positions
	seen    []bus.Position // ack=none: what a reconnect would name, by place
	sent    int            // events sent, first attempts only
	buf     []byte         // reused between writes
}

func (s *Server) openStream(w http.ResponseWriter, r *http.Request, sub *subscription, places []delivery.Place) (*stream, error) {
	st := &stream{server: s, request: r, w: w, control: http.NewResponseController(w), sub: sub, format: s.format(sub.format), id: bus.NewConsumerID()}
	for i := range places {
		p := &places[i]
		if sub.until {
			_, next := s.engine.Bounds(p.Namespace)
			p.Until = max(next, p.From)
		}
		st.places = append(st.places, p.Namespace)
		st.seen = append(st.seen, bus.Position{Incarnation: s.engine.Incarnation(p.Namespace), Index: p.From - 1})
	}
	spec := delivery.Spec{ConsumerID: st.id, Sources: places, Inboxes: sub.inboxes, Ack: sub.ack, Limit: sub.limit}
	if len(places) == 1 {
		spec.Format = st.format.shared(st.places[0])
		spec.Shared = sub.ack == nil && len(sub.inboxes) == 0 && sub.limit == 0 && !sub.until && sub.format != typeJSON
	}
	source, err := s.hub.Open(spec)
	if err != nil {
		return nil, err
	}
	st.source = source
	return st, nil
}

func (st *stream) close() {
	st.source.Close()
	clearDeadlines(st.control)
}

// run writes the stream until it is complete, the peer is gone, or the server
// stops.
func (st *stream) run(gaps []gapFrame) {
	st.server.streamHeaders(st.w.Header(), st.format.mediaType())
	st.w.Header().Set(headerConsumerID, st.id)
	st.w.WriteHeader(http.StatusOK)
	if st.write(st.opening(gaps)) != nil {
		return
	}
	ctx, cancel := context.WithCancel(st.request.Context())
	defer cancel()
	defer context.AfterFunc(st.server.drained, cancel)()
	clock := newStreamClock(ctx, st.server.config, st.sub.wait)
	defer clock.stop()
	for {
		chunk, err := st.source.Next(clock.ctx)
		if out := st.chunk(&chunk); len(out) > 0 {
			if st.write(out) != nil {
				return
			}
		}
		if chunk.Count+len(chunk.Deliveries) > 0 {
			clock.sawEvent()
		}
		if err == nil {
			err = clock.ctx.Err() // a stream that always has something to send keeps its hours too
		}
		if err == nil {
			continue
		}
		if !st.tick(ctx, clock, err) {
			return
		}
	}
}

// opening is what stands before the first event.
func (st *stream) opening(gaps []gapFrame) []byte {
	out := st.buf[:0]
	if st.sub.format == typeSSE {
		out = appendRetry(out, retryUsual)
	}
	out = st.format.control(out, "hello", st.resume(), helloFrame{
		ConsumerID: st.id,
		AckURL:     "/?consumer_id=" + st.id + "&event_id=",
		Heartbeat:  st.server.config.Heartbeat.String(),
		Now:        time.Now().UTC().Format(time.RFC3339Nano),
		Tail:       st.tail(),
	})
	for _, gap := range gaps {
		st.server.metrics.gap(gap.Reason)
		out = st.format.control(out, "gap", st.resume(), gap)
	}
	return out
}

func (st *stream) tail() map[string]uint64 {
	tail := make(map[string]uint64, len(st.places))
	for _, namespace := range st.places {
		_, next := st.server.engine.Bounds(namespace)
		tail[namespace] = next - 1
	}
	return tail
}

// resume is what a reconnect would name now.
func (st *stream) resume() []bus.Position {
	for i, p := range st.source.Positions() {
		if st.sub.ack != nil || p.Next > st.seen[i].Index {
			st.seen[i].Index = p.Next - 1
		}
	}
	return st.seen
}

// chunk turns what the source handed out into bytes. With ack=none each frame
// names what has been seen up to it, so that a cut between two frames loses
// nothing; with ack=manual it names what is acknowledged.
func (st *stream) chunk(c *delivery.Chunk) []byte {
	if len(c.Frames) > 0 && len(c.Gaps) == 0 {
		st.sent += c.Count
		st.server.metrics.delivered(c.Count)
		return c.Frames
	}
	out := append(st.buf[:0], c.Frames...)
	for _, gap := range c.Gaps {
		out = st.gap(out, gap)
	}
	var floor []bus.Position
	if st.sub.ack != nil && len(c.Deliveries) > 0 {
		floor = st.resume()
	}
	for _, d := range c.Deliveries {
		out = st.delivery(out, floor, d)
	}
	st.server.metrics.delivered(c.Count + len(c.Deliveries))
	st.server.deadLetters(st.id, c.Dead)
	st.keep(out)
	return out
}

func (st *stream) delivery(out []byte, floor []bus.Position, d delivery.Delivery) []byte {
	if d.Attempt > 1 {
		st.server.metrics.redelivered()
	} else {
		st.sent++
	}
	switch {
	case d.Namespace == bus.InboxNamespace:
		return st.format.event(out, nil, d) // it resumes nothing
	case floor == nil:
		st.advance(d.Namespace, d.Event.Index)
		floor = st.seen
	}
	return st.format.event(out, floor, d)
}

func (st *stream) advance(namespace string, index uint64) {
	for i, name := range st.places {
		if name == namespace {
			st.seen[i].Index = index
		}
	}
}

func (st *stream) gap(out []byte, gap delivery.Gap) []byte {
	st.server.metrics.gap(gap.Reason)
	return st.format.control(out, "gap", nil, damageGap(gap))
}

// damageGap is the frame for events that cannot be read.
func damageGap(gap delivery.Gap) gapFrame {
	frame := gapFrame{Namespace: gap.Namespace, Requested: "#" + itoa(gap.From), ResumedIndex: gap.Next, Reason: gap.Reason}
	if gap.Next > 0 {
		lost := gap.Next - gap.From
		frame.Lost = &lost
	}
	return frame
}

// tick looks why Next returned without an event, and reports whether the
// stream goes on.
func (st *stream) tick(ctx context.Context, clock *streamClock, err error) bool {
	switch {
	case st.request.Context().Err() != nil:
		return false // the peer is gone
	case ctx.Err() != nil || errors.Is(err, delivery.ErrClosed):
		st.write(st.format.end(st.buf[:0], retryDrain()))
		return false
	case errors.Is(err, io.EOF):
		st.write(st.format.end(st.buf[:0], 0))
		return false
	case errors.Is(err, context.DeadlineExceeded):
		return st.onTime(clock)
	}
	st.write(st.format.control(st.buf[:0], "problem", nil, st.server.refusal(st.request, err)))
	return false
}

// onTime does what is due: a ping, or the end of a stream that waited long
// enough or is old enough.
func (st *stream) onTime(clock *streamClock) bool {
	now := time.Now()
	switch {
	case clock.waited(now):
		st.write(st.format.end(st.buf[:0], 0))
		return false
	case clock.aged(now):
		st.write(st.format.end(st.buf[:0], retryDrain()))
		return false
	case clock.pingDue(now):
		if st.write(st.format.control(st.buf[:0], "ping", st.resume(), pingFrame{Tail: st.tail()})) != nil {
			return false
		}
	}
	clock.again()
	return true
}

// write sends bytes at once, within the write deadline: a peer that does not
// read is let go and comes back with its resume point.
func (st *stream) write(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	st.server.setWriteDeadline(st.control)
	if _, err := st.w.Write(out); err != nil {
		st.server.metrics.slowEviction(err)
		return err
	}
	return st.control.Flush()
}

// keep holds on to a small buffer for the next frames, so that a stream with
// nothing to say holds little memory.
func (st *stream) keep(buf []byte) {
	if cap(buf) <= 4<<10 {
		st.buf = buf
	} else {
		st.buf = nil
	}
}

func (s *Server) setWriteDeadline(c *http.ResponseController) {
	c.SetWriteDeadline(time.Now().Add(s.config.WriteTimeout))
}

// deadLetters tells of events that a consumer did not acknowledge in all its
// attempts.
func (s *Server) deadLetters(consumer string, dead []delivery.Delivery) {
	for _, d := range dead {
		s.deadLetter(consumer, d.Event, "after its last attempt")
	}
}

func (s *Server) deadLetter(consumer string, e *bus.Event, why string) {
	s.metrics.deadLetter()
	s.log.Warn("event given up "+why, "event", e.Id, "subject", e.Subject, "consumer", consumer)
}
