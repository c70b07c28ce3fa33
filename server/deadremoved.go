package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"example.com/bus"
)

// burials are the dead letters that are being written. One that is begun before its
// event is deleted may have its content, so that who deletes it waits for that.
type burials struct {
	mu    sync.Mutex // guards the rest
	under map[chan struct{}]struct{}
	last  uint64 // index of the newest that was written
}

// begin notes one, until the function that it returns is called with its index, or 0.
func (b *burials) begin() (end func(index uint64)) {
	done := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.under == nil {
		b.under = make(map[chan struct{}]struct{})
	}
	b.under[done] = struct{}{}
	return func(index uint64) {
		b.mu.Lock()
		delete(b.under, done)
		b.last = max(b.last, index)
		b.mu.Unlock()
		close(done)
	}
}

// wait waits for those that are under way, and returns the index of the newest that
// was written, 0 when this server has written none.
func (b *burials) wait(ctx context.Context) (last uint64, err error) {
	b.mu.Lock()
	var all []chan struct{}
	for done := range b.under {
		all = append(all, done)
	}
	b.mu.Unlock()
	for _, done := range all {
		select {
		case <-done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, nil
}

// erased tells an event that is deleted from others that stood at its index in
// earlier logs of the name. The zero value tells nothing: then any that stood there is
// meant, since it is worse to leave a copy of what was to go.
type erased struct {
	id   string    // "" when it went with the event
	born time.Time // when the event was stored, where that is known: its letters are newer
}

// wrote reports whether a letter may be of the event.
func (o erased) wrote(letter *bus.Event, id string) bool {
	if o.id != "" {
		return id == o.id
	}
	return !letter.CreatedAt.Before(o.born)
}

// deleteLetters deletes the dead letters that were made of events: they have a copy of
// each. A letter knows both places of an event that was put off: once the event is gone
// from both, neither says where the other was. Of a letter there is none.
func (s *Server) deleteLetters(ctx context.Context, namespace string, indexes []uint64, of erased) error {
	if namespace == bus.DeadNamespace {
		return nil
	}
	if err := s.engine.Keep(bus.DeadNamespace); err != nil {
		return err
	}
	last, err := s.burials.wait(ctx)
	if err == nil && last > 0 {
		err = s.awaitStored(ctx, bus.DeadNamespace, last)
	}
	if err != nil {
		return err
	}
	letters, err := s.lettersOf(ctx, namespace, indexes, of)
	if err != nil || len(letters) == 0 {
		return err
	}
	if _, err := s.deleteAll(ctx, bus.DeadNamespace, letters, erased{}); err != nil {
		return err
	}
	s.letters.forget(namespace, letters)
	return nil
}

// lettersOf finds the dead letters of events, in order.
func (s *Server) lettersOf(ctx context.Context, namespace string, indexes []uint64, of erased) (letters []uint64, err error) {
	pattern, err := bus.ParsePattern(bus.DeadNamespace + "." + namespace + ".*")
	if err != nil {
		return nil, err
	}
	first, next := s.engine.Bounds(bus.DeadNamespace)
	r := s.engine.Reader(bus.DeadNamespace, first)
	defer r.Close()
	for at, asked := first, first; at < next; {
		if at >= asked {
			at, asked = s.engine.Skip(bus.DeadNamespace, at, []bus.Pattern{pattern})
		}
		r.Seek(at)
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if removed, ok := bus.AsRemoved(err); ok {
			at = removed.Next
			continue
		}
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && !damage.Repaired.IsZero() {
			at = max(damage.Next, at+1)
			continue
		}
		if damage, ok := errors.AsType[*bus.DamageError](err); ok {
			return nil, bus.ErrCorrupt.With("the event is deleted, but dead letters cannot be read, and one of them may be of it: %v; stop the server, let bus repair --write set them aside, remove what it sets aside, and delete the event again", damage)
		}
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for i := range events {
			if s.isLetterOf(&events[i], namespace, indexes, of) {
				letters = append(letters, events[i].Index)
			}
		}
		at = events[len(events)-1].Index + 1
	}
	return letters, nil
}

// isLetterOf reports whether a dead letter was made of one of some events.
func (s *Server) isLetterOf(e *bus.Event, namespace string, indexes []uint64, of erased) bool {
	in, _, ok := parseDeadSubject(e.Subject)
	if !ok || in != namespace {
		return false
	}
	var letter struct {
		Index     uint64 `json:"index"`
		Delivered uint64 `json:"delivered_index"`
		EventID   string `json:"event_id"`
	}
	if json.Unmarshal(e.Payload, &letter) != nil || letter.Index == 0 {
		return false
	}
	is := slices.Contains(indexes, letter.Index) || slices.Contains(indexes, letter.Delivered)
	return is && of.wrote(e, letter.EventID)
}

// forget drops letters that were deleted.
func (o *openLetters) forget(namespace string, letters []uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.of[namespace]
	for _, index := range letters {
		delete(o.done, index)
		if list != nil {
			list.remove(index)
		}
	}
}
