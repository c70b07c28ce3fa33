package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// loadKeys reads the keys of the last window from the log, so that a repeat is
// known across a restart. Publishes with a key wait for it, others do not.
func (s *Server) loadKeys() {
	defer close(s.loaded)
	if s.config.DedupKeys <= 0 {
		return
	}
	since := time.Now().Add(-s.config.DedupWindow)
	for _, namespace := range s.engine.Namespaces() {
		if err := s.loadNamespace(namespace, since); err != nil && s.drained.Err() == nil {
			s.log.Warn("the keys of a namespace could not be read; repeats of older events will not be known", "namespace", namespace, "error", err)
		}
	}
}

func (s *Server) loadNamespace(namespace string, since time.Time) error {
	from, err := s.engine.IndexAt(s.drained, namespace, since)
	if err != nil {
		return fmt.Errorf("index at %s: %w", since.Format(time.RFC3339), err)
	}
	_, end := s.engine.Bounds(namespace) // what comes later is committed to the memory by its publish
	reader := s.engine.Reader(namespace, from)
	defer reader.Close()
	for from < end && s.drained.Err() == nil {
		events, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && damage.Next > 0 {
			from = damage.Next
			reader.Seek(from)
			continue
		}
		if err != nil {
			return err
		}
		s.remember(namespace, events)
		from = events[len(events)-1].Index + 1
	}
	return nil
}

// remember keeps the keys of stored events. An event with an id of its own was
// published when it says; a restored or copied one was published long before
// it came here. Any other was committed within the window, whatever time its
// publisher gave it.
func (s *Server) remember(namespace string, events []bus.Event) {
	now, incarnation := time.Now(), s.engine.Incarnation(namespace)
	var entries []delivery.Entry
	for i := range events {
		e := &events[i]
		if e.Key == "" {
			continue
		}
		at := e.CreatedAt
		if p, ok := bus.ParseEventID(e.Id); ok && p.Incarnation == incarnation && now.Sub(at) > s.config.DedupWindow {
			at = now
		}
		entries = append(entries, delivery.Entry{
			Key:     delivery.Key{Key: e.Key, Fingerprint: fingerprint(e)},
			Receipt: delivery.Receipt{Index: e.Index, ID: e.Id, CreatedAt: e.CreatedAt},
			At:      at,
		})
	}
	if len(entries) > 0 {
		s.hub.Dedup().Load(namespace, entries)
	}
}

// windowShrunk says that repeats may be stored again which the window should have
// caught. Publishing goes on: refusing new keys would be worse than forgetting old
// ones.
func (s *Server) windowShrunk(namespace string) {
	s.shrunk.warn(s.log, "keys are forgotten before --dedup-window has passed, because there are more than --dedup-keys: allow more, or shorten the window",
		"namespace", namespace, "dedup_keys", s.config.DedupKeys, "dedup_window", s.config.DedupWindow.String())
}

func (s *Server) awaitKeys(ctx context.Context) error {
	select {
	case <-s.loaded:
		return nil
	default:
	}
	select {
	case <-s.loaded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
