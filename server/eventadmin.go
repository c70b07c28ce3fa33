package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"example.com/bus"
)

// event reads one event and, for administrators, deletes it.
func (s *Server) event(admin bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.gate.isFull(w, r)
		err := noParameters(r)
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			if err == nil {
				s.readEvent(w, r)
				return
			}
		case http.MethodDelete:
			if !admin {
				err = adminOnly(r)
			}
			if err == nil {
				err = s.deleteEvent(w, r)
			}
		default:
			s.methodNotAllowed(w, r, "GET, HEAD, DELETE, OPTIONS")
			return
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}
}

// deleteEvent deletes one event, by its id or its index. Who leaves in the middle
// does not leave it half done.
func (s *Server) deleteEvent(w http.ResponseWriter, r *http.Request) error {
	namespace, name := r.PathValue("namespace"), r.PathValue("event")
	if err := s.checkNamespace(namespace); err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	index, err := s.placeOf(ctx, namespace, name)
	if err != nil {
		return err
	}
	answer := bus.DeletedEvent{Namespace: namespace, Index: index, Deleted: true}
	e, err := s.readOne(namespace, index)
	switch {
	case err == nil:
		answer.ID = e.Id
	case isRemovedError(err): // its own id went with it; this one is still its place
		answer.ID = bus.FormatID(bus.Position{Incarnation: s.engine.Incarnation(namespace), Index: index})
	default:
		return err
	}
	if answer.Already, err = s.deleteAll(ctx, namespace, []uint64{index}); err != nil {
		return err
	}
	s.log.Warn("an event was deleted", "namespace", namespace, "index", index, "already", answer.Already, "remote", r.RemoteAddr)
	s.writeJSON(w, http.StatusOK, answer)
	return nil
}

// placeOf is the index that a path names: a number, or an id, whose event is waited
// for to be readable.
func (s *Server) placeOf(ctx context.Context, namespace, name string) (uint64, error) {
	if index, err := strconv.ParseUint(name, 10, 64); err == nil {
		return index, nil
	}
	name = strings.TrimPrefix(name, byID)
	if err := bus.CheckID(name); err != nil {
		return 0, err
	}
	index, err := s.engine.Find(ctx, namespace, name)
	if err != nil {
		return 0, err
	}
	return index, s.awaitStored(ctx, namespace, index)
}

func isRemovedError(err error) bool {
	_, removed := bus.AsRemoved(err)
	return removed
}

// isGone reports whether an event cannot be read because it is not there any more, or
// not as it was.
func isGone(err error) bool {
	_, damaged := errors.AsType[*bus.DamageError](err)
	return damaged || isRemovedError(err)
}
