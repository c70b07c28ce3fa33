package server

import (
	"net/http"
	"strconv"
	"time"

	"example.com/bus"
)

// How many events that wait one answer lists.
const (
	defaultDelayedPage = 100
	maxDelayedPage     = 1000
)

var delayedParams = []string{"limit", "after"}

// checkAnswered refuses to wait for what an event brings about that is not delivered
// yet.
func checkAnswered(e bus.Event, wish answerWish) error {
	if e.Timing == nil || !wish.reply && wish.confirm == 0 {
		return nil
	}
	if err := e.SettleTiming(time.Now()); err != nil || !e.Waits() {
		return err
	}
	return bus.ErrInvalidParameter.With("the event is delivered at %s, and confirm or reply would wait for that; publish it without", e.Timing.DeliverAt.Format(time.RFC3339Nano))
}

// expect has the schedule look after events that were stored.
func (s *Server) expect(namespace string, events []bus.Event) {
	var first time.Time
	for i := range events {
		if e := &events[i]; e.Waits() && (first.IsZero() || e.Timing.DeliverAt.Before(first)) {
			first = e.Timing.DeliverAt
		}
	}
	if !first.IsZero() {
		s.schedule.Expect(namespace, first)
	}
}

// expectDelayed has it look what waits in namespaces that were opened.
func (s *Server) expectDelayed(namespaces []string) {
	for _, namespace := range namespaces {
		s.schedule.Expect(namespace, time.Time{})
	}
}

// releaseFailed tells that events that are due cannot be delivered, and when that is
// over.
func (s *Server) releaseFailed(namespace string, err error) {
	if err == nil {
		s.log.Info("events that have come due are delivered again", "namespace", namespace)
		return
	}
	s.log.Error("events that have come due cannot be delivered; it is tried again", "namespace", namespace, "error", err)
}

// listDelayed answers with the events that wait, by index.
func (s *Server) listDelayed(w http.ResponseWriter, r *http.Request) {
	s.gate.isFull(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.methodNotAllowed(w, r, "GET, HEAD, OPTIONS")
		return
	}
	namespace := r.PathValue("namespace")
	err := s.checkNamespace(namespace)
	var p *params
	if err == nil {
		p, err = parseParams(r.URL.RawQuery, delayedParams)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	after, limit := uint64(0), p.number("limit", defaultDelayedPage, 1, maxDelayedPage)
	if text := p.text("after"); text != "" {
		var ok bool
		if after, ok = indexStart(text); !ok {
			p.fail("after", text, "the after of the page before, an index")
		}
	}
	if p.err != nil {
		s.fail(w, r, p.err)
		return
	}
	held := s.budget.lease() // until the last byte is written: the peer may take its time
	defer held.end()
	body, err := s.pageOfDelayed(r, held, namespace, after, limit)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeBody(w, http.StatusOK, body)
}

// pageOfDelayed returns whole events, so that whoever keeps a copy of a namespace can
// have them; a page ends early at a size.
func (s *Server) pageOfDelayed(r *http.Request, held *lease, namespace string, after uint64, limit int) ([]byte, error) {
	indexes, err := s.engine.Delayed(r.Context(), namespace, after, limit+1)
	if err != nil {
		return nil, err
	}
	info := s.engine.Inspect(namespace)
	out, listed, last := []byte(`{"delayed":[`), 0, after
	for i, index := range indexes {
		if i == limit || len(out) >= maxArrayBytes {
			break
		}
		e, err := s.readStored(r.Context(), namespace, index)
		if refusal, ok := bus.AsError(err); r.Context().Err() != nil || ok && refusal.Status >= http.StatusInternalServerError {
			return nil, err
		}
		if err != nil { // deleted meanwhile, or lost, which its delivery says
			last = index
			continue
		}
		if listed > 0 {
			out = append(out, ',')
		}
		out = e.AppendJSON(append(out, '\n'))
		listed, last = listed+1, index
		if err := held.cover(cap(out)); err != nil {
			return nil, err
		}
	}
	out = strconv.AppendInt(append(out, "\n],\"waiting\":"...), int64(info.Delayed), 10)
	if !info.NextDelivery.IsZero() {
		out = append(info.NextDelivery.AppendFormat(append(out, `,"next_delivery":"`...), time.RFC3339Nano), '"')
	}
	if n := len(indexes); n > 0 && indexes[n-1] > last {
		out = append(strconv.AppendUint(append(out, `,"after":"`...), last, 10), '"')
	}
	return append(out, "}\n"...), nil
}
