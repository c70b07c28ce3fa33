package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

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
	taken   int            // events handed out for the first time; of shared frames they are not counted
	buf     []byte         // reused between writes
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

// tick looks why Next returned without an event, and reports whether the
// stream goes on.
func (st *stream) tick(ctx context.Context, clock *streamClock, err error) bool {
	switch {
	case st.request.Context().Err() != nil:
		return false // the peer is gone
	case ctx.Err() != nil || errors.Is(err, delivery.ErrClosed):
		st.write(st.format.letGo(st.buf[:0], retryDrain()))
		return false
	case errors.Is(err, io.EOF):
		st.write(st.end(st.bound()))
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
		st.write(st.end(endWait))
		return false
	case clock.aged(now):
		st.write(st.format.letGo(st.buf[:0], retryDrain()))
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
	deadline := st.server.setWriteDeadline(st.control)
	_, err := st.w.Write(out)
	if err == nil {
		err = st.control.Flush()
	}
	// HTTP/2 resets a stream whose deadline passes, also while nothing is written.
	st.control.SetWriteDeadline(time.Time{})
	if err != nil && !time.Now().Before(deadline) { // over HTTP/2 the error may not say so
		st.tooSlow()
	}
	return err
}

// tooSlow counts and tells that the peer is let go for not reading. It loses
// nothing: the next stream begins at its resume point.
func (st *stream) tooSlow() {
	s := st.server
	s.metrics.slow.Inc()
	s.slow.say(s.log, slog.LevelInfo, "a reader was let go because it did not take a write within --write-timeout; it resumes where it was",
		"remote", st.request.RemoteAddr, "consumer_id", st.id, "namespaces", st.places)
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
