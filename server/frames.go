package server

import (
	"log/slog"
	"strconv"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// opening is what stands before the first event.
func (st *stream) opening(gaps []gapFrame) []byte {
	out := st.room()
	if st.format.mediaType() == typeSSE {
		out = appendRetry(out, retryUsual)
	}
	out = st.format.control(out, "hello", st.resume(), helloFrame{
		ConsumerID: st.id,
		Consumer:   st.name,
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
		if st.manual || p.Next > st.seen[i].Index {
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
		st.server.metrics.delivered(c.Count)
		return c.Frames
	}
	out := st.room()
	for _, gap := range c.Gaps {
		out = st.gap(out, gap) // before the events that follow it
	}
	out = append(out, c.Frames...)
	var floor []bus.Position
	if st.manual && len(c.Deliveries) > 0 {
		floor = st.resume()
	}
	for _, d := range c.Deliveries {
		out = st.delivery(out, floor, d)
	}
	st.server.metrics.delivered(c.Count + len(c.Deliveries))
	st.keep(out)
	return out
}

func (st *stream) delivery(out []byte, floor []bus.Position, d delivery.Delivery) []byte {
	if d.Attempt > 1 {
		st.server.metrics.redelivered()
	} else {
		st.taken++
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

// end is the last frame of a stream that has reached a bound. Its id is where a
// later read goes on.
func (st *stream) end(reason string) []byte {
	return st.format.control(st.room(), "end", st.resume(), endFrame{Reason: reason})
}

// bound is which of its bounds the source has reached. A stream with a limit
// shares no frames, so that all that it handed out is counted.
func (st *stream) bound() string {
	if st.limit > 0 && st.taken >= st.limit || st.filled() {
		return endLimit
	}
	return endUntil
}

func (st *stream) advance(namespace string, index uint64) {
	for i, name := range st.places {
		if name == namespace {
			st.seen[i].Index = index
		}
	}
}

// gap appends the frame of a gap. One that stays, since the log itself says it, as of
// what was deleted, moves the resume point: who comes back from behind it need not hear it again.
// Damage may still be put right by a backup, so there the resume point stays.
func (st *stream) gap(out []byte, gap delivery.Gap) []byte {
	return st.format.control(out, "gap", st.behind(gap), st.server.sayGap(gap))
}

// behind is what a reconnect would name after a gap; nil when that has not moved.
func (st *stream) behind(gap delivery.Gap) []bus.Position {
	if gap.Repaired.IsZero() && gap.Reason != delivery.ReasonDeleted {
		return nil
	}
	if st.manual {
		return st.resume()
	}
	st.advance(gap.Namespace, gap.Next-1)
	return st.seen
}

// sayGap counts a gap, and tells whoever runs the server where its log is
// damaged: the reader is told the numbers only.
func (s *Server) sayGap(gap delivery.Gap) gapFrame {
	s.metrics.gap(gap.Reason)
	switch {
	case gap.Err == nil || !gap.Repaired.IsZero():
	case gap.Next == gap.From: // every stream comes to the end of a log
		s.spoilt.say(s.log, slog.LevelError, "damaged end of a log", "namespace", gap.Namespace, "from", gap.From, "error", gap.Err)
	default:
		s.log.Error("damaged log", "namespace", gap.Namespace, "from", gap.From, "next", gap.Next, "error", gap.Err)
	}
	return damageGap(gap)
}

// damageGap is the frame for events that cannot be read.
func damageGap(gap delivery.Gap) gapFrame {
	frame := gapFrame{Namespace: gap.Namespace, Requested: "#" + strconv.FormatUint(gap.From, 10), ResumedIndex: gap.Next, Reason: gap.Reason, AtMost: gap.AtMost, RepairedAt: gap.Repaired}
	if gap.Next > gap.From { // or nobody knows
		lost := gap.Next - gap.From
		frame.Lost = &lost
	}
	return frame
}
