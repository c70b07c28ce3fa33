package server

import (
	"bytes"
	"context"
	"errors"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// anonymous stands in the subject of a dead letter for a consumer without a name.
// No named one can be called so.
const anonymous = "_"

// deadLetterPayload is what the log of dead letters keeps of one.
type deadLetterPayload struct {
	Namespace string    `json:"namespace"`
	Index     uint64    `json:"index"`                     // that its publisher was told
	Delivered uint64    `json:"delivered_index,omitempty"` // where it stands, when that is another
	EventID   string    `json:"event_id"`
	Consumer  string    `json:"consumer"` // a name, or the id of one without
	Attempts  int       `json:"attempts"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	Event     any       `json:"event"` // null: it is too large to be kept twice, or was removed while nobody had it
}

// bury keeps a dead letter, and returns once it is durable.
func (s *Server) bury(d delivery.DeadLetter) error {
	err := s.keepDead(d)
	if err != nil {
		s.dead.warn(s.log, "a dead letter could not be kept", "event", d.Event.Id, "subject", d.Event.Subject, "consumer", d.Consumer, "reason", d.Reason, "error", err)
		return err
	}
	s.metrics.deadLetter()
	s.dead.warn(s.log, "event given up", "event", d.Event.Id, "subject", d.Event.Subject, "consumer", d.Consumer, "attempts", d.Attempts, "reason", d.Reason)
	return nil
}

func (s *Server) keepDead(d delivery.DeadLetter) error {
	if err := s.engine.Keep(bus.DeadNamespace); err != nil {
		return err
	}
	namespace, consumer := bus.Namespace(d.Event.Subject), d.Consumer
	letter := []bus.Event{{}}
	end := s.burials.begin()
	defer func() { end(letter[0].Index) }()
	_, err := s.readOne(namespace, d.Event.Index)
	if removed, ok := bus.AsRemoved(err); ok && removed.Reason == bus.RemovedDeleted {
		return nil // while it was out: no copy of it may be made. What was compacted was tried all the same
	}
	if !d.Named {
		consumer = anonymous
	}
	payload := deadLetterPayload{Namespace: namespace, Index: d.Event.GivenIndex(), EventID: d.Event.Id, Consumer: d.Consumer, Attempts: d.Attempts, Reason: d.Reason, At: d.At.UTC(), Event: d.Event}
	if payload.Index != d.Event.Index {
		payload.Delivered = d.Event.Index
	}
	if d.Event.Subject == namespace { // all that is left of what was removed: there is nothing to keep or to publish again
		payload.Event = nil
	}
	letter[0] = bus.Event{Subject: bus.DeadNamespace + "." + namespace + "." + consumer, TraceId: d.Event.TraceId, Payload: entryOf(payload)}
	err = s.engine.Append(context.Background(), bus.DeadNamespace, letter)
	if errors.Is(err, bus.ErrTooLarge) { // the event itself stays where it is
		payload.Event = nil
		letter[0].Payload = entryOf(payload)
		err = s.engine.Append(context.Background(), bus.DeadNamespace, letter)
	}
	return err
}

// entryOf is a document as the payload of an event. A payload has no line break:
// one would end the line of a frame, and the rest of the event be lost to who reads.
func entryOf(document any) []byte { return bytes.TrimSuffix(encode(document), []byte("\n")) }

// checkReadable is checkNamespace for who reads: dead letters can be subscribed
// to.
func (s *Server) checkReadable(namespace string) error {
	if namespace == bus.DeadNamespace {
		return s.engine.Keep(namespace)
	}
	return s.checkNamespace(namespace)
}
