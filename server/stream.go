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

// stream is one GET that is being answered. It belongs to one goroutine at a
// time, and to none while it rests.
type stream struct {
	activity // and what wakes it
	server   *Server
	peer     peer
	remote   string
	manual   bool // acknowledgement
	limit    int  // 0: none
	format   format
	source   source
	id       string           // consumer id
	name     string           // of a named consumer; "" of others
	places   []string         // namespaces, in the order of the source's positions
	seen     []bus.Position   // ack=none: what a reconnect would name, by place
	taken    int              // events handed out for the first time; of shared frames they are not counted
	given    int              // all deliveries
	own      *buffer          // nil while it rests
	broken   bool             // a write has failed
	member   *delivery.Member // of a named consumer: the source; nil of others
	begun    bool             // something of what it was given was written, or perhaps
	whole    bool             // all that is to be said was written
	clock    streamClock
}

// source is what a stream takes from: a subscription of its own, or its part in a
// named consumer.
type source interface {
	Poll() (chunk delivery.Chunk, due time.Time, err error)
	Next(ctx context.Context) (delivery.Chunk, error)
	Positions() []delivery.Position
	Close()
}

// part leaves the source. What a pull leases stays out for its peer alone, so it
// has to have been told: of an answer that broke off it goes to the others.
func (st *stream) part() {
	if st.member != nil && !st.whole {
		st.member.Break(!st.begun)
		return
	}
	st.source.Close()
}

// begin writes the head and the first frames. A stream without an end then gets
// the connection to itself where there is one to get: it goes on after begin has
// returned, and calls leave at its end. begin reports false when it is over.
func (st *stream) begin(w http.ResponseWriter, r *http.Request, sub *subscription, gaps []gapFrame, leave func()) (goesOn bool) {
	s := st.server
	defer func() {
		if !goesOn {
			st.part()
		}
	}()
	alone := r.ProtoMajor == 1 && !sub.bounded() && r.ContentLength == 0
	h := w.Header()
	s.streamHeaders(h, st.format.mediaType())
	h.Set(headerConsumerID, st.id)
	if alone {
		h.Set("Connection", "close")
	}
	w.WriteHeader(http.StatusOK)
	st.clock = newStreamClock(s.config, sub.wait)
	st.peer = s.newAnswerPeer(w)
	if st.write(st.opening(gaps)) != nil {
		return false
	}
	if alone {
		if p := s.take(w, r, st); p != nil {
			st.peer = p
			st.giveBack()
			st.leave, st.alone = leave, st.goOn
			go st.alone()
			return true
		}
	}
	st.stay(r.Context())
	st.peer.end(!st.broken)
	return false
}

// turn does all that there is to do now, and reports whether the stream is over:
// complete, without its peer, or let go. If it is not, wake is called as soon as
// there is more.
func (st *stream) turn() (over bool) {
	defer st.giveBack()
	for {
		if st.gone.Load() {
			return true
		}
		chunk, due, err := st.source.Poll()
		if st.tell(&chunk) != nil {
			return true
		}
		if chunk.Count+len(chunk.Deliveries) > 0 {
			st.clock.sawEvent()
		}
		switch {
		case err != nil:
			return st.finish(st.last(err))
		case st.server.draining.Load(): // also a stream that always has something to send ends, and keeps its hours
			return st.finish(st.format.letGo(st.room(), retryDrain()))
		}
		now := time.Now()
		if st.onTime(now) {
			return true
		}
		if chunk.Empty() {
			st.wakeAt(earlier(st.clock.next(), due), now)
			return false
		}
	}
}

// tell writes a chunk. A pull that has had all it asked for is told, though its
// end is still to be said: who counts does not wait for that.
func (st *stream) tell(c *delivery.Chunk) error {
	out := st.chunk(c)
	st.begun = st.begun || len(c.Deliveries) > 0
	err := st.write(out)
	st.given += len(c.Deliveries)
	st.whole = err == nil && st.filled()
	return err
}

// filled reports whether a pull of a named consumer has had as many deliveries as
// it asked for, those of what comes again included.
func (st *stream) filled() bool {
	return st.member != nil && st.limit > 0 && st.given >= st.limit
}

// finish writes what there is to say at the end of a stream, which is over then.
func (st *stream) finish(out []byte) (over bool) {
	if !st.gone.Load() {
		st.whole = st.write(out) == nil || st.whole
	}
	return true
}

// last is what a stream ends with whose source has ended.
func (st *stream) last(err error) []byte {
	switch {
	case errors.Is(err, io.EOF):
		return st.end(st.bound())
	case errors.Is(err, delivery.ErrClosed):
		return st.format.letGo(st.room(), retryDrain())
	}
	return st.format.control(st.room(), "problem", nil, st.server.refusal(http.MethodGet, "/", err))
}

// onTime does what is due: a ping, or the end of a stream that waited long
// enough or is old enough, which it reports.
func (st *stream) onTime(now time.Time) (over bool) {
	switch {
	case st.clock.waited(now):
		return st.finish(st.end(endWait))
	case st.clock.aged(now):
		return st.finish(st.format.letGo(st.room(), retryDrain()))
	case st.clock.pingDue(now):
		return st.write(st.format.control(st.room(), "ping", st.resume(), pingFrame{Tail: st.tail()})) != nil
	}
	return false
}

// write sends bytes at once, within the write deadline: a peer that does not
// read is let go and comes back with its resume point.
func (st *stream) write(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	err := st.peer.write(out)
	if err != nil {
		// Over HTTP/2 a write may end, when its stream is reset, before net/http
		// has done with the bytes: they must not become another stream's.
		st.broken, st.own = true, nil
	}
	if err == errSlow {
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
		"remote", st.remote, "consumer_id", st.id, "namespaces", st.places)
}

// maxKept is up to which size a buffer is kept for the next stream.
const maxKept = 256 << 10

// buffer is where a stream makes frames that it shares with no other.
type buffer struct{ b []byte }

// room returns an empty buffer, for one write. A stream has it only while it is
// at work, so that one with nothing to say holds no memory.
func (st *stream) room() []byte {
	if st.own == nil {
		kept, ok := st.server.buffers.Get().(*buffer)
		if !ok {
			kept = new(buffer)
		}
		st.own = kept
	}
	return st.own.b[:0]
}

// keep holds on to what room has grown to.
func (st *stream) keep(out []byte) { st.own.b = out }

func (st *stream) giveBack() {
	if st.own != nil && cap(st.own.b) <= maxKept {
		st.server.buffers.Put(st.own)
	}
	st.own = nil
}
