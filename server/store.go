package server

import (
	"context"
	"errors"
	"time"

	"example.com/bus"
)

// store appends events of one namespace as one commit, leaving out those whose
// key or chosen id is known already: they are answered with the receipt of the
// event that has it. All or none. A condition is looked at when something is to be
// stored: a repeat of a publish whose answer was lost must not be refused because of
// what it has stored itself.
func (s *Server) store(ctx context.Context, events []bus.Event, when bus.Condition) ([]receipt, error) {
	receipts, err := s.tryStore(ctx, events, when)
	return receipts, s.overDelayed(err)
}

// overDelayed counts a request that is refused because too many events wait.
func (s *Server) overDelayed(err error) error {
	if errors.Is(err, bus.ErrTooManyDelayed) {
		return s.overLimit(limitDelayed, err)
	}
	return err
}

// tryStore is store for who may try again with fewer, and counts its refusal itself.
func (s *Server) tryStore(ctx context.Context, events []bus.Event, when bus.Condition) ([]receipt, error) {
	namespace := bus.Namespace(events[0].Subject)
	start := time.Now()
	if err := settleTimings(events); err != nil {
		return nil, err
	}
	receipts, err := s.storeNew(ctx, namespace, events, when)
	if err != nil {
		return nil, err
	}
	s.metrics.published(namespace, receipts, time.Since(start))
	return receipts, nil
}

func (s *Server) storeNew(ctx context.Context, namespace string, events []bus.Event, when bus.Condition) ([]receipt, error) {
	if !s.claimsAny(events) {
		if err := s.appendIf(ctx, namespace, events, when); err != nil {
			return nil, err
		}
		receipts := make([]receipt, len(events))
		for i := range events {
			receipts[i] = receiptOf(&events[i])
		}
		return receipts, nil
	}
	c := &claim{server: s, namespace: namespace, events: events, known: make([]*receipt, len(events))}
	defer c.release()
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	return c.append(ctx, when)
}

func (s *Server) appendIf(ctx context.Context, namespace string, events []bus.Event, when bus.Condition) error {
	var err error
	if !when.Asks() {
		err = s.engine.Append(ctx, namespace, events)
	} else {
		err = s.engine.AppendIf(ctx, namespace, events, when)
	}
	if err == nil {
		s.expect(namespace, events)
	}
	return err
}

// claimsAny reports whether an event has a key or an id that may be known.
func (s *Server) claimsAny(events []bus.Event) bool {
	for i := range events {
		if events[i].Id != "" || s.claimsKey(&events[i]) {
			return true
		}
	}
	return false
}

// claimsKey: an event that brings its id is told apart by that. Restored and
// copied events do, and a log may well have a key twice, further apart than the
// window.
func (s *Server) claimsKey(e *bus.Event) bool {
	return e.Key != "" && e.Id == "" && s.config.DedupKeys > 0
}
