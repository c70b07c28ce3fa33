package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"example.com/bus"
)

// found returns the event of a letter as its log has it and as the letter has it, nil
// where it is not there. One that must not be given to anybody again is refused, so
// that its letter stays open: a newer one of its subject took its place, or its time
// is over.
func (s *Server) found(l *letter) (original, copied *bus.Event, err error) {
	if original, err = s.original(l); err != nil {
		return nil, nil, err
	}
	if l.raw != nil {
		copied = new(bus.Event)
		if err := json.Unmarshal(l.raw, copied); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range []*bus.Event{original, copied} {
		if e != nil && e.Expired(time.Now()) {
			return nil, nil, overdue(l)
		}
	}
	return original, copied, nil
}

// original returns the event in its log, nil when it is not there any more.
func (s *Server) original(l *letter) (*bus.Event, error) {
	e, err := s.readOne(l.Namespace, cmp.Or(l.Delivered, l.deadLetterPayload.Index))
	if removed, ok := bus.AsRemoved(err); ok && s.isSameLog(l) {
		switch removed.Reason {
		case bus.RemovedCompacted:
			return nil, superseded(l)
		case bus.RemovedExpired:
			return nil, overdue(l)
		}
	}
	switch {
	case isGone(err), errors.Is(err, bus.ErrUnknownEvent):
		return nil, nil
	case err != nil:
		return nil, err
	case e.Id != l.EventID: // another log of that name
		return nil, nil
	}
	return e, nil
}

// isSameLog reports whether the namespace is still the log that the event of a letter
// was in, as far as its id says.
func (s *Server) isSameLog(l *letter) bool {
	p, says := bus.ParseEventID(l.EventID)
	return !says || p.Incarnation == s.engine.Incarnation(l.Namespace)
}

// superseded refuses what would bring an old state back as the newest one.
func superseded(l *letter) error {
	return notAgain(l, "a newer event of its subject took its place")
}

func overdue(l *letter) error { return notAgain(l, "its time to live is over") }

func notAgain(l *letter, why string) error {
	err := bus.ErrEventRemoved.With("event %s of dead letter %s: %s, so that it is neither delivered nor published again; the letter is still open: drop it", l.EventID, l.id, why)
	err.EventID = l.id
	return err
}

// storeNewest stores an event anew that is to be the newest of its subject. Where a
// namespace is compacted that says the state of something, so that it is refused when
// a newer one was published, also one that comes at this moment; whether the old one
// is removed already depends only on when it pays.
func (s *Server) storeNewest(ctx context.Context, l *letter, anew bus.Event) ([]receipt, error) {
	if policy := s.engine.Inspect(l.Namespace).Retention; policy == nil || !policy.Compact {
		return s.store(ctx, []bus.Event{anew}, bus.Condition{})
	}
	own := uint64(0) // nothing that another log of that name has was there before it
	if s.isSameLog(l) {
		own = l.deadLetterPayload.Index
	}
	for {
		receipts, err := s.store(ctx, []bus.Event{anew}, bus.Condition{SubjectIndex: bus.Expect(own)})
		wrong, _ := bus.AsError(err)
		switch {
		case errors.Is(err, bus.ErrTooManySubjects): // nothing is removed then
			return s.store(ctx, []bus.Event{anew}, bus.Condition{})
		case !errors.Is(err, bus.ErrWrongIndex):
			return receipts, err
		case wrong.Index > own:
			return nil, superseded(l)
		}
		own = wrong.Index // it is gone itself, and what is left is older
	}
}
