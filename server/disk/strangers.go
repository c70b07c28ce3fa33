package disk

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"

	"example.com/bus"
	"example.com/bus/immuta"
)

// chosenID is an event that came with an id of its own.
type chosenID struct {
	id    string
	local uint64
}

// strangers finds the events of a log whose ids do not say where they are. One
// goroutine owns the derived file: it loads it, reads the part of the log that
// it does not cover, and saves from then on. Appends report what they have
// stored; until everything is loaded they are kept waiting in a list, and
// whoever looks for an id waits.
type strangers struct {
	log    *immuta.Log
	file   idFile
	limits saveLimits
	logger *slog.Logger

	stop   chan struct{} // closed by close
	loaded chan struct{} // closed once set may be asked
	done   chan struct{} // closed when the goroutine has ended
	wake   chan struct{} // room for one: there is enough to save

	saver *immuta.Log // the derived log, open for writing; the goroutine's alone

	mu      sync.Mutex // guards all below
	set     *idSet     // nil until loaded; its contents too
	waiting []chosenID // stored before it was loaded
	known   spans      // indexes whose ids are in set or in waiting
	saved   uint64     // one past the last index that the derived log covers
	bytes   int        // stored since the last save
	saving  bool       // false: nothing is to be saved (any more)
	failed  error      // why set does not hold everything
}

// startStrangers returns at once; the log may be as long as it likes.
func startStrangers(log *immuta.Log, file idFile, limits saveLimits, key idKey, logger *slog.Logger) *strangers {
	s := &strangers{
		log: log, file: file, limits: limits, logger: logger, saving: !file.options.ReadOnly, stop: make(chan struct{}),
		loaded: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	// Taken before the first append: everything below is read from the log,
	// everything from it on is reported by the append that stored it.
	_, next := log.Bounds()
	go s.run(next, key)
	return s
}

func (s *strangers) run(next uint64, key idKey) {
	defer close(s.done)
	s.adopt(s.read(next, key))
	for running := true; running; s.save() {
		select {
		case <-s.stop:
			running = false
		case <-s.wake:
		}
	}
	s.closeSaver()
}

// read makes the set from what was saved and from what was not.
func (s *strangers) read(next uint64, key idKey) (*idSet, error) {
	set, known, err := s.load(next, key)
	if err != nil {
		s.stopSaving()
		return newIDSet(key), err
	}
	s.mu.Lock()
	s.saved, set.quiet = known.next, !s.saving
	s.mu.Unlock()
	return set, s.scan(set, known, next)
}

// scan puts into set what the log has from the end of known up to next.
func (s *strangers) scan(set *idSet, known span, next uint64) error {
	first, _ := s.log.Bounds()
	known.next = max(known.next, first) // what is no more need not be known
	s.cover(known)
	b := s.budget()
	r := s.log.Reader(known.next)
	defer r.Close()
	for from := known.next; from < next; {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if damage, is := errors.AsType[*immuta.CorruptError](err); is {
			// What cannot be read now may be put right by a person later, so it
			// is never saved as known.
			s.stopSaving()
			if damage.Next <= from {
				return nil
			}
			from = damage.Next
			r.Seek(from)
			continue
		}
		if gap, is := errors.AsType[*immuta.GapError](err); is {
			// There is nothing to know, and never will be.
			s.cover(span{from: gap.From, next: gap.Next, at: gap.Time})
			from = gap.Next
			r.Seek(from)
			continue
		}
		if err != nil {
			return err
		}
		from = s.scanBlock(set, block)
		if err := b.spend(block.Records); err != nil {
			return err
		}
	}
	return nil
}

// scanBlock puts the ids of a block into set.
func (s *strangers) scanBlock(set *idSet, b immuta.Block) (next uint64) {
	var chosen []chosenID
	for i, data := range b.Records {
		r, err := parseRecord(data)
		if err != nil {
			s.stopSaving()
			continue
		}
		if r.flags&flagID != 0 {
			chosen = append(chosen, chosenID{id: r.id(), local: b.First + uint64(i)})
		}
	}
	next = b.First + uint64(len(b.Records))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chosen {
		set.add(c.id, c.local)
	}
	s.known.add(span{from: b.First, next: next, at: b.Time})
	return next
}

func (s *strangers) cover(known span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.add(known)
}

// adopt makes the loaded set the one that is asked.
func (s *strangers) adopt(set *idSet, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set, s.failed = set, err
	if !s.saving {
		set.hush()
	}
	for _, c := range s.waiting {
		set.add(c.id, c.local)
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
	s.bytes += bytes
	if s.set == nil {
		for _, c := range chosen {
			// Ids may be cut from a request's body, which must not stay for them.
			s.waiting = append(s.waiting, chosenID{id: strings.Clone(c.id), local: c.local})
		}
		return
	}
	for _, c := range chosen {
		s.set.add(c.id, c.local)
	}
	if s.saving && (s.due()) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// due reports whether there is enough to save; the caller holds mu.
func (s *strangers) due() bool {
	return s.set.fresh() >= s.limits.entries || s.bytes >= s.limits.bytes || s.known.prefix().next >= s.saved+s.limits.events
}

// await returns when every id is known, or ctx's error.
func (s *strangers) await(ctx context.Context) error {
	select {
	case <-s.loaded:
	default:
		select {
		case <-s.loaded:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return bus.ErrUnavailable.With("the ids of namespace %s could not be read: %v; start the server again", s.file.name, s.failed)
	}
	return nil
}

// next returns the first place above after where the event may stand.
func (s *strangers) next(id string, after uint64) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set.next(id, after)
}

// close saves what is known. The log must still be open: what its appends store
// from now on is read at the next open.
func (s *strangers) close() {
	close(s.stop)
	<-s.done
}
