package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
)

// byID says that a number behind it is the id that a publisher chose, and no
// index. No id has a colon.
const byID = "id:"

// findEvent finds what /v1/…/events names: an index or an id.
func (s *Server) findEvent(r *http.Request, namespace, name string) (*bus.Event, error) {
	if index, err := strconv.ParseUint(name, 10, 64); err == nil {
		return s.readOne(namespace, index)
	}
	name = strings.TrimPrefix(name, byID)
	if err := bus.CheckID(name); err != nil {
		return nil, err
	}
	index, err := s.engine.Find(r.Context(), namespace, name)
	if p, ok := bus.ParseEventID(name); ok && errors.Is(err, bus.ErrUnknownEvent) && p.Incarnation == s.engine.Incarnation(namespace) {
		return s.readOne(namespace, p.Index) // which knows whether the end is damaged
	}
	if err != nil {
		return nil, err
	}
	return s.readStored(r.Context(), namespace, index)
}

// lookup finds an event of a namespace by its id.
func (s *Server) lookup(namespace, id string) (*bus.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.WriteTimeout)
	defer cancel()
	index, err := s.engine.Find(ctx, namespace, id)
	if err != nil {
		return nil, err
	}
	return s.readStored(ctx, namespace, index)
}

// readStored reads an event that has been stored. With --sync=interval it may
// not be readable yet, because nobody sees an event before it is durable.
func (s *Server) readStored(ctx context.Context, namespace string, index uint64) (*bus.Event, error) {
	if err := s.awaitStored(ctx, namespace, index); err != nil {
		return nil, err
	}
	return s.readOne(namespace, index)
}

// awaitStored waits until an event that has been stored is readable. One whose
// sync failed never will be, and a server that stops does not wait for it.
func (s *Server) awaitStored(ctx context.Context, namespace string, index uint64) error {
	if _, next := s.engine.Bounds(namespace); index < next {
		return nil // nearly always
	}
	for {
		step, cancel := context.WithTimeout(ctx, time.Second)
		err := s.engine.Wait(step, namespace, index)
		cancel()
		if err == nil {
			return nil
		}
		switch problem := s.engine.Inspect(namespace).Problem; {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.drained.Err() != nil:
			return bus.ErrUnavailable.With("the server is stopping")
		case problem != "":
			return bus.ErrStorage.With("index %d of %s cannot be read: %s", index, namespace, problem)
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		}
	}
}

// readOne reads the event at an index.
func (s *Server) readOne(namespace string, index uint64) (*bus.Event, error) {
	first, next := s.engine.Bounds(namespace)
	if index >= next {
		if damage := damagedEnd(s.engine, namespace, index); damage != nil {
			return nil, damage
		}
	}
	if index < first || index >= next {
		return nil, bus.ErrUnknownEvent.With("index %d; %s holds %d to %d", index, namespace, first, next-1)
	}
	reader := s.engine.Reader(namespace, index)
	defer reader.Close()
	events, err := reader.Next()
	if err != nil {
		return nil, err
	}
	if events[0].Index != index {
		return nil, bus.ErrUnknownEvent.With("index %d; %s holds none in front of %d any more", index, namespace, events[0].Index)
	}
	return &events[0], nil
}

// damagedEnd returns the damage at the end of a namespace, as it is for an index
// there or behind it; nil when the end is good. What was there nobody knows, so
// it is neither unknown nor ahead.
func damagedEnd(engine Engine, namespace string, index uint64) error {
	if engine.Inspect(namespace).Problem == "" {
		return nil // nearly always, and at no cost
	}
	reader := engine.Reader(namespace, index)
	defer reader.Close()
	_, err := reader.Next()
	if damage, ok := errors.AsType[*bus.DamageError](err); ok && damage.Next == 0 {
		return damage
	}
	return nil
}
