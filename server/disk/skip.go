package disk

import (
	"math"
	"slices"
	"sort"

	"example.com/bus"
	"example.com/bus/immuta"
)

const (
	// skipUnknown is for how many events it holds that nothing is known.
	skipUnknown = 4096
	// skipWalk groups are looked at without letting appends report.
	skipWalk = 1024
	// skipReads groups are read from the derived log in one call. What they say
	// goes for so many events that a call more is nothing beside it.
	skipReads = 64
)

// Skip returns where, at from or behind it, an event that matches one of the
// patterns may stand: at or later. The answer holds until the other index that
// it returns, so that there is no use in asking for a place between them. It
// never waits: where nothing is known it is from. It is never behind the
// readable end, nor across what was dropped from the old end of the log: that
// has to be said.
func (e *Engine) Skip(namespace string, from uint64, patterns []bus.Pattern) (at, until uint64) {
	n := e.log(namespace)
	if n == nil || n.subjects == nil {
		return from, math.MaxUint64
	}
	switch first, next := n.log.Bounds(); {
	case from < first:
		return from, first
	case from >= next:
		return from, from
	default:
		at, until = n.subjects.skip(from, patterns)
		return min(at, next), until
	}
}

// place is what walk has found: from at on an event may stand, up to until.
type place struct {
	at, until uint64
	record    uint64 // of the derived log, which knows it better; 0: none does
	on        bool   // nothing was found yet: walk on from at
}

func (s *subjects) skip(from uint64, patterns []bus.Pattern) (at, until uint64) {
	key, known := s.hashedBy()
	if !known {
		return from, from + skipUnknown
	}
	wanted, ok := hashesOf(key, patterns)
	if !ok {
		return from, math.MaxUint64
	}
	var saved *immuta.Reader
	for reads := 0; ; {
		p := s.walk(from, wanted)
		if p.on {
			from = p.at
			continue
		}
		if p.record == 0 || reads == skipReads {
			return p.at, p.until
		}
		if saved == nil {
			if saved = s.savedGroups(); saved == nil {
				return p.at, p.until
			}
			defer saved.Close()
		}
		reads++
		if mayHold(saved, p, wanted) {
			return p.at, p.until
		}
		from = p.until
	}
}

// hashesOf returns what the patterns ask for; false when one of them asks for
// anything.
func hashesOf(key hashKey, patterns []bus.Pattern) (wanted []uint32, ok bool) {
	for _, p := range patterns {
		h, ok := key.hashPattern(p)
		if !ok {
			return nil, false
		}
		wanted = append(wanted, h)
	}
	return wanted, len(patterns) > 0
}

// hashedBy returns the key of the hashes, which never changes once it is known.
func (s *subjects) hashedBy() (key hashKey, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chain == nil {
		return key, false
	}
	return s.chain.words.key, true
}

// walk goes from group to group, up to the first that may hold what is wanted.
func (s *subjects) walk(from uint64, wanted []uint32) place {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.chain
	if from < c.from {
		return place{at: from, until: from + skipUnknown}
	}
	i := sort.Search(len(c.groups), func(i int) bool { return c.groups[i].next > from })
	var empty []uint32 // holds nothing that is wanted
	for last := min(len(c.groups), i+skipWalk); i < last; i++ {
		g := &c.groups[i]
		switch {
		case g.anything:
			return place{at: from, until: g.next}
		case g.hashes == nil && s.past == nil && i+c.dropped < s.onDisk:
			return place{at: from, until: g.next, record: uint64(i+c.dropped) + 2}
		case g.hashes == nil:
			return place{at: from, until: g.next}
		case empty != nil && &empty[0] == &g.hashes[0]:
		case containsAny(g.hashes, wanted):
			return place{at: from, until: g.next}
		}
		empty, from = g.hashes, g.next
	}
	return place{at: from, until: from + skipUnknown, on: i < len(c.groups)}
}

func containsAny(sorted, wanted []uint32) bool {
	return slices.ContainsFunc(wanted, func(h uint32) bool {
		_, ok := slices.BinarySearch(sorted, h)
		return ok
	})
}

// savedGroups returns a reader of the derived log, nil when that is not open.
func (s *subjects) savedGroups() *immuta.Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saver == nil {
		return nil
	}
	return s.saver.Reader(1)
}

// mayHold asks the derived log for a group that is not held in memory. What
// cannot be read, or is not that group, may hold anything.
func mayHold(saved *immuta.Reader, p place, wanted []uint32) bool {
	saved.Seek(p.record)
	b, err := saved.Next()
	if err != nil {
		return true
	}
	g, err := parseGroup(b.Records[0])
	return err != nil || g.anything || g.next != p.until || g.from > p.at || containsAny(g.hashes, wanted)
}
