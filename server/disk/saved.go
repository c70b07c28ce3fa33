package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"example.com/bus/immuta"
)

// When what is known is worth a save. Saving happens beside the appends, and
// what was not saved is found again by reading the tail of the log at open:
// these say how long that tail gets.
const (
	saveEntries = 4096
	saveEvents  = 1 << 16
	saveBytes   = 64 << 20

	// saveRecords deltas are one commit of the derived log.
	saveRecords = 32
)

// load returns what was saved, or nil when there is nothing that can be used.
func (s *strangers) load(next uint64) (*idSet, span) {
	nothing := span{from: 1, next: 1}
	set, known, err := s.file.load(s.log.ID())
	if err == nil {
		err = s.fits(known, next)
	}
	switch {
	case err == nil:
		return set, known
	case errors.Is(err, fs.ErrNotExist):
		return nil, nothing
	}
	s.logger.Warn("the index of chosen ids cannot be used and is made anew", "namespace", s.file.name, "reason", err)
	if s.file.options.ReadOnly {
		return nil, nothing
	}
	if err := s.file.setAside(); err != nil {
		s.logProblem("set aside", err)
		s.stopSaving()
	}
	return nil, nothing
}

// fits says whether what was saved is about this log as it is now. A power cut
// may have taken events back that were only with the operating system, and a
// log may have been replaced by an older copy of it: then other events stand at
// indexes that the saved entries speak of.
func (s *strangers) fits(known span, next uint64) error {
	if known.next > next {
		return fmt.Errorf("%w: it speaks of index %d, the log ends before %d", errStale, known.next-1, next)
	}
	first, _ := s.log.Bounds()
	if known.next <= first {
		return nil
	}
	r := s.log.Reader(known.next - 1)
	defer r.Close()
	b, err := r.Next()
	if err != nil {
		return fmt.Errorf("its last event cannot be read: %w", err)
	}
	if !b.Time.Equal(known.at) {
		return fmt.Errorf("%w: index %d was committed at %s, it says at %s", errStale, known.next-1, b.Time.UTC().Format(time.RFC3339Nano), known.at.Format(time.RFC3339Nano))
	}
	return nil
}

// save writes what is known and not yet saved. It runs beside the appends, on
// the goroutine that owns the derived log.
func (s *strangers) save() {
	from, to, runs, hashes := s.takeUnsaved()
	if to.next <= from {
		return
	}
	if err := s.write(from, deltas(from, to, runs, hashes)); err != nil {
		s.logProblem("written", err)
		s.stopSaving()
	}
}

func (s *strangers) takeUnsaved() (from uint64, to span, runs []run, hashes []hashed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to = s.saved, s.known.prefix()
	if !s.saving || s.set == nil || to.next <= from || to.at.IsZero() {
		return from, span{}, nil, nil
	}
	runs, hashes = s.set.takeFresh(to.next)
	s.saved, s.bytes = to.next, 0
	return from, to, runs, hashes
}

// write appends to the derived log. A cut between two of its commits leaves
// entries that nothing covers yet: they are read from the log once more, and
// what is known twice does no harm.
func (s *strangers) write(from uint64, records [][]byte) error {
	if s.saver == nil {
		l, err := immuta.Open(s.file.dir, s.file.name, s.file.options)
		if err != nil {
			return err
		}
		s.saver = l
		_, next := l.Bounds()
		if (next == 1) != (from == 1) {
			return fmt.Errorf("%w: it has %d records, and index %d is the first to be saved", errStale, next-1, from)
		}
		if next == 1 {
			records = slices.Insert(records, 0, appendIDHead(nil, idHead{log: s.log.ID(), key: s.set.key}))
		}
	}
	for part := range slices.Chunk(records, saveRecords) {
		if _, err := s.saver.Append(context.Background(), part); err != nil {
			return err
		}
	}
	return nil
}

// stopSaving leaves the derived log as it is: what it says stays true.
func (s *strangers) stopSaving() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saving = false
	if s.set != nil {
		s.set.hush()
	}
}

func (s *strangers) closeSaver() {
	if s.saver == nil {
		return
	}
	if err := s.saver.Close(); err != nil {
		s.logProblem("closed", err)
	}
}

// logProblem is a warning only: the set in memory is whole, and the next open
// reads more of the log.
func (s *strangers) logProblem(what string, err error) {
	s.logger.Warn("the saved index of chosen ids could not be "+what+"; it will be made anew", "namespace", s.file.name, "error", err)
}
