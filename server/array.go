package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// Headers of a pulled array: what stands in the frames of a stream.
const (
	headerResume = "X-BUS-RESUME" // Last-Event-ID for the next pull
	headerGap    = "X-BUS-GAP"    // a JSON array of gaps
	headerMore   = "X-BUS-MORE"   // true: the array ends here for its size, or its gaps, alone
)

// array answers a bounded read with one JSON array. It is held in memory, so
// it ends early at a size; the resume header says where to go on.
func (st *stream) array(gaps []gapFrame) {
	ctx, cancel := context.WithCancel(st.request.Context())
	defer cancel()
	defer context.AfterFunc(st.server.drained, cancel)()
	config := st.server.config
	config.MaxStreamAge = 0 // an array has its own bounds
	clock := newStreamClock(ctx, config, st.sub.wait)
	defer clock.stop()
	held := st.server.budget.lease()
	defer held.end()
	for _, gap := range gaps {
		st.server.metrics.gap(gap.Reason)
	}
	out, more := []byte{'['}, true
	for ahead := len(gaps); len(out) < maxArrayBytes && len(gaps) < ahead+maxArrayGaps; {
		chunk, err := st.source.Next(clock.ctx)
		for _, gap := range chunk.Gaps {
			gaps = append(gaps, st.server.sayGap(gap))
		}
		out = st.items(out, chunk.Deliveries)
		if len(chunk.Deliveries) > 0 {
			clock.sawEvent()
		}
		if err := held.cover(2 * cap(out)); err != nil {
			st.server.fail(st.w, st.request, err)
			return
		}
		if err == nil {
			err = clock.ctx.Err()
		}
		if err == nil || st.looksAgain(clock, err) {
			continue
		}
		if st.request.Context().Err() != nil {
			return // nobody to answer
		}
		if !complete(err) {
			st.server.fail(st.w, st.request, err)
			return
		}
		more = false
		break
	}
	if more {
		st.w.Header().Set(headerMore, "true")
	}
	st.writeArray(append(out, "\n]\n"...), gaps)
}

func (st *stream) items(out []byte, deliveries []delivery.Delivery) []byte {
	for _, d := range deliveries {
		if len(out) > 1 {
			out = append(out, ',')
		}
		st.advance(d.Namespace, d.Event.Index)
		out = d.Event.AppendDelivery(append(out, '\n'), d.Attempt)
	}
	st.server.metrics.delivered(len(deliveries))
	return out
}

// complete reports whether a read ended as it should: at its bound, or in time.
// Anything else, also a server that stops, is told instead of a short array.
func complete(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded)
}

// looksAgain reports whether a read that found nothing in time goes on.
func (st *stream) looksAgain(clock *streamClock, err error) bool {
	now := time.Now()
	if !errors.Is(err, context.DeadlineExceeded) || clock.waited(now) {
		return false
	}
	clock.pingDue(now) // there is nobody to ping, but the deadline moves on
	clock.again()
	return true
}

func (st *stream) writeArray(body []byte, gaps []gapFrame) {
	h := st.w.Header()
	st.server.streamHeaders(h, typeJSON)
	if len(st.places) > 0 {
		h.Set(headerResume, bus.FormatID(st.resume()...))
	}
	if len(gaps) > 0 {
		if said, err := json.Marshal(gaps); err == nil {
			h.Set(headerGap, string(said))
		}
	}
	for piece := range slices.Chunk(body, 256<<10) { // each has the time of a write: a slow reader gets all of it
		if st.write(piece) != nil {
			return
		}
	}
}
