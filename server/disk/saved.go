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

// saveLimits say when what is known is worth a save. Saving happens beside the
// appends, and what was not saved is found again by reading the tail of the log
// at open: these say how long that tail gets.
type saveLimits struct {
	entries int    // runs and hashes
	events  uint64 // events, whether they have ids of their own or not
	bytes   int    // of the log
}

// defaultSaveLimits keep that tail within what is read in some tens of
// milliseconds.
func defaultSaveLimits() saveLimits {
	return saveLimits{entries: 4096, events: 1 << 16, bytes: 64 << 20}
}

// saveRecords deltas are one commit of the derived log.
const saveRecords = 32

// errStopped says that the engine was closed before everything was read.
var errStopped = errors.New("it was closed meanwhile")

// A budget bounds what is still read once the engine is being closed: enough
// that a short life ends with everything saved, and not so much that a long
// catching up keeps a server from stopping. The next open goes on with it.
type budget struct {
	stop  <-chan struct{}
	bytes int
}

func (s *strangers) budget() *budget { return &budget{stop: s.stop, bytes: s.limits.bytes} }

// spend takes records that have been read, and returns errStopped when there is
// to be no more reading.
func (b *budget) spend(records [][]byte) error {
	select {
	case <-b.stop:
	default:
		return nil
	}
	for _, r := range records {
		b.bytes -= len(r)
	}
	if b.bytes < 0 {
		return errStopped
	}
	return nil
}

// load returns what was saved, an empty set when there is nothing that can be
// used, or an error when the log itself cannot be asked.
func (s *strangers) load(next uint64, key idKey) (*idSet, span, error) {
	nothing := span{from: 1, next: 1}
	set, known, err := s.file.load(s.budget(), s.log.ID())
	if err == nil {
		why, failed := s.fits(known, next)
		if failed != nil {
			return nil, nothing, failed
		}
		err = why
	}
	switch {
	case err == nil:
		return set, known, nil
	case errors.Is(err, fs.ErrNotExist):
		return newIDSet(key), nothing, nil
	case errors.Is(err, errStopped):
		return nil, nothing, err
	}
	s.logger.Warn("the index of chosen ids cannot be used and is made anew", "namespace", s.file.name, "reason", err)
	if !s.file.options.ReadOnly {
		if err := s.file.setAside(); err != nil {
			s.logProblem("set aside", err)
			s.stopSaving()
		}
	}
	return newIDSet(key), nothing, nil
}

// fits says whether what was saved is about this log as it is now. A power cut
// may have taken events back that were only with the operating system, and a
// log may have been replaced by an older copy of it: then other events stand at
// indexes that the saved entries speak of. failed is another matter: the log
// was closed meanwhile, or cannot be read, which says nothing of what was saved.
func (s *strangers) fits(known span, next uint64) (why, failed error) {
	if known.next > next {
		return fmt.Errorf("%w: it speaks of index %d, the log ends before %d", errStale, known.next-1, next), nil
	}
	first, _ := s.log.Bounds()
	if known.next <= first {
		return nil, nil
	}
	r := s.log.Reader(known.next - 1)
	defer r.Close()
	b, err := r.Next()
	at := b.Time
	if gap, is := errors.AsType[*immuta.GapError](err); is {
		at, err = gap.Time, nil
	}
	if _, damaged := errors.AsType[*immuta.CorruptError](err); damaged {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	if !at.Equal(known.at) {
		return fmt.Errorf("%w: index %d was committed at %s, it says at %s", errStale, known.next-1, at.UTC().Format(time.RFC3339Nano), known.at.Format(time.RFC3339Nano)), nil
	}
	return nil, nil
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
