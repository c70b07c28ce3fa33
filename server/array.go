package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// Headers of a pulled array: what stands in the frames of a stream.
const (
	headerResume = "X-Bus-Resume" // Last-Event-ID for the next pull
	headerGap    = "X-Bus-Gap"    // a JSON array of gaps
	headerMore   = "X-Bus-More"   // true: the array ends here for its size, or its gaps, alone
)

// array answers a bounded read with one JSON array. It is held in memory, so
// it ends early at a size; the resume header says where to go on.
func (st *stream) array(w http.ResponseWriter, r *http.Request, sub *subscription, gaps []gapFrame) {
	st.peer = st.server.newAnswerPeer(w)
	defer func() { st.part(); st.peer.end(!st.broken) }()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(st.server.drained, cancel)()
	patience := newPatience(ctx, sub.wait)
	defer func() { patience.cancel() }()
	held := st.server.budget.lease()
	defer held.end()
	for _, gap := range gaps {
		st.server.metrics.gap(gap.Reason)
	}
	out, more := []byte{'['}, true
	for ahead := len(gaps); len(out) < maxArrayBytes && len(gaps) < ahead+maxArrayGaps; {
		chunk, err := st.source.Next(patience.ctx)
		for _, gap := range chunk.Gaps {
			gaps = append(gaps, st.server.sayGap(gap))
		}
		out = st.items(out, chunk.Deliveries)
		if len(chunk.Deliveries) > 0 {
			patience.cancel()
			patience = newPatience(ctx, sub.wait)
		}
		if err := held.cover(2 * cap(out)); err != nil {
			st.server.fail(w, r, err)
			return
		}
		if err == nil {
			err = patience.ctx.Err()
		}
		if err == nil {
			continue
		}
		if r.Context().Err() != nil {
			return // nobody to answer
		}
		if !complete(err) {
			st.server.fail(w, r, err)
			return
		}
		more = false
		break
	}
	if r.Context().Err() != nil {
		return
	}
	if more {
		w.Header().Set(headerMore, "true")
	}
	st.writeArray(w.Header(), append(out, "\n]\n"...), gaps)
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

// patience is how long an array waits for its next event.
type patience struct {
	ctx    context.Context
	cancel context.CancelFunc
}

// newPatience begins a wait; 0 is one without an end.
func newPatience(parent context.Context, wait time.Duration) (p patience) {
	if wait > 0 {
		p.ctx, p.cancel = context.WithTimeout(parent, wait)
	} else {
		p.ctx, p.cancel = context.WithCancel(parent)
	}
	return p
}

func (st *stream) writeArray(h http.Header, body []byte, gaps []gapFrame) {
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
		st.begun = true
		if st.write(piece) != nil {
			return
		}
	}
	st.whole = true
}
