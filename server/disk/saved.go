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

func (d *derived) budget() *budget { return &budget{stop: d.stop, bytes: d.limits.bytes} }

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

// recall fills the content with what was saved and returns what is known then:
// nothing when there is nothing that can be used. The error is for a log that
// cannot be asked.
func (d *derived) recall(next uint64, key hashKey) (span, error) {
	nothing := span{from: 1, next: 1}
	known, err := d.restore()
	if err == nil {
		why, failed := d.fits(known, next)
		if failed != nil {
			return nothing, failed
		}
		err = why
	}
	switch {
	case err == nil:
		return known, nil
	case errors.Is(err, errStopped):
		return nothing, err
	}
	d.begin(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing, nil
	}
	d.logger.Warn(d.file.what+" cannot be used and is made anew", "namespace", d.file.namespace, "reason", err)
	if !d.file.options.ReadOnly {
		if err := d.file.setAside(); err != nil {
			d.logProblem("set aside", err)
			d.stopSaving()
		}
	}
	return nothing, nil
}

// restore reads the derived log into the content. fs.ErrNotExist when there is
// none, any other error when it cannot be used.
func (d *derived) restore() (known span, err error) {
	begun := false
	err = d.file.each(d.budget(), func(data []byte) (err error) {
		if begun {
			known, err = d.content.load(data, known)
			return err
		}
		h, err := parseHead(data)
		if err == nil && h.log != d.log.ID() {
			err = fmt.Errorf("%w: wanted one of log %x, found one of log %x", errStale, d.log.ID(), h.log)
		}
		if err == nil {
			d.begin(h.key)
			begun, known = true, span{from: 1, next: 1}
		}
		return err
	})
	if err == nil && !begun {
		err = errors.New("it is empty")
	}
	return known, err
}

// fits says whether what was saved is about this log as it is now. A power cut
// may have taken events back that were only with the operating system, and a
// log may have been replaced by an older copy of it: then other events stand at
// indexes that the saved entries speak of. failed is another matter: the log
// was closed meanwhile, or cannot be read, which says nothing of what was saved.
func (d *derived) fits(known span, next uint64) (why, failed error) {
	if known.next > next {
		return fmt.Errorf("%w: it speaks of index %d, the log ends before %d", errStale, known.next-1, next), nil
	}
	first, _ := d.log.Bounds()
	if known.next <= first {
		return nil, nil
	}
	r := d.log.Reader(known.next - 1)
	defer r.Close()
	b, err := r.Next()
	at := b.Time
	if gap, is := errors.AsType[*immuta.GapError](err); is {
		at, err = gap.Time, nil
	}
	if removed, is := errors.AsType[*immuta.RemovedError](err); is {
		at, err = removed.Time, nil
		if removed.Next > known.next && !at.Before(known.at) {
			return nil, nil // its own time went with it; what is removed was synced long before, and no cut takes it back
		}
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
	return d.telling(b, at, first)
}

// telling says whether the commit of a block can be told from those of another
// copy of the log by its time. A log that is ahead of the clock gives each commit
// the time of the one before, so that its copies have the same times for other
// events.
func (d *derived) telling(b immuta.Block, at time.Time, first uint64) (why, failed error) {
	if b.Commit <= first { // also of a gap, whose time stood in the log before
		return nil, nil
	}
	r := d.log.Reader(b.Commit - 1)
	defer r.Close()
	before, err := r.Next()
	if _, damaged := errors.AsType[*immuta.CorruptError](err); damaged {
		return err, nil
	}
	_, removed := errors.AsType[*immuta.RemovedError](err)
	if _, gap := errors.AsType[*immuta.GapError](err); !gap && !removed && err != nil {
		return nil, err
	}
	if err == nil && !before.Time.Before(at) {
		return fmt.Errorf("%w: index %d and the commit before it have one time, %s, which tells neither from those of another copy", errStale, b.Commit, at.UTC().Format(time.RFC3339Nano)), nil
	}
	return nil, nil
}

// save writes what is known and not yet saved, when there is enough of it or
// the engine is being closed. It runs beside the appends, on the goroutine that
// owns the derived log.
func (d *derived) save() {
	d.mu.Lock()
	from := d.saved
	if !d.saving || !d.content.due() && !d.halted() {
		d.mu.Unlock()
		return
	}
	to, records := d.content.unsaved()
	if to.next > from {
		d.saved, d.bytes = to.next, 0
	}
	d.mu.Unlock()
	if to.next <= from {
		return
	}
	if err := d.write(from, records); err != nil {
		d.logProblem("written", err)
		d.stopSaving()
	}
}

func (d *derived) halted() bool {
	select {
	case <-d.stop:
		return true
	default:
		return false
	}
}

// write appends to the derived log. A cut between two of its commits leaves
// entries that nothing covers yet: they are read from the log once more, and
// what is known twice does no harm.
func (d *derived) write(from uint64, records [][]byte) error {
	if d.saver == nil {
		if err := d.open(); err != nil {
			return err
		}
		_, next := d.saver.Bounds()
		if (next == 1) != (from == 1) {
			return fmt.Errorf("%w: it has %d records, and index %d is the first to be saved", errStale, next-1, from)
		}
		if next == 1 {
			records = slices.Insert(records, 0, appendHead(nil, derivedHead{log: d.log.ID(), key: d.key}))
		}
	}
	for part := range slices.Chunk(records, saveRecords) {
		if _, err := d.saver.Append(context.Background(), part); err != nil {
			return err
		}
	}
	return nil
}

// open opens the derived log for writing, and so that what was saved can be read
// back. Appends must not wait for it.
func (d *derived) open() error {
	l, err := immuta.Open(d.file.dir, d.file.name, d.file.options)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saver = l
	return nil
}

// stopSaving leaves the derived log as it is: what it says stays true.
func (d *derived) stopSaving() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saving = false
	d.content.hush()
}

func (d *derived) closeSaver() {
	if d.saver == nil {
		return
	}
	if err := d.saver.Close(); err != nil {
		d.logProblem("closed", err)
	}
}

// logProblem is a warning only: what is known in memory is whole, and the next
// open reads more of the log.
func (d *derived) logProblem(what string, err error) {
	d.logger.Warn("the saved form of "+d.file.what+" could not be "+what+"; it will be made anew", "namespace", d.file.namespace, "error", err)
}
