package server

import (
	"cmp"
	"net/http"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// maxAcks is how many events one request may acknowledge by name.
const maxAcks = 1000

var ackParams = []string{"consumer_id", "consumer", "namespace", "event_id", "up_to", "verdict", "delay"}

// ackAnswer is what was done. Already counts those that had been settled
// before.
type ackAnswer struct {
	Acked   int   `json:"acked"`
	Already any   `json:"already,omitempty"` // true for one event, a count for several
	Replied *bool `json:"replied,omitempty"` // whether somebody waited for the body
}

// acknowledge settles events that a consumer has received, and carries a reply
// to whoever asked.
func (s *Server) acknowledge(w http.ResponseWriter, r *http.Request) {
	request, err := parseAckRequest(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	held := s.budget.lease()
	defer held.end()
	reply, err := s.ackBody(w, r, held, request)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	settled, err := s.settle(request)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.metrics.settled(request.verdict.Kind, len(settled))
	answer := ackAnswerOf(settled)
	if reply != nil {
		replied, err := s.reply(r, request.who(), settled, *reply)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		answer.Replied = &replied
	}
	s.writeJSON(w, http.StatusAccepted, answer)
}

// settle gives the verdict, to a connection's consumer or to a named one.
func (s *Server) settle(a *ackRequest) ([]delivery.Settled, error) {
	if a.consumerID != "" {
		return s.hub.Settle(a.consumerID, a.eventIDs, a.verdict, a.upTo)
	}
	c, err := s.named.called(a.namespace, a.consumer)
	if err != nil {
		return nil, err
	}
	return c.Settle(a.eventIDs, a.verdict, a.upTo)
}

type ackRequest struct {
	consumerID string // or
	consumer   string // by its name,
	namespace  string // which is needed where several are called so
	eventIDs   []string
	verdict    delivery.Verdict
	upTo       bool
}

func parseAckRequest(r *http.Request) (*ackRequest, error) {
	p, err := parseParams(r.URL.RawQuery, ackParams)
	if err != nil {
		return nil, err
	}
	request := &ackRequest{consumerID: p.text("consumer_id"), consumer: p.text("consumer"), namespace: p.text("namespace"), eventIDs: p.list("event_id"), upTo: p.flag("up_to")}
	verdict := p.choice("verdict", "ack", "ack", "nak", "term", "wip")
	request.verdict.Kind = map[string]delivery.Kind{"ack": delivery.Ack, "nak": delivery.Nak, "term": delivery.Term, "wip": delivery.Wip}[verdict]
	request.verdict.Delay = p.duration("delay", 0, time.Millisecond, maxRedelivery)
	if p.err != nil {
		return nil, p.err
	}
	return request, request.check(verdict)
}

// who gives the verdict.
func (a *ackRequest) who() string { return cmp.Or(a.consumerID, a.consumer) }

func (a *ackRequest) check(verdict string) error {
	switch {
	case a.consumerID == "" && a.consumer == "":
		return bus.ErrInvalidParameter.With("consumer_id is missing; the stream's hello frame and its X-BUS-CONSUMER-ID header say it; of a named consumer, consumer= does")
	case a.consumerID != "" && a.consumer != "":
		return bus.ErrInvalidParameter.With("consumer_id and consumer are both there, wanted one of them")
	case a.namespace != "" && a.consumer == "":
		return bus.ErrInvalidParameter.With("namespace goes with consumer=, the name of a consumer")
	case len(a.eventIDs) == 0:
		return bus.ErrInvalidParameter.With("event_id is missing; it is the id in the event's data")
	case len(a.eventIDs) > maxAcks:
		return bus.ErrInvalidParameter.With("event_id stands %d times, at most %d are allowed; up_to=true settles everything up to one", len(a.eventIDs), maxAcks)
	case a.upTo && (len(a.eventIDs) != 1 || verdict != "ack"):
		return bus.ErrInvalidParameter.With("up_to=true goes with one event_id and verdict=ack")
	case a.verdict.Delay > 0 && verdict != "nak":
		return bus.ErrInvalidParameter.With("delay goes with verdict=nak, found verdict=%s", verdict)
	}
	if a.consumer != "" {
		if err := checkConsumerName(a.consumer); err != nil {
			return err
		}
	} else if err := bus.CheckID(a.consumerID); err != nil {
		return err
	}
	for _, id := range a.eventIDs {
		if err := bus.CheckID(id); err != nil {
			return err
		}
	}
	return nil
}

// ackBody reads the reply, nil when there is none.
func (s *Server) ackBody(w http.ResponseWriter, r *http.Request, held *lease, request *ackRequest) (*bus.Event, error) {
	if err := checkEncoding(r); err != nil {
		return nil, err
	}
	media, err := mediaType(r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(w, r, held, s.config.MaxEvent, s.config.MaxEvent)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	if len(request.eventIDs) != 1 || request.upTo || request.verdict.Kind != delivery.Ack {
		return nil, bus.ErrInvalidParameter.With("a body is the reply to one event; it goes with one event_id and verdict=ack")
	}
	reply := bus.Event{}
	if media == "text/plain" {
		media = "" // what fetch calls a string; a reply is JSON unless it says more
	}
	if err := setPayload(&reply, body, media, r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	reply.Subject = bus.InboxNamespace + ".any" // for the check; reply puts the right one
	return &reply, reply.Check()
}

func ackAnswerOf(settled []delivery.Settled) ackAnswer {
	answer := ackAnswer{Acked: len(settled)}
	already := 0
	for _, one := range settled {
		if one.Already {
			already++
		}
	}
	switch {
	case already > 0 && len(settled) == 1:
		answer.Already = true
	case already > 0:
		answer.Already = already
	}
	return answer
}

// reply carries the body to where the publisher of the settled event waits: an
// inbox, or a subject whose events are kept. There the reply has a key, so that
// an acknowledgement that is sent again, because its answer was lost or said
// that the reply could not be stored, stores it once.
func (s *Server) reply(r *http.Request, consumerID string, settled []delivery.Settled, reply bus.Event) (bool, error) {
	if len(settled) != 1 {
		return false, nil
	}
	asked := settled[0].Event // nil when another ack came first, which has answered
	if asked == nil || asked.ResponseSubject == "" {
		return false, nil
	}
	reply.Subject, reply.TraceId = asked.ResponseSubject, asked.TraceId
	if bus.IsInbox(reply.Subject) {
		_, receivers := s.deliverInbox(reply)
		return receivers > 0, nil
	}
	if s.checkNamespace(bus.Namespace(reply.Subject)) != nil {
		return false, nil
	}
	reply.Key = "reply " + consumerID + " " + asked.Id
	_, err := s.store(r.Context(), []bus.Event{reply}, bus.Condition{})
	return err == nil, err
}
