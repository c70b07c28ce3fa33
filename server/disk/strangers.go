package disk

import (
	"context"
	"strings"

	"example.com/bus"
	"example.com/bus/immuta"
)

// chosenID is an event that came with an id of its own.
type chosenID struct {
	id    string
	local uint64
}

// strangers finds the events of a log whose ids do not say where they are.
// Appends report what they have stored; until everything is loaded they are kept
// waiting in a list, and whoever looks for an id waits.
type strangers struct {
	*derived
	needed  func()        // starts to load; a second call does nothing
	loaded  chan struct{} // closed once set may be asked
	loading *idSet        // the goroutine's alone, until it becomes set

	// Guarded by derived.mu.
	set     *idSet     // nil until loaded; its contents too
	waiting []chosenID // stored before it was loaded
	known   spans      // indexes whose ids are in set or in waiting
	failed  error      // why set does not hold everything
}

// startStrangers loads at once what appends are compared with. Who only reads
// seldom asks for an id, and may open a log many times to see it grow: there the
// first question starts it.
func startStrangers(d *derived, next uint64, key hashKey) *strangers {
	s := &strangers{derived: d, loaded: make(chan struct{})}
	s.needed = func() { d.start(s, next, key) }
	if d.saving {
		s.needed()
	}
	return s
}

func (s *strangers) clear(key hashKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loading = newIDSet(key)
	s.loading.first, _ = s.log.Bounds()
	s.loading.quiet = !s.saving
}

func (s *strangers) load(data []byte, known span) (span, error) {
	return s.loading.loadDelta(data, known)
}

func (s *strangers) recalled(known span) { s.gone(known) }

func (s *strangers) gone(known span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.add(known)
}

func (s *strangers) passed(known span) { s.gone(known) }

// damaged: what cannot be read now may be put right by a person later, so it is
// never saved as known.
func (s *strangers) damaged() { s.stopSaving() }

// scan puts the ids of a block into the set.
func (s *strangers) scan(b immuta.Block) {
	for i, data := range b.Records {
		r, err := parseRecord(data)
		if err != nil {
			s.stopSaving()
			continue
		}
		if r.flags&flagID != 0 {
			s.loading.add(r.id(), b.First+uint64(i))
		}
	}
	s.gone(span{from: b.First, next: b.First + uint64(len(b.Records)), at: b.Time})
}

// ready makes the loaded set the one that is asked.
func (s *strangers) ready(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set, s.failed = s.loading, err
	s.loading = nil
	if !s.saving {
		s.set.hush()
	}
	for _, c := range s.waiting {
		s.set.add(c.id, c.local)
	}
	s.waiting = nil
	close(s.loaded)
}

// stored reports an append that has succeeded: the indexes it was given, its
// size, and which of its events came with ids.
func (s *strangers) stored(at span, bytes int, chosen []chosenID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.add(at)
	for _, c := range chosen {
		if s.set == nil {
			// Ids may be cut from a request's body, which must not stay for them.
			s.waiting = append(s.waiting, chosenID{id: strings.Clone(c.id), local: c.local})
		} else {
			s.set.add(c.id, c.local)
		}
	}
	s.grew(bytes)
}

func (s *strangers) due() bool {
	return s.set != nil && (s.set.fresh() >= s.limits.entries || s.bytes >= s.limits.bytes || s.known.prefix().next >= s.saved+s.limits.events)
}

func (s *strangers) unsaved() (to span, records [][]byte) {
	to = s.known.prefix()
	if s.set == nil || to.next <= s.saved || to.at.IsZero() {
		return span{}, nil
	}
	runs, hashes := s.set.takeFresh(to.next)
	return to, deltas(s.saved, to, runs, hashes)
}

func (s *strangers) hush() {
	if s.set != nil {
		s.set.hush()
	}
}

// forget drops what stood below an index: those events are deleted. In the
// derived log their entries stay, and are passed over when it is loaded.
func (s *strangers) forget(first uint64) {
	s.mu.Lock()
	set := s.set
	s.mu.Unlock()
	if set == nil {
		return // still loading: what is deleted meanwhile is dropped the next time
	}
	set.runs.forget(&s.mu, func(r run) bool { return r.local+r.count <= first })
	set.hashes.forget(&s.mu, func(h hashed) bool { return h.local < first })
}

// await returns when every id is known, or ctx's error.
func (s *strangers) await(ctx context.Context) error {
	s.needed()
	select {
	case <-s.loaded:
	default:
		select {
		case <-s.loaded:
		case <-s.done: // of a log that was closed before anybody asked
			return bus.ErrUnavailable.With("the log of namespace %s is closed", s.file.namespace)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return bus.ErrUnavailable.With("the ids of namespace %s could not be read: %v; start the server again", s.file.namespace, s.failed)
	}
	return nil
}

// next returns the first place above after where the event may stand.
func (s *strangers) next(id string, after uint64) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set.next(id, after)
}
