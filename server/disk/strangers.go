package disk

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/bus"
	"example.com/bus/immuta"
)

// chosenID is an event that came with an id of its own.
type chosenID struct {
	id    string
	local uint64
}

// strangers finds the events of a log whose ids do not say where they are, and knows
// which of them wait for their delivery: those never say it.
// Appends report what they have stored; until everything is loaded they are kept
// waiting in a list, and whoever looks for an id waits.
type strangers struct {
	*derived
	needed  func()        // starts to load; a second call does nothing
	loaded  chan struct{} // closed once set may be asked
	loading *idSet        // the goroutine's alone, until it becomes set
	delayed *delays       // as well, until it becomes delays
	most    int           // events that may wait

	// Guarded by derived.mu.
	set     *idSet     // nil until loaded; its contents too
	waiting []chosenID // stored before it was loaded
	known   spans      // indexes whose ids are in set or in waiting
	failed  error      // why set does not hold everything
	delays  *delays    // nil until loaded; its contents too
	booked  int        // places of events that are being stored and will wait
}

// startStrangers loads at once what appends are compared with. Who only reads
// seldom asks for an id, and may open a log many times to see it grow: there the
// first question starts it.
func startStrangers(d *derived, next uint64, key hashKey, mostDelayed int) *strangers {
	s := &strangers{derived: d, loaded: make(chan struct{}), most: mostDelayed}
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
	s.delayed = newDelays()
	s.delayed.quiet = !s.saving
}

func (s *strangers) load(data []byte, known span) (span, error) {
	if len(data) > 1 && data[1] == derivedKindDelays {
		part, err := parseDelayDelta(data)
		if err == nil && (part.from != known.next || part.next <= part.from) {
			err = fmt.Errorf("wanted delays from index %d on, found some from %d to %d", known.next, part.from, part.next)
		}
		if err == nil {
			s.delayed.load(part)
		}
		return known, err
	}
	from := known.next
	known, err := s.loading.loadDelta(data, known)
	if err == nil && known.next > from {
		s.delayed.covered(span{from: from, next: known.next, at: known.at}, s.loading.first)
	}
	return known, err
}

func (s *strangers) recalled(known span) {
	s.delayed.loaded = delayDelta{}
	s.gone(known)
}

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
		if r.flags&flagTiming != 0 {
			s.delayed.note(readTiming(r.timing), b.First+uint64(i))
		}
	}
	s.gone(span{from: b.First, next: b.First + uint64(len(b.Records)), at: b.Time})
}

// ready makes the loaded set the one that is asked.
func (s *strangers) ready(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set, s.failed = s.loading, err
	s.delays = s.delayed
	s.loading, s.delayed = nil, nil
	if !s.saving {
		s.hush()
	}
	for _, c := range s.waiting {
		s.set.add(c.id, c.local)
	}
	s.waiting = nil
	close(s.loaded)
}

// stored reports an append that has succeeded: the indexes it was given, its
// size, which of its events came with ids, and the events themselves, of which
// those that wait had their places booked.
func (s *strangers) stored(at span, bytes int, chosen []chosenID, events []bus.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range events {
		if t := events[i].Timing; t != nil && s.delays != nil { // whoever appends these has waited for it
			s.delays.note(t, at.from+uint64(i))
		}
	}
	s.booked -= waitingOf(events)
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
	return s.set != nil && (s.set.fresh()+s.delays.fresh() >= s.limits.entries || s.bytes >= s.limits.bytes || s.known.prefix().next >= s.saved+s.limits.events)
}

func (s *strangers) unsaved() (to span, records [][]byte) {
	to = s.known.prefix()
	if s.set == nil || to.next <= s.saved || to.at.IsZero() {
		return span{}, nil
	}
	runs, hashes := s.set.takeFresh(to.next)
	waits, releases := s.delays.takeFresh(to.next)
	return to, append(delayDeltas(s.saved, to, waits, releases), deltas(s.saved, to, runs, hashes)...)
}

func (s *strangers) hush() {
	if s.set != nil {
		s.set.hush()
		s.delays.hush()
	}
}

// forget drops what stood below an index: those events are deleted. In the
// derived log their entries stay, and are passed over when it is loaded. It returns
// how many of them were still to be delivered.
func (s *strangers) forget(first uint64) (undelivered int) {
	s.mu.Lock()
	set := s.set
	s.mu.Unlock()
	if set == nil {
		return 0 // still loading: what is deleted meanwhile is dropped the next time
	}
	set.runs.forget(&s.mu, func(r run) bool { return r.local+r.count <= first })
	set.hashes.forget(&s.mu, func(h hashed) bool { return h.local < first })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delays.forget(first)
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

// behind returns, sorted, the places behind an index of the events whose ids say no
// index: among them is each that was put off and delivered.
func (s *strangers) behind(index uint64) (places []span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(first, count uint64) {
		if next := first + count; next > index+1 {
			places = append(places, span{from: max(first, index+1), next: next})
		}
	}
	for _, entries := range append([][]hashed{s.set.hashes.recent}, s.set.hashes.sorted...) {
		for _, h := range entries {
			add(h.local, 1)
		}
	}
	for _, runs := range append([][]run{s.set.runs.recent, {s.set.last}}, s.set.runs.sorted...) {
		for _, r := range runs {
			add(r.local, r.count)
		}
	}
	slices.SortFunc(places, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return places
}
