package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/bus"
)

// once leaves of what was read of a log each event once: one that was put off stands
// there twice. See dirSource.delivered.
func (s *dirSource) once(namespace string, events []bus.Event) ([]bus.Event, error) {
	if !slices.ContainsFunc(events, func(e bus.Event) bool { return e.Timing != nil }) {
		return events, nil // nearly always
	}
	kept := make([]bus.Event, 0, len(events))
	for i := range events {
		e := &events[i]
		if s.delivered && e.Waits() {
			continue
		}
		if !s.delivered && e.GivenIndex() != e.Index {
			there, err := s.stillWaits(namespace, e)
			if err != nil {
				return nil, err
			}
			if there {
				continue
			}
		}
		kept = append(kept, *e)
	}
	return kept, nil
}

// stillWaits reports whether an event that was put off can be read where it was
// published, too: a retention may have deleted that place, a compaction have removed it,
// or damage hold it.
func (s *dirSource) stillWaits(namespace string, e *bus.Event) (bool, error) {
	engine := s.engine.Load()
	if first, _ := engine.Bounds(namespace); e.GivenIndex() < first {
		return false, nil
	}
	reader := engine.Reader(namespace, e.GivenIndex())
	defer reader.Close()
	events, err := reader.Next()
	if _, damage := errors.AsType[*bus.DamageError](err); damage || isRemoved(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return events[0].Index == e.GivenIndex() && events[0].Id == e.Id, nil
}

// withheld reports whether the event at an index is one that streams pass over: it
// was put off, or has expired.
func (s *hostSource) withheld(ctx context.Context, namespace string, index uint64) bool {
	e, err := s.event(ctx, namespace, strconv.FormatUint(index, 10))
	return err == nil && (e.Waits() || e.Expired(time.Now()))
}

// mostDelayed bounds a page of what waits, which the server ends at some megabytes
// behind the event that goes beyond them.
const mostDelayed = 64 << 20

// delayedPage is one answer of what waits.
type delayedPage struct {
	Delayed []bus.Event `json:"delayed"`
	After   string      `json:"after"`
}

// delayed hands out what waits, page by page.
func (s *hostSource) delayed(ctx context.Context, namespace string, take func([]bus.Event) error) error {
	for after := ""; ; {
		body, err := s.ask(ctx, namespace+"/delayed?limit=1000&after="+url.QueryEscape(after), mostDelayed)
		if err != nil {
			return hostError(err, s.url)
		}
		var page delayedPage
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("%s answered %.80q, wanted what waits in namespace %s; is it a bus server?", shown(s.url), body, namespace)
		}
		for i := range page.Delayed {
			if e := &page.Delayed[i]; bus.Namespace(e.Subject) != namespace || !e.Waits() {
				return fmt.Errorf("%s says that event %s of %q waits in namespace %s, which cannot be; is it a bus server?", shown(s.url), oneLine(e.Id), e.Subject, namespace)
			}
		}
		if err := take(page.Delayed); err != nil || page.After == "" {
			return err
		}
		was, _ := strconv.ParseUint(after, 10, 64)
		is, err := strconv.ParseUint(page.After, 10, 64)
		if err != nil || is <= was {
			return fmt.Errorf("%s goes on at %.20q behind %q, which has no end; is it a bus server?", shown(s.url), page.After, after)
		}
		after = page.After
	}
}

// waiting returns the ids of what waits and is wanted. The events may be large.
func (s *hostSource) waiting(ctx context.Context, w wanted) (map[string]struct{}, error) {
	ids := make(map[string]struct{})
	err := s.delayed(ctx, w.namespace, func(events []bus.Event) error {
		for i := range events {
			if w.match(events[i].Subject) {
				ids[events[i].Id] = struct{}{}
			}
		}
		return nil
	})
	return ids, err
}

// readWaiting hands out the events with these ids: those that wait on, and those that
// were delivered since.
func (s *hostSource) readWaiting(ctx context.Context, w wanted, ids map[string]struct{}, take func([]bus.Event) error) error {
	if len(ids) == 0 {
		return nil
	}
	err := s.delayed(ctx, w.namespace, func(events []bus.Event) error {
		events = slices.DeleteFunc(events, func(e bus.Event) bool {
			_, asked := ids[e.Id]
			delete(ids, e.Id)
			return !asked
		})
		return take(events)
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		e, err := s.event(ctx, w.namespace, byID+id)
		if notThere(err) { // it was deleted
			continue
		}
		if err != nil {
			return err
		}
		if err := take([]bus.Event{*e}); err != nil {
			return err
		}
	}
	return nil
}
