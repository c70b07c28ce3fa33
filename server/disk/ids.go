package disk

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"

	"example.com/bus"
)

// A run says that events of another log stand here in their old order without
// gaps: the ones with the indexes from foreign on at the indexes from local on.
// A whole restored log is one run.
type run struct {
	incarnation, foreign uint64
	local, count         uint64
}

// compareRuns orders by where the events were. Runs of one set never overlap.
func compareRuns(a, b run) int {
	if c := cmp.Compare(a.incarnation, b.incarnation); c != 0 {
		return c
	}
	return cmp.Compare(a.foreign, b.foreign)
}

// extends reports whether the event is the one that the run waits for.
func (r run) extends(p bus.Position, local uint64) bool {
	return r.count > 0 && p.Incarnation == r.incarnation && p.Index == r.foreign+r.count && local == r.local+r.count
}

// find returns where the event of another log stands, if it is in the run.
func (r run) find(p bus.Position) (uint64, bool) {
	if p.Incarnation != r.incarnation || p.Index < r.foreign || p.Index-r.foreign >= r.count {
		return 0, false
	}
	return r.local + p.Index - r.foreign, true
}

// joinRuns merges runs that continue each other.
func joinRuns(sorted []run) []run {
	kept := sorted[:0]
	for _, r := range sorted {
		if n := len(kept); n > 0 && kept[n-1].extends(bus.Position{Incarnation: r.incarnation, Index: r.foreign}, r.local) {
			kept[n-1].count += r.count
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// A hashed says that the event at local has an id with this hash.
type hashed struct {
	hash, local uint64
}

func compareHashed(a, b hashed) int {
	if c := cmp.Compare(a.hash, b.hash); c != 0 {
		return c
	}
	return cmp.Compare(a.local, b.local)
}

// hashKey makes the hashes of one log unlike those of any other, so that nobody
// can choose ids or subjects that collide.
type hashKey [16]byte

func (k hashKey) hash(text string) uint64 {
	var room [len(k) + bus.MaxSubjectLen]byte
	sum := sha256.Sum256(append(append(room[:0], k[:]...), text...))
	return binary.LittleEndian.Uint64(sum[:])
}

// idSet finds events by ids that this log did not give. It answers with places
// to look at, in index order: whoever asks reads the event there and compares.
// It is guarded by its owner.
type idSet struct {
	key    hashKey
	first  uint64 // below it nothing is loaded: those events are deleted
	last   run    // still growing
	runs   levels[run]
	hashes levels[hashed]

	// What a saved copy of the set does not have, in the order of arrival.
	// Nothing is kept here when quiet.
	quiet       bool
	freshRuns   []run
	freshHashes []hashed
}

func newIDSet(key hashKey) *idSet {
	return &idSet{
		key:    key,
		runs:   levels[run]{compare: compareRuns, join: joinRuns},
		hashes: levels[hashed]{compare: compareHashed},
	}
}

// add takes an event that has been stored at local.
func (s *idSet) add(id string, local uint64) {
	p, ok := bus.ParseEventID(id)
	if !ok || s.inRun(p) {
		// An id of the bus's form that stands in a run already has been stored
		// twice. A second run over it would overlap the first, and hide it.
		s.addHash(s.key.hash(id), local)
		return
	}
	if s.last.extends(p, local) {
		s.last.count++
		return
	}
	s.finishRun()
	s.last = run{incarnation: p.Incarnation, foreign: p.Index, local: local, count: 1}
}

func (s *idSet) addHash(hash, local uint64) {
	h := hashed{hash: hash, local: local}
	s.hashes.add(h)
	if !s.quiet {
		s.freshHashes = append(s.freshHashes, h)
	}
}

// finishRun puts the growing run where it is found and saved. A lonely event is
// smaller as a hash.
func (s *idSet) finishRun() {
	r := s.last
	s.last = run{}
	switch r.count {
	case 0:
	case 1:
		id := bus.FormatID(bus.Position{Incarnation: r.incarnation, Index: r.foreign})
		s.addHash(s.key.hash(id), r.local)
	default:
		s.runs.add(r)
		if !s.quiet {
			s.freshRuns = append(s.freshRuns, r)
		}
	}
}

func (s *idSet) inRun(p bus.Position) bool {
	_, ok := s.findRun(p)
	return ok
}

func (s *idSet) findRun(p bus.Position) (local uint64, ok bool) {
	if local, ok = s.last.find(p); ok {
		return local, true
	}
	s.runs.each(run{incarnation: p.Incarnation, foreign: p.Index}, func(r run) {
		if at, in := r.find(p); in {
			local, ok = at, true
		}
	})
	return local, ok
}

// next returns the first place above after where the event may stand.
func (s *idSet) next(id string, after uint64) (local uint64, ok bool) {
	offer := func(at uint64) {
		if at > after && (!ok || at < local) {
			local, ok = at, true
		}
	}
	if p, is := bus.ParseEventID(id); is {
		if at, in := s.findRun(p); in {
			offer(at)
		}
	}
	hash := s.key.hash(id)
	s.hashes.each(hashed{hash: hash, local: after + 1}, func(h hashed) {
		if h.hash == hash {
			offer(h.local)
		}
	})
	return local, ok
}

// fresh returns how many entries have not been taken to be saved.
func (s *idSet) fresh() int { return len(s.freshRuns) + len(s.freshHashes) }

// takeFresh removes and returns what is to be saved of the events below limit.
// No run crosses limit: it only ever lies where one begins.
func (s *idSet) takeFresh(limit uint64) ([]run, []hashed) {
	s.finishRun()
	runs, restRuns := split(s.freshRuns, func(r run) bool { return r.local < limit })
	hashes, restHashes := split(s.freshHashes, func(h hashed) bool { return h.local < limit })
	s.freshRuns, s.freshHashes = restRuns, restHashes
	return runs, hashes
}

// hush ends the keeping of what is to be saved.
func (s *idSet) hush() { s.quiet, s.freshRuns, s.freshHashes = true, nil, nil }

// load takes entries that were saved.
func (s *idSet) load(runs []run, hashes []hashed) {
	for _, r := range runs {
		if r.local+r.count > s.first {
			s.runs.add(r)
		}
	}
	for _, h := range hashes {
		if h.local >= s.first {
			s.hashes.add(h)
		}
	}
}

func split[T any](all []T, first func(T) bool) (yes, no []T) {
	for _, v := range all {
		if first(v) {
			yes = append(yes, v)
		} else {
			no = append(no, v)
		}
	}
	return yes, no
}
