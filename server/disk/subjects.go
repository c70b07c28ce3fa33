package disk

import (
	"errors"
	"fmt"
	"strings"

	"example.com/bus"
	"example.com/bus/immuta"
)

// subjects says where in a log events of a subject cannot be, so that reading a
// rare one does not read everything. Appends report what they have stored. While
// what was stored before them is read they make a chain of their own, and of
// what is before it nothing is said: nobody ever waits.
type subjects struct {
	*derived
	cuts  groupLimits
	begun uint64 // the first index that an append reports

	// Guarded by derived.mu.
	past   *chain // from the log's beginning; nil once it has become chain
	chain  *chain // that is asked; nil until the key of its hashes is known
	onDisk int    // groups from the beginning, with those dropped, that are in the derived log: the i-th from 0 is record i+2
	deaf   bool   // chain does not grow any more
	// What appends have reported that does not follow at once: they are answered
	// in any order. Once chain is there, there are no more than appends at work.
	early map[uint64]report
}

// report is an append that has been stored.
type report struct {
	at       span
	bytes    int
	subjects []string
}

func startSubjects(d *derived, next uint64, key hashKey, cuts groupLimits) *subjects {
	s := &subjects{derived: d, cuts: cuts, begun: next, early: make(map[uint64]report)}
	d.start(s, next, key)
	return s
}

func (s *subjects) clear(key hashKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onDisk = 0
	s.past = newChain(1, key, s.cuts, !s.saving)
}

func (s *subjects) load(data []byte, known span) (span, error) {
	g, err := parseGroup(data)
	if err != nil {
		return known, err
	}
	if g.from != known.next {
		return known, fmt.Errorf("wanted a group from index %d on, found one from %d to %d", known.next, g.from, g.next)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past.load(g)
	s.onDisk++
	return g.span, nil
}

// recalled begins the chain of what is appended: its hashes are to have the key
// of those that were saved.
func (s *subjects) recalled(known span) {
	s.gone(known)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chain = newChain(s.begun, s.past.words.key, s.cuts, !s.saving)
	s.catchUp()
}

// gone makes the group in which a gap is say anything: who reads has to be told
// of it, whatever he looks for. A gap that is made of events that were good when
// their group was made is only told to those who look for one of these.
func (s *subjects) gone(known span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past.gone(known)
}

func (s *subjects) passed(known span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past.pass(known)
}

// damaged: the block that follows makes its group say anything, for there is
// something between it and the last one.
func (s *subjects) damaged() {}

func (s *subjects) scan(b immuta.Block) {
	bytes, last := 0, ""
	for _, data := range b.Records {
		bytes += len(data)
	}
	at := span{from: b.First, next: b.First + uint64(len(b.Records)), at: b.Time}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past.add(at, bytes, func(i int) string {
		r, err := parseRecord(b.Records[i])
		if err != nil {
			return "" // the reader says what is wrong with it
		}
		if subject := r.texts[:r.lengths[0]]; string(subject) != last {
			last = string(subject)
		}
		return last
	})
}

// ready makes the chain from the beginning the one that is asked.
func (s *subjects) ready(err error) {
	if err != nil && !errors.Is(err, errStopped) && !errors.Is(err, immuta.ErrClosed) {
		s.logger.Warn(s.file.what+" ends where the log could not be read; rare subjects behind it are searched for event by event", "namespace", s.file.namespace, "error", err)
	}
	if s.adopt(err) && s.open() != nil {
		s.stopSaving() // who asks for what is not held has to read the log
	}
}

// forget drops what is said of events that are deleted. In the derived log it
// stays.
func (s *subjects) forget(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.past == nil && s.chain != nil {
		s.chain.drop(first)
	}
}

// adopt reports whether some groups have to be read from the derived log, which
// is not open.
func (s *subjects) adopt(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		// What is damaged at the end was not scanned.
		s.past.gone(span{next: s.begun, at: s.past.open.at})
		s.past.join(s.chain)
	} else {
		s.deaf, s.early = true, nil
	}
	s.chain, s.past = s.past, nil
	first, _ := s.log.Bounds()
	s.chain.drop(first)
	if !s.saving {
		s.hush()
	}
	return s.saving && s.chain.partly && s.onDisk > 0 && s.saver == nil
}

// stored reports an append that has succeeded: the indexes it was given, its
// size and its events.
func (s *subjects) stored(at span, bytes int, events []bus.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.deaf:
		return
	case s.chain == nil || at.from != s.chain.open.next:
		s.early[at.from] = report{at: at, bytes: bytes, subjects: subjectsOf(events)}
		return
	}
	s.chain.add(at, bytes, func(i int) string { return events[i].Subject })
	s.catchUp()
	s.grew(bytes)
}

// catchUp takes the reports that follow by now.
func (s *subjects) catchUp() {
	for {
		r, ok := s.early[s.chain.open.next]
		if !ok {
			return
		}
		delete(s.early, r.at.from)
		s.chain.add(r.at, r.bytes, func(i int) string { return r.subjects[i] })
	}
}

// subjectsOf copies the subjects: they may be cut from a request's body, which
// must not stay for them.
func subjectsOf(events []bus.Event) []string {
	all := make([]string, len(events))
	for i := range events {
		if i > 0 && events[i].Subject == all[i-1] {
			all[i] = all[i-1]
		} else {
			all[i] = strings.Clone(events[i].Subject)
		}
	}
	return all
}

// saves is the chain that is saved: the derived log has no holes.
func (s *subjects) saves() *chain {
	if s.past != nil {
		return s.past
	}
	return s.chain
}

func (s *subjects) due() bool {
	c := s.saves()
	if c == nil || len(c.fresh) == 0 {
		return false
	}
	hashes := 0
	for i := range c.fresh {
		hashes += len(c.fresh[i].hashes)
	}
	return c.open.from >= s.saved+s.limits.events || len(c.fresh)*s.cuts.bytes >= s.limits.bytes || hashes >= hashesPerEntry*s.limits.entries
}

// hashesPerEntry: a hash of a subject is smaller than an entry of the index of
// ids, and there are several for an event.
const hashesPerEntry = 16

// unsaved leaves out the open group: it is found again by reading that much of
// the log, and a log that never fills one has no index at all.
func (s *subjects) unsaved() (to span, records [][]byte) {
	c := s.saves()
	if c == nil {
		return span{}, nil
	}
	for _, g := range c.fresh {
		records = append(records, appendGroup(nil, g))
		to = g.span
	}
	s.onDisk += len(c.fresh)
	c.fresh = nil
	return to, records
}

func (s *subjects) hush() {
	for _, c := range []*chain{s.past, s.chain} {
		if c != nil {
			c.quiet, c.fresh = true, nil
		}
	}
}
