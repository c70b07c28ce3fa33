package server

import (
	"errors"
	"net/http"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// parseConsumer reads what a subscription asks of a named consumer. What is not
// asked for is as it is, so only what is there is looked at.
func (s *Server) parseConsumer(sub *subscription, p *params) error {
	if err := checkConsumerName(sub.consumer); err != nil {
		return err
	}
	if p.choice("ack", "manual", "none", "manual") == "none" {
		return bus.ErrInvalidParameter.With("ack=none does not go with consumer=: a named consumer keeps its place by acknowledgements")
	}
	if len(sub.namespaces) != 1 || len(sub.inboxes) > 0 {
		return bus.ErrInvalidParameter.With("consumer %s is asked for subjects of %d namespaces and %d inboxes, wanted one namespace: use a consumer for each", sub.consumer, len(sub.namespaces), len(sub.inboxes))
	}
	if bus.IsOwn(sub.namespaces[0]) {
		return bus.ErrInvalidParameter.With("consumer=%s: dead letters are read without a named consumer", sub.consumer)
	}
	asked := &consumerSettings{Start: sub.start, Redelivery: p.text("redelivery")}
	for _, pattern := range sub.patterns[sub.namespaces[0]] {
		asked.Subjects = append(asked.Subjects, pattern.String())
	}
	if d := p.duration("redelivery", 0, minRedelivery, maxRedelivery); d == 0 {
		asked.Redelivery = ""
	}
	if p.text("redelivery_count") != "" {
		count := max(p.number("redelivery_count", defaultAttempts, -maxAttempts, maxAttempts), 0)
		asked.RedeliveryCount = &count
	}
	if p.text("inflight") != "" {
		asked.Inflight = s.inflight(p)
	}
	sub.ack, sub.asked = &delivery.AckSpec{}, asked
	return nil
}

// joinConsumer answers a GET of a named consumer. It goes on where that is, which
// the server knows: what a reconnecting browser has seen last says nothing.
func (s *Server) joinConsumer(w http.ResponseWriter, r *http.Request, sub *subscription, leave func()) (goesOn bool) {
	namespace := sub.namespaces[0]
	if r.Method == http.MethodHead {
		s.checkConsumer(w, r, sub, namespace)
		return false
	}
	c, err := s.consumerFor(r, sub, namespace)
	if err != nil {
		s.fail(w, r, err)
		return false
	}
	st := &stream{server: s, remote: r.RemoteAddr, manual: true, limit: sub.limit, format: s.format(sub.format), id: bus.NewConsumerID(), name: sub.consumer}
	st.places = []string{namespace}
	st.seen = []bus.Position{{Incarnation: s.engine.Incarnation(namespace)}}
	spec := delivery.MemberSpec{ID: st.id, Limit: sub.limit, Until: sub.until, Lease: sub.format == typeJSON || sub.bounded()}
	if sub.format != typeJSON {
		spec.Wake = st.wake
	}
	member, err := c.Join(spec)
	if errors.Is(err, bus.ErrUnknownConsumer) { // deleted since it was found: it is made anew
		if c, err = s.consumerFor(r, sub, namespace); err == nil {
			member, err = c.Join(spec)
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return false
	}
	st.source, st.member = member, member
	if sub.format == typeJSON {
		st.array(w, r, sub, nil)
		return false
	}
	return st.begin(w, r, sub, nil, leave)
}

// checkConsumer answers a HEAD as a GET would be, and makes no consumer: who only
// looks leaves nothing behind.
func (s *Server) checkConsumer(w http.ResponseWriter, r *http.Request, sub *subscription, namespace string) {
	err := s.named.check(consumerName{namespace, sub.consumer}, sub.asked, func() (delivery.Progress, error) {
		return s.startOf(r, namespace, sub.patterns[namespace], sub.start)
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.streamHeaders(w.Header(), s.format(sub.format).mediaType())
}

// consumerFor returns the consumer that is asked for, and makes it when it is not
// there.
func (s *Server) consumerFor(r *http.Request, sub *subscription, namespace string) (*delivery.Consumer, error) {
	c, _, err := s.named.make(r.Context(), consumerName{namespace, sub.consumer}, sub.asked, func() (delivery.Progress, error) {
		return s.startOf(r, namespace, sub.patterns[namespace], sub.start)
	})
	return c, err
}

// startOf is where a consumer begins. With start=last it owes, of what there is, the
// newest event of each subject.
func (s *Server) startOf(r *http.Request, namespace string, patterns []bus.Pattern, start string) (delivery.Progress, error) {
	begin := &starter{engine: s.engine, await: s.awaitStored, start: start, now: time.Now()}
	places, err := begin.places(r.Context(), map[string][]bus.Pattern{namespace: patterns}, []string{namespace})
	if err != nil {
		return delivery.Progress{}, err
	}
	if err := begin.elsewhere(); err != nil {
		return delivery.Progress{}, err
	}
	place := places[0]
	if len(place.Only) > maxOwed {
		return delivery.Progress{}, bus.ErrTooManySubjects.With("start=last: %d subjects match, a named consumer begins with at most %d", len(place.Only), maxOwed)
	}
	at := delivery.Progress{Next: max(place.From, place.Seam, 1)}
	for _, index := range place.Only {
		at.Open = append(at.Open, delivery.Attempt{Index: index})
	}
	return at, nil
}

// elsewhere refuses a start that this log does not have. A stream is told where it
// begins instead; of a consumer nobody would learn that all of it comes again, or that
// what is published until the index is there is passed by. What retention took is no
// such mistake: what is left begins where it ended.
func (st *starter) elsewhere() error {
	for _, gap := range st.gaps {
		_, isIndex := indexStart(st.start)
		switch last := gap.ResumedIndex - 1; {
		case gap.Reason == gapAhead && isIndex:
			return bus.ErrInvalidParameter.With("start is %.80q, but the last index of namespace %s is %d; wanted at most %d, which begins with what is published next", st.start, gap.Namespace, last, last+1)
		case gap.Reason == gapAhead, gap.Reason == gapOtherLog:
			return bus.ErrUnknownEvent.With("start is %.80q, and namespace %s has no event with that id; wanted the id of one of its events, or oldest or newest", st.start, gap.Namespace)
		}
	}
	return nil
}

// maxOwed is with how many events a named consumer begins at most, where it does
// not begin at one place: they are kept in one entry of its log.
const maxOwed = 10_000
