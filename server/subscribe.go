package server

import (
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

// Milliseconds after which who found the server full comes back: longer, since
// what makes it full does not pass within seconds.
const (
	retryFullMin = 5000
	retryFullMax = 15000
)

func retryFull() int { return retryFullMin + rand.IntN(retryFullMax-retryFullMin) }

// retryDrain spreads those who come back, so that they do not all come at once.
func retryDrain() int { return retryDrainMin + rand.IntN(retryDrainMax-retryDrainMin) }

// subscribe answers GET and HEAD.
func (s *Server) subscribe(w http.ResponseWriter, r *http.Request, full bool) {
	if wantsWelcome(r) {
		s.welcome(w, r)
		return
	}
	sub, err := s.parseSubscription(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	leave, err := s.admit(r, full)
	if err != nil {
		s.turnAway(w, r, sub, err)
		return
	}
	goesOn := false // after this request
	defer func() {
		if !goesOn {
			leave()
		}
	}()
	if sub.consumer != "" {
		goesOn = s.joinConsumer(w, r, sub, leave)
		return
	}
	start := &starter{engine: s.engine, await: s.awaitStored, start: sub.start, resume: sub.resume, now: time.Now()}
	places, err := start.places(r.Context(), sub.patterns, sub.namespaces)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if r.Method == http.MethodHead {
		s.streamHeaders(w.Header(), s.format(sub.format).mediaType())
		return
	}
	st, err := s.openStream(r, sub, places)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if sub.format == typeJSON {
		st.array(w, r, sub, start.gaps)
		return
	}
	goesOn = st.begin(w, r, sub, start.gaps, leave)
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

// admit counts a stream in, unless the server is stopping or has as many as it
// may have. leave counts it out, once.
func (s *Server) admit(r *http.Request, full bool) (leave func(), err error) {
	switch {
	case s.draining.Load():
		return nil, bus.ErrUnavailable.With("the server is stopping; come back in a moment")
	case full:
		return nil, s.overLimit(limitConnections, s.gate.refusal())
	case r.Method == http.MethodHead:
		return func() {}, nil
	}
	return s.wait(r)
}

// wait counts in a request that may take for ever, before it costs anything: a
// stream, or a publisher that waits for its readers. HTTP/2 has hundreds of them
// on one connection, so connections bound them too little.
func (s *Server) wait(r *http.Request) (leave func(), err error) {
	leave, limit, err := s.streams.enter(r.RemoteAddr)
	if err != nil {
		return nil, s.overLimit(limit, err)
	}
	return leave, nil
}

// turnAway ends a stream before it begins. A refusal would make an EventSource
// give up for ever; a stream that ends makes it return.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, sub *subscription, err error) {
	e := *s.refusal(r.Method, r.URL.Path, err)
	retry := retryDrain()
	if !s.draining.Load() {
		retry = retryFull()
		e.RetryAfter = (retry + 999) / 1000
	}
	if sub.format != typeSSE {
		s.fail(w, r, &e)
		return
	}
	out := s.sse.letGo(nil, retry)
	if e.RetryAfter > 0 { // a server that stops says nothing more, as at the end of other streams
		s.metrics.refused(e.Code)
		out = s.sse.control(out, "problem", nil, &e)
	}
	s.streamHeaders(w.Header(), typeSSE)
	s.setAnswerDeadline(w)
	w.Write(out)
}

func (s *Server) openStream(r *http.Request, sub *subscription, places []delivery.Place) (*stream, error) {
	st := &stream{server: s, remote: r.RemoteAddr, manual: sub.ack != nil, limit: sub.limit, format: s.format(sub.format), id: bus.NewConsumerID()}
	for i := range places {
		p := &places[i]
		if sub.until {
			_, next := s.engine.Bounds(p.Namespace)
			p.Until = max(next, p.From)
			if p.Seam > 0 {
				p.Until = p.Seam // or a subject of which more comes meanwhile would be there twice
			}
		}
		st.places = append(st.places, p.Namespace)
		st.seen = append(st.seen, bus.Position{Incarnation: s.engine.Incarnation(p.Namespace), Index: p.From - 1})
	}
	spec := delivery.Spec{ConsumerID: st.id, Places: places, Inboxes: sub.inboxes, Ack: sub.ack, Limit: sub.limit}
	if sub.format != typeJSON {
		spec.Wake = st.wake
	}
	if len(places) == 1 && sub.format != typeJSON { // the hub decides whether frames can be shared
		spec.Format, spec.Shared = st.format.shared(st.places[0]), true
	}
	if err := s.holdPicks(places); err != nil {
		return nil, err
	}
	source, err := s.hub.Open(spec)
	if err != nil {
		releasePicks(places)
		return nil, err
	}
	st.source = source
	return st, nil
}

// holdPicks counts what streams hold of indexes that they begin with: thousands of
// them may begin at once, after a restart.
func (s *Server) holdPicks(places []delivery.Place) error {
	for i := range places {
		if len(places[i].Only) == 0 {
			continue
		}
		held := s.budget.lease()
		if err := held.cover(8 * len(places[i].Only)); err != nil {
			releasePicks(places[:i])
			return err
		}
		places[i].Release = held.end
	}
	return nil
}

func releasePicks(places []delivery.Place) {
	for i := range places {
		if places[i].Release != nil {
			places[i].Release()
		}
	}
}
