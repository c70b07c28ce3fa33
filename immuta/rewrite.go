package immuta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

// Rewritten is what a Rewrite has done.
type Rewritten struct {
	Removed     uint64 // records that it has removed; 0: nothing was written
	Kept        uint64 // records that are left in the segment
	BytesBefore int64  // of the file
	BytesAfter  int64  // the same as before where nothing was removed
}

// Rewrite removes records from a closed segment, the one whose first index is
// first: it is written anew without those for which remove returns a reason other
// than 0, which is kept and told to who reads there (*RemovedError). All others keep
// their index, time and bytes, and no index is ever given again. Where nothing is to
// be removed nothing is written.
//
// remove is called once for each record that is left, in order, by the goroutine
// that called Rewrite. It must not keep the record, and must not call Rewrite or Close, which wait for it.
//
// When Rewrite returns nil, the content of what it has removed is in no file that
// the log reads, whatever happens to the power. What a repair or the recovery has
// put aside (NAME.damaged-OFFSET, NAME.torn-OFFSET), copies, and the free blocks of
// the disk are not its business. Blocks that a Reader has returned stay as they are;
// the next one is of the new file.
//
// It takes as much room beside the log as is left of the segment, and memory for
// each run of removed records. Appends and readers go on meanwhile, a Trim waits
// for some syncs at most. One segment of a log is rewritten at a time, others wait
// for it. After an error the log is as it was, but for a directory that could not be
// synced at the end, of which the error says what that means; a second call is the way on
// in either case. Errors: ErrReadOnly; ErrClosed, also when Close comes meanwhile;
// ctx's, which is asked between blocks; ErrNoSegment, also when Trim has been faster; a *CorruptError
// when the segment is damaged: repair the log first; one that wraps ENOSPC when there is no room.
func (l *Log) Rewrite(ctx context.Context, first uint64, remove func(index uint64, at time.Time, record []byte) (reason uint8)) (Rewritten, error) {
	if l.o.ReadOnly {
		return Rewritten{}, fmt.Errorf("rewrite %s: %w", logPath(l.dir, l.name), ErrReadOnly)
	}
	select {
	case l.rewriting <- struct{}{}:
	case <-ctx.Done():
		return Rewritten{}, ctx.Err()
	case <-l.waits.quit:
		return Rewritten{}, ErrClosed
	}
	defer func() { <-l.rewriting }()
	if l.closed.Load() {
		return Rewritten{}, ErrClosed
	}
	p := l.closedPart(first)
	if p == nil {
		return Rewritten{}, fmt.Errorf("rewrite the segment of %s with the first record %d: %w", logPath(l.dir, l.name), first, ErrNoSegment)
	}
	seg, _, err := l.hold(p)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoSegment
	}
	if err != nil {
		return Rewritten{}, fmt.Errorf("rewrite %s: %w", p.path, err)
	}
	// While it is held nobody opens the file anew, and finds another one.
	defer l.files.let(p)
	w := &rewrite{log: l, ctx: ctx, part: p, old: seg, now: max(l.o.Now().UnixNano(), 1)}
	return w.run(remove)
}

// closedPart is the closed part with a first index; nil: there is none.
func (l *Log) closedPart(first uint64) *part {
	all := l.all()
	for _, p := range all[:len(all)-1] {
		if p.first == first {
			return p
		}
	}
	return nil
}

// rewrite is one at work: it decides, writes the new file, reads that back, and
// lets it take the place of the old one.
type rewrite struct {
	log  *Log
	ctx  context.Context
	part *part
	old  *segment
	now  int64

	plan   []removal // what is to be removed; their times and when are not set
	taken  uint64    // records of plan
	kept   uint64
	before bool  // something was removed earlier
	bytes  int64 // the new file has at most so many

	firstTime int64 // of the first block of the new file
	named     bool  // the new file has the name
}

func (w *rewrite) run(remove func(uint64, time.Time, []byte) uint8) (Rewritten, error) {
	did := Rewritten{BytesBefore: w.part.end, BytesAfter: w.part.end}
	if err := w.decide(remove); err != nil {
		return Rewritten{}, w.failed(err)
	}
	if did.Kept = w.kept; w.taken == 0 {
		return did, w.settle()
	}
	if err := w.fits(); err != nil {
		return Rewritten{}, w.failed(err)
	}
	size, err := w.replace()
	if err != nil && !w.named {
		return Rewritten{}, w.failed(err)
	}
	did.Removed, did.Kept, did.BytesAfter = w.taken, w.kept, size
	if err != nil {
		err = fmt.Errorf("rewrite %s: %w; the new file is there, but a power cut may bring the old one back: rewrite it again", w.part.path, err)
	}
	return did, err
}

func (w *rewrite) failed(err error) error {
	if err == ErrClosed || errors.Is(err, ErrNoSegment) || err == w.ctx.Err() {
		return err
	}
	return fmt.Errorf("rewrite %s: %w; the log is as it was", w.part.path, err)
}

// settle is for a segment in which nothing is left to be removed: the file that was
// named by an earlier rewrite may have its name in memory only, of a process that
// was killed, and the answer is that what was removed stays so.
func (w *rewrite) settle() error {
	if !w.before {
		return nil
	}
	if err := w.log.o.FS.SyncDir(w.log.dir); err != nil {
		return w.failed(err)
	}
	return nil
}

// stopped is why not to go on.
func (w *rewrite) stopped() error {
	if w.log.closed.Load() {
		return ErrClosed
	}
	return w.ctx.Err()
}

// walk shows all blocks of a closed segment, in order, and refuses one in which
// anything is damaged.
func (s *segment) walk(p *part, size int64, x *index, show func(h *block, i *inspection) error) error {
	c := &scan{segment: s, size: size, index: x, inspect: &inspection{}, visit: show}
	if err := c.run(entry{first: s.first, offset: s.data(), start: true}); err != nil {
		return err
	}
	if c.endsAt(p); len(c.met) > 0 {
		return &c.met[0].CorruptError
	}
	return nil
}

// decide asks which records are to be removed, before anything is written.
func (w *rewrite) decide(remove func(uint64, time.Time, []byte) uint8) error {
	each := int64(blockHeader + w.old.bodySize(0) + alignment) // of any block, beside its records
	w.bytes = w.old.data()
	return w.old.walk(w.part, w.part.end, &index{seg: w.old}, func(h *block, i *inspection) error {
		if err := w.stopped(); err != nil {
			return err
		}
		w.before = w.before || h.isRemoved()
		w.bytes += each
		if h.hollow() {
			w.bytes += int64(len(said(i.saved)))
		}
		for n, record := range i.held {
			index := h.first + uint64(n)
			if reason := remove(index, unixTime(h.time), record); reason != 0 {
				w.take(index, reason, 2*each)
				continue
			}
			w.kept++
			w.bytes += int64(recordSize(len(record)))
		}
		if h.isRecords() { // into smaller blocks than they are in
			w.bytes += each * 2 * int64(h.plain) / int64(w.log.o.BlockSize)
		}
		return nil
	})
}

// take notes that a record is to be removed. A new run costs its block, and that
// of records which it parts.
func (w *rewrite) take(index uint64, reason uint8, cost int64) {
	w.taken++
	one := removal{first: index, count: 1, reason: reason}
	if n := len(w.plan); n > 0 && w.plan[n-1].joins(one) {
		return
	}
	w.plan = append(w.plan, one)
	w.bytes += cost
}

// fits asks for room before anything is written.
func (w *rewrite) fits() error {
	disk, ok := w.log.o.FS.(Roomy)
	if !ok {
		return nil
	}
	if free, err := disk.Free(w.log.dir); err == nil && free < w.bytes { // where it is not known the write will tell
		return fmt.Errorf("it takes up to %d bytes beside the segment, %d are free in %s: make room: %w", w.bytes, free, w.log.dir, syscall.ENOSPC)
	}
	return nil
}
