package immuta

import (
	"context"
	"fmt"
	"math"
)

// Roll closes the segment that is appended to, when it holds a record, and begins
// a new one: what was appended so far can then be deleted by Trim. It returns when
// the new segment is durable. ctx bounds only the waiting. A log that is asked
// for nothing but appends rolls by Options.SegmentBytes alone.
//
// It waits for the appends in front of it, and those behind wait for it. Where the
// new file cannot be made, as on a full disk, the log goes on in the old one; when
// it fails behind that, the log takes no more appends until it is opened again,
// which finishes or undoes it. Other errors: ErrReadOnly, ErrClosed, what Err returns.
func (l *Log) Roll(ctx context.Context) error {
	switch {
	case l.o.ReadOnly:
		return fmt.Errorf("roll %s: %w", logPath(l.dir, l.name), ErrReadOnly)
	case l.closed.Load():
		return ErrClosed
	case l.Err() != nil:
		return l.Err()
	}
	answer, err := l.writer.queue.roll()
	if err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetSegmentBytes changes Options.SegmentBytes; less than 1: there is no roll by
// size any more. It holds from the next commit on.
func (l *Log) SetSegmentBytes(n int64) { l.rollAt.Store(n) }

// turn rolls when the segment is long enough, or somebody has asked for it.
func (w *writer) turn(asked []chan error) {
	limit := w.log.rollAt.Load()
	full := limit > 0 && w.end >= limit && w.end >= w.notYet && w.next > w.seg.first
	if !full && len(asked) == 0 {
		return
	}
	err := w.roll()
	if err != nil { // not at every commit, when there is a reason that stays
		w.notYet = w.end + max(limit/16, 1<<16)
	}
	for _, answer := range asked {
		answer <- err
	}
}

// roll closes the segment; rolled.go tells what it does in which order, and what
// is made of it when it is cut off.
func (w *writer) roll() error {
	if err := w.fit(); err != nil {
		return err
	}
	if err := w.settle(); err != nil || w.next == w.seg.first {
		return err
	}
	if err := w.trimSpace(); err != nil {
		return err
	}
	o := &w.log.o
	next, err := createNext(w.seg, w.log.dir, w.log.name, w.next, w.time, o)
	if err != nil {
		err = fmt.Errorf("begin a new segment of %s: %w", w.seg.path, err)
		o.Report(Notice{Kind: RollFailed, Path: w.seg.path, Offset: w.end, Err: err, Text: err.Error()})
		return err
	}
	if err := w.rename(next); err != nil {
		next.file.Close()
		return w.fail(fmt.Errorf("roll %s: %w", w.seg.path, err))
	}
	closed := w.part
	w.change(next)
	o.Report(Notice{Kind: Rolled, Path: closed.path, Bytes: closed.end, Text: fmt.Sprintf("%s is closed, with the records %d to %d", closed.path, closed.first, closed.next-1)})
	return nil
}

// trimSpace makes the file end where its last block does, and durably so: behind
// a closed segment no more is to be found that nobody was answered for.
func (w *writer) trimSpace() error {
	if w.space.end <= w.end {
		return nil
	}
	if err := w.seg.cutAt(w.end); err != nil {
		return w.fail(fmt.Errorf("cut the space behind the end of %s: %w", w.seg.path, err))
	}
	w.space.since, w.space.end = w.end, w.end
	return nil
}

// rename gives both files their names. The directory is synced in between: were
// the second name durable and the first not, the closed segment would be gone.
func (w *writer) rename(next *segment) error {
	l := w.log
	if err := l.o.FS.Rename(next.path, w.part.path); err != nil {
		return err
	}
	if err := l.o.FS.SyncDir(l.dir); err != nil {
		return err
	}
	if err := l.o.FS.Rename(next.path+".tmp", next.path); err != nil {
		return err
	}
	return l.o.FS.SyncDir(l.dir)
}

// change makes the new segment the one that is appended to and seen as the last.
// Whoever sees the new state finds the old segment closed in the list.
func (w *writer) change(next *segment) {
	l, old := w.log, w.part
	old.next, old.end, old.until = w.next, w.end, w.time
	l.files.closing(old, w.closeIndex())
	w.seg, w.part = next, newPart(l.dir, l.name, next.header)
	w.end, w.synced, w.last = next.data(), next.data(), entry{}
	w.enc.seg, w.enc.part = next, w.part
	w.space = space{most: w.space.most, since: w.end, end: w.end}
	w.notYet = 0
	w.due.Reset(math.MaxInt64)
	l.seg, l.index = next, l.beginIndex(next)
	l.files.put(w.part, next, l.index)
	l.durable.Store(w.end)

	l.listing.Lock() // over both: a trim does not drop the part that is still seen as the last
	parts := append(append([]*part(nil), l.all()...), w.part)
	l.parts.Store(&parts)
	before := l.state.Load()
	l.state.Store(&state{part: w.part, next: w.next, end: w.end, time: w.time, recent: before.recent})
	l.listing.Unlock()
	l.files.let(old)
}

// closeIndex writes what is left of the index of the closed segment, with its
// last commit, gives the file its new name, and returns the index as it is to be
// used from now on. All of it may fail: an index can be made anew.
func (w *writer) closeIndex() *index {
	l, x := w.log, w.log.index
	if w.last.offset > x.lastNote {
		x.add(w.last)
	}
	_ = x.flush(1)
	closed := *w.seg
	closed.path = w.part.path
	y := newIndex(&closed, w.part.indexPath)
	x.mu.Lock()
	y.view, y.old = x.view, x.old
	x.mu.Unlock()
	if y.view.file != nil && l.o.FS.Rename(x.path, y.path) != nil {
		_ = l.o.FS.Remove(x.path)
	}
	return y
}

// beginIndex makes the index of a new segment. Nothing of it is synced: a file
// that a crash has left half is not taken for an index.
func (l *Log) beginIndex(s *segment) *index {
	x := newIndex(s, l.indexPath())
	if err := x.begin(l.o.FS); err != nil {
		l.o.Report(Notice{Kind: IndexStopped, Path: x.path, Err: err, Text: fmt.Sprintf("the index is not written any more: %v", err)})
	}
	return x
}

// closing notes that nothing is written to a part any more.
func (h *handles) closing(p *part, x *index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.seg, p.index = x.seg, x
}
