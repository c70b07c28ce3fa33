package immuta

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"
)

// recentBytes is how much of the log's end is kept in the clear for readers.
const recentBytes = 4 << 20

// writer is the one goroutine that appends to a log. It commits what is waiting,
// at once: while it syncs, the next commit gathers.
type writer struct {
	log   *Log
	seg   *segment
	part  *part // of seg
	queue queue
	enc   encoder
	spare sync.Pool     // of *request
	done  chan struct{} // closed when the goroutine has ended

	// Of the goroutine alone; after done, of close.
	next    uint64
	end     int64 // where the next frame goes
	time    int64 // of the last commit
	synced  int64 // offset up to which all was synced
	unseen  []cached
	marks   []entry // of blocks that are not synced yet
	last    entry   // where the last synced commit starts
	records [][]byte
	batch   []*request
	cost    int  // of the blocks kept for readers
	whole   bool // unseen has no gap
	due     *time.Timer
	space   space
	notYet  int64 // no roll by size before the segment has this length: one has failed
	uncut   *tail // an unfinished commit behind end, for which the disk was full; nil: there is none
}

func startWriter(l *Log, t tail) *writer {
	last := l.state.Load().part
	w := &writer{
		log: l, seg: l.seg, part: last, next: t.next, end: t.end, time: t.time, synced: t.end, last: t.start,
		enc: encoder{seg: l.seg, part: last, blockSize: l.o.BlockSize}, done: make(chan struct{}), whole: true,
		due: time.NewTimer(math.MaxInt64), space: space{most: int64(l.o.Ahead), since: t.end, end: t.end},
	}
	if t.torn != nil {
		w.uncut = &t
	}
	w.queue.wake = make(chan struct{}, 1)
	go w.run()
	return w
}

// append hands records to the goroutine and waits for its answer.
func (w *writer) append(ctx context.Context, records [][]byte, size int, check Check) (Receipt, error) {
	r, ok := w.spare.Get().(*request)
	if !ok {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.records, r.size, r.check, r.err = records, size, check, nil
	err := w.queue.put(ctx, r)
	var receipt Receipt
	if err == nil {
		<-r.done
		receipt, err = r.receipt, r.err
	}
	r.records, r.check, r.err = nil, nil, nil
	w.spare.Put(r)
	return receipt, err
}

// close waits for what is queued and returns where the last commit starts.
func (w *writer) close() (entry, error) {
	w.queue.close()
	<-w.done
	w.due.Stop()
	if w.log.Err() != nil { // a failed sync is not tried again: it would lie
		return entry{}, w.log.Err()
	}
	err := w.settle()
	w.dropSpace()
	return w.last, err
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case <-w.due.C:
			w.settle()
		default:
		}
		batch, more := w.queue.take(w.batch[:0])
		if len(batch) > 0 {
			w.serve(batch)
		}
		// Behind the answers, which do not wait for it.
		w.turn(w.queue.asked())
		if !more {
			return
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-w.queue.wake:
		case <-w.due.C:
			w.settle()
		}
	}
}

// serve commits a batch and answers it. An answer is the last thing done with a
// request: it belongs to its caller from then on. A refusal by a check is answered
// like the rest, when the commit has come to its end: what the check was told may
// be in front of it in this very commit, and must not have been said in vain.
func (w *writer) serve(batch []*request) {
	first := w.next
	err := w.commit(batch)
	at := unixTime(w.time)
	for _, r := range batch {
		switch {
		case err != nil:
			r.receipt, r.err = Receipt{}, err
		case r.err != nil:
			r.receipt = Receipt{}
		default:
			r.receipt = Receipt{First: first, Time: at}
			first += uint64(len(r.records))
		}
		r.done <- struct{}{}
	}
	clear(batch)
	w.batch = batch[:0]
}

// commit writes what is admitted of a batch as one commit, and syncs and shows it
// as the mode says.
func (w *writer) commit(batch []*request) (err error) {
	if err := w.fit(); err != nil {
		return err
	}
	if ledger := w.log.o.Ledger; ledger != nil {
		ledger.Begin()
		defer func() { ledger.End(err == nil) }()
	}
	records := w.admit(batch)
	if len(records) == 0 {
		return nil // every one was refused by its check
	}
	c, err := w.encode(records)
	if err != nil {
		return err // nothing is written
	}
	if err := w.write(c); err != nil {
		return err
	}
	w.next, w.end, w.time = c.next, c.end(), c.time
	w.marks = append(w.marks, c.marks...)
	w.keep(c)
	if err := w.prepare(c); err != nil {
		return err
	}
	switch w.log.o.Sync {
	case SyncAlways:
		return w.settle()
	case SyncInterval:
		if c.offset == w.synced {
			w.due.Reset(w.log.o.SyncEvery)
		}
		w.log.unseen.Store(w.end - w.synced)
		w.log.given.Store(w.next)
	case SyncOS:
		w.show()
		if w.end-w.synced >= settleBytes {
			return w.settle()
		}
	}
	return nil
}

// fit returns why nothing can be written now.
func (w *writer) fit() error {
	if err := w.log.Err(); err != nil || w.uncut == nil {
		return err
	}
	err := w.log.cut(w.uncut)
	if err == nil {
		w.uncut = nil
	}
	return err
}

func (w *writer) encode(records [][]byte) (*commit, error) {
	c := &commit{first: w.next, next: w.next + uint64(len(records)), offset: w.end}
	if c.next > w.log.o.LastIndex+1 || c.next < c.first {
		clear(records)
		return nil, fmt.Errorf("%d records from index %d on would pass index %d: %w", len(records), c.first, w.log.o.LastIndex, ErrFull)
	}
	c.time = max(w.log.o.Now().UnixNano(), w.time, 1)
	var flags byte
	if w.end == w.synced {
		flags = flagSettled
	}
	err := w.enc.encode(c, records, flags)
	clear(records)
	w.records = records[:0]
	return c, err
}

// write puts the frames at the end. When the disk is full the part that was
// written is cut off again, and the log goes on; after any other error nobody
// knows what is in the file, so it takes nothing more.
func (w *writer) write(c *commit) error {
	_, err := w.seg.file.WriteAt(c.frames, c.offset)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("write %d bytes at offset %d of %s: %w", len(c.frames), c.offset, w.seg.path, err)
	if !isFull(err) {
		return w.fail(err)
	}
	w.doubt() // first: a kill may come between any two of these
	if undo := w.seg.file.Truncate(c.offset); undo != nil {
		return w.fail(errors.Join(err, undo))
	}
	// Synced, so that what is written here next cannot come to stand among
	// sectors of what is cut off now.
	if undo := w.seg.file.Sync(); undo != nil {
		return w.fail(errors.Join(err, undo))
	}
	w.space.since, w.space.end = c.offset, c.offset
	w.reached()
	w.log.o.Report(Notice{Kind: NoSpace, Path: w.seg.path, Offset: c.offset, Bytes: int64(len(c.frames)), Err: err, Text: err.Error()})
	return err
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// fail ends appending until the log is reopened. After a failed sync the kernel
// may have dropped the pages and call the next sync a success, so there is none.
func (w *writer) fail(err error) error {
	err = fmt.Errorf("the log takes no more until it is reopened: %w", err)
	w.log.fail(err)
	w.doubt()
	w.log.o.Report(Notice{Kind: Failed, Path: w.seg.path, Offset: w.end, Err: err, Text: err.Error()})
	return w.log.Err()
}

// doubt has the next process write the end of the log again, if this one should not
// get to it.
func (w *writer) doubt() {
	if err := w.log.index.doubt(); err != nil {
		w.log.indexStopped(err)
	}
}

// settle syncs and shows what is not yet on stable storage.
func (w *writer) settle() error {
	if w.end == w.synced || w.log.Err() != nil {
		return nil
	}
	if err := w.seg.file.Datasync(); err != nil {
		return w.fail(fmt.Errorf("sync %s: %w", w.seg.path, err))
	}
	w.reached()
	return nil
}

// reached notes that all up to end is on stable storage.
func (w *writer) reached() {
	w.synced = w.end
	w.log.durable.Store(w.end)
	w.show()
	for _, e := range w.marks {
		if e.start {
			w.last = e
		}
		w.log.index.note(e)
	}
	w.marks = w.marks[:0]
	if err := w.log.index.flush(indexFlush); err != nil {
		w.log.indexStopped(err)
	}
}

// keep collects the blocks of a commit for readers; one too big breaks the run.
func (w *writer) keep(c *commit) {
	if c.blocks == nil || !w.whole {
		w.unseen, w.whole = nil, false
		return
	}
	w.unseen = append(w.unseen, c.blocks...)
}

// show publishes all commits up to end, with the last blocks of them.
func (w *writer) show() {
	old := w.log.state.Load()
	if old.next == w.next {
		return
	}
	if old.next == w.seg.first {
		w.part.firstTime.CompareAndSwap(0, w.firstTime())
	}
	var recent []cached
	if w.whole {
		recent = w.trim(old.recent)
	} else {
		w.cost = 0
	}
	w.unseen, w.whole = w.unseen[:0], true
	w.log.state.Store(&state{part: w.part, next: w.next, end: w.end, time: w.time, recent: recent})
	w.log.unseen.Store(0)
	w.log.waits.tell()
}

// firstTime is the time of the first commit there is.
func (w *writer) firstTime() int64 {
	if len(w.marks) > 0 {
		return w.marks[0].time
	}
	return w.time
}

// trim appends the unseen blocks and drops the oldest over the limit. Readers
// hold earlier slices of the same array: elements they see are never written, and
// those dropped are let go when append moves to a new array.
func (w *writer) trim(recent []cached) []cached {
	for i := range w.unseen {
		w.cost += w.unseen[i].cost()
	}
	recent = append(recent, w.unseen...)
	drop := 0
	for drop < len(recent) && (w.cost > recentBytes || recent[drop].part.replaced.Load()) {
		w.cost -= recent[drop].cost()
		drop++
	}
	return recent[drop:]
}
