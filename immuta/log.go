package immuta

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Log is an append-only log. All methods are safe for many goroutines.
type Log struct {
	o         Options
	dir, name string
	seg       *segment      // that is appended to: of Open, and then of the committer alone
	index     *index        // of seg, likewise
	lost      *CorruptError // damage at the very end, found at open: readers that get there are told
	cuts      int           // torn tails cut at open

	parts   atomic.Pointer[[]*part] // all segments in order, the one that is appended to last
	listing sync.Mutex              // guards changes of parts: of a roll, of a trim and of a rewrite
	files   handles
	rollAt  atomic.Int64 // Options.SegmentBytes

	rewriting chan struct{} // has room for the one rewrite at a time; taken before trimming
	trimming  sync.Mutex    // guards doomed, and the files of closed segments against deletion; one trim at a time
	doomed    []*part       // no longer in parts, and not yet deleted

	state   atomic.Pointer[state] // what readers may see
	failure atomic.Pointer[error] // why no more appends are taken
	unseen  atomic.Int64          // bytes of commits that were answered and are not visible yet
	given   atomic.Uint64         // one past the last record that was answered; less than that of state: all are visible
	durable atomic.Int64          // offset up to which all of the last part is known to be on stable storage

	writer *writer // nil: nothing can be appended
	waits  waits
	opened *openedBlocks // nil in a plain log

	rebuilding sync.Mutex // one rebuild of the index at a time
	closeOnce  sync.Once
	closed     atomic.Bool
}

// state is what readers may see, all of one moment. It is never changed.
type state struct {
	next   uint64   // one past the last visible record
	part   *part    // the last one
	end    int64    // offset in it where its last block ends
	time   int64    // of the last visible commit
	recent []cached // the last blocks, in the clear, without a gap up to next
}

// Open opens dir/name.log and the closed segments in front of it, of which it
// reads the headers, and creates it when there is none at all (ReadOnly:
// fs.ErrNotExist). dir must exist. A roll that was cut off is finished or undone. It cuts an unfinished last commit, syncs what
// is there before anyone sees it, and reads no more than what follows the last
// checkpoint of dir/name.idx.
//
// A damaged tail is not an error here: the log opens for reading, and Err and
// Append say what is wrong. Damage to closed segments is told by Report as far as
// their headers show it, and to who reads there. A damaged header of name.log, or
// closed segments without one, an unknown format, a missing or wrong key (ErrSealed, ErrPlain, or Sealing's own error) and a second Open
// for writing (ErrLocked) are.
func Open(dir, name string, o Options) (*Log, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	c, err := openChain(dir, name, &o)
	if err != nil {
		return nil, err
	}
	l := &Log{o: o, dir: dir, name: name, seg: c.open, rewriting: make(chan struct{}, 1)}
	l.rollAt.Store(o.SegmentBytes)
	c.report(o.Report)
	last := newPart(dir, name, c.open.header)
	tail, err := l.recover(last)
	if err != nil {
		c.close()
		if l.index != nil {
			l.index.letGo()
		}
		return nil, err
	}
	parts := append(c.closed, last)
	l.parts.Store(&parts)
	l.files.put(last, l.seg, l.index)
	if c.open.sealer != nil {
		l.opened = new(openedBlocks)
	}
	l.waits.start()
	if !o.ReadOnly && l.Err() == nil {
		l.writer = startWriter(l, tail)
	}
	return l, nil
}

// recover finds the end of the log, in its last part, and makes it fit to be
// appended to.
func (l *Log) recover(last *part) (tail, error) {
	size, err := l.seg.file.Size()
	if err != nil {
		return tail{}, err
	}
	indexPath := l.indexPath()
	x, from, why := openIndex(l.o.FS, indexPath, l.seg, size, l.o.ReadOnly)
	l.index = x
	t, err := l.seg.scanTail(x, from, size, l.o.ReadOnly)
	if err != nil {
		return tail{}, err
	}
	if l.o.ReadOnly && l.o.Sync != SyncOS {
		if err := l.seg.settle(); err != nil {
			return tail{}, err
		}
	}
	x.forget(t.end)
	if why != "" && size > l.seg.data() {
		l.o.Report(Notice{Kind: IndexRebuilt, Path: indexPath, Text: "the index was made anew: " + why})
	}
	if t.damage != nil {
		l.lost = t.lost
		l.fail(t.damage)
		l.o.Report(Notice{Kind: Corrupt, Path: l.seg.path, Offset: t.damage.Offset, Err: t.damage, Text: t.damage.Error()})
	}
	if !l.o.ReadOnly {
		// An entry is written only after its commit was synced, and a commit only
		// after the file's name was: when the index ends with the last commit,
		// there is nothing to sync, and opening is quick.
		proven := x.view.n > 0 && t.start.offset == from.offset
		if err := l.secure(&t, proven); err != nil {
			return tail{}, err
		}
	}
	t.time = max(t.time, l.seg.floor())
	l.state.Store(&state{part: last, next: t.next, end: t.end, time: t.time})
	w := window{file: l.seg.file, step: blockHeader}
	if h, bad, err := l.seg.headAt(&w, l.seg.data(), t.end); bad == nil && err == nil {
		last.firstTime.Store(h.time)
	}
	return t, nil
}

// secure syncs what is kept and cuts what is torn. A process killed between its
// write and its sync leaves a good commit that is in memory only, and one killed
// between rename and directory sync a file whose name is: showing the first, or
// answering for an append to the second, would promise what is not yet so.
func (l *Log) secure(t *tail, proven bool) error {
	if t.damage != nil {
		return nil // a damaged log is not written to, nor is its index
	}
	if !proven {
		if err := l.seg.confirm(min(t.proven, t.end), t.end); err != nil {
			return fmt.Errorf("sync %s: %w", l.seg.path, err)
		}
		if err := l.o.FS.SyncDir(l.dir); err != nil {
			return fmt.Errorf("sync directory %s: %w", l.dir, err)
		}
	}
	l.durable.Store(t.end)
	if err := l.cut(t); err != nil {
		return nil // reads go on
	}
	if err := l.index.ready(l.o.FS); err != nil {
		l.indexStopped(err)
	}
	return nil
}

// cut makes the file end where the log does.
func (l *Log) cut(t *tail) error {
	n := Notice{Kind: Unclosed, Path: l.seg.path, Offset: t.end, Bytes: t.space}
	var err error
	switch {
	case t.torn != nil:
		n.Kind, n.Offset, n.Bytes = TornTail, t.torn.offset, t.torn.size
		n.Saved, err = l.seg.cutTorn(t.torn, l.o.FS, l.dir, l.name)
		n.Text = fmt.Sprintf("%s had an unfinished commit at offset %d (%s): cut %d bytes, kept in %s", n.Path, n.Offset, t.torn.why, n.Bytes, n.Saved)
	case t.space > 0:
		if l.o.Sync != SyncAlways {
			n.Kind = TornTail // it makes no space: these were commits
		}
		err = l.seg.cutAt(t.end)
		n.Text = fmt.Sprintf("%s was not closed: it ends with record %d at offset %d, and the %d bytes behind were all zero", n.Path, t.next-1, n.Offset, n.Bytes)
	default:
		return nil
	}
	if err != nil {
		err = fmt.Errorf("cut what is behind the last commit off %s at offset %d: %w", n.Path, n.Offset, err)
		n.Kind, n.Err, n.Text = Failed, err, err.Error()
		l.fail(err)
	} else if n.Kind == TornTail {
		l.cuts++
	}
	l.o.Report(n)
	return err
}

func (l *Log) indexPath() string { return filepath.Join(l.dir, l.name+".idx") }

func (l *Log) indexStopped(err error) {
	l.o.Report(Notice{Kind: IndexStopped, Path: l.index.path, Err: err, Text: fmt.Sprintf("the index is not written any more: %v", err)})
}

// fail ends appending until the log is reopened. The first reason stays.
func (l *Log) fail(err error) { l.failure.CompareAndSwap(nil, &err) }

// Err is nil, or why the log takes no more appends until it is opened again: the
// first failed write or sync, or a damaged tail (*CorruptError). Reads go on.
func (l *Log) Err() error {
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Append adds records as one commit, all or nothing, and returns when it is as
// durable as the sync mode says. Records of several calls may share one sync. The
// records are not kept; they must not change before Append returns.
//
// ctx bounds only the wait for room in the queue: once taken, the outcome is
// waited for, since an append that may or may not have happened helps nobody.
// Errors: ErrTooLarge (a record over MaxRecord, or 64 MiB in all), ErrFull (also
// when only those of several calls are too many), ErrReadOnly, ErrClosed, what Err
// returns, and a full disk (wraps ENOSPC), after which the log goes on as if
// nothing had been asked of it.
func (l *Log) Append(ctx context.Context, records [][]byte) (Receipt, error) {
	return l.AppendIf(ctx, records, nil)
}

// AppendIf is Append on a condition: check is asked at the moment when the records
// would get their indexes, behind everything that was appended before and in front
// of everything after. The error of a refusal is what check returned; nothing of the
// records is stored then, and others that share the sync are not touched. When
// records that stand before these in the same commit cannot be stored, the error is
// theirs, since what check was told has not come true. A nil check asks nothing.
func (l *Log) AppendIf(ctx context.Context, records [][]byte, check Check) (Receipt, error) {
	if l.o.ReadOnly {
		return Receipt{}, fmt.Errorf("append to %s: %w", logPath(l.dir, l.name), ErrReadOnly)
	}
	if l.closed.Load() {
		return Receipt{}, ErrClosed
	}
	if err := l.Err(); err != nil {
		return Receipt{}, err
	}
	size, err := l.measure(records)
	if err != nil {
		return Receipt{}, err
	}
	return l.writer.append(ctx, records, size, check)
}

// measure bounds an append before anything of it is taken.
func (l *Log) measure(records [][]byte) (int, error) {
	if len(records) == 0 {
		return 0, errors.New("an append of no records: want at least one")
	}
	size := 0
	for i, r := range records {
		if len(r) > l.o.MaxRecord {
			return 0, fmt.Errorf("record %d of %d has %d bytes, at most %d are taken: %w", i+1, len(records), len(r), l.o.MaxRecord, ErrTooLarge)
		}
		size += recordSize(len(r))
	}
	if size > maxAppend {
		return 0, fmt.Errorf("%d records have %d bytes, at most %d are taken at once: %w", len(records), size, maxAppend, ErrTooLarge)
	}
	return size, nil
}

// Receipt is the answer to an Append.
type Receipt struct {
	First uint64    // index of records[0]; the others follow without a gap
	Time  time.Time // of the commit; never before that of an earlier one
}

// Bounds returns the first index kept and one past the last that readers see.
// It takes no lock.
func (l *Log) Bounds() (first, next uint64) {
	first = l.first() // before the end: what is kept may have become all there is
	return first, l.state.Load().next
}

// ID is drawn when the log is created, and tells it from another of the same name.
func (l *Log) ID() uint64 { return l.state.Load().part.id }

// Close takes no more appends, waits for those that were taken, syncs what is
// not yet on stable storage, and closes the files. Readers and waiters end with
// ErrClosed. The error is that of the last sync; a second call returns nil, when
// the first is done.
func (l *Log) Close() (err error) {
	l.closeOnce.Do(func() { err = l.close() })
	return err
}

func (l *Log) close() (err error) {
	var last entry
	if l.writer != nil {
		last, err = l.writer.close()
	}
	l.closed.Store(true)
	l.rewriting <- struct{}{} // a rewrite stops, and takes its file away
	defer func() { <-l.rewriting }()
	l.trimming.Lock() // a deletion at hand ends first: the name may be another log's behind this
	defer l.trimming.Unlock()
	l.waits.stop()
	writes := l.writer != nil && l.Err() == nil
	if failed := l.index.close(l.o.FS, last, !writes); failed != nil {
		l.indexStopped(failed)
	}
	all := l.all()
	l.files.closeAll(all[len(all)-1])
	return errors.Join(err, l.seg.file.Close())
}

// Stat is what a log says of itself.
type Stat struct {
	Bytes     int64     // of the files, as far as they hold whole commits that are visible
	Durable   int64     // so many of the bytes are known to be on stable storage
	Segments  int       // files, with the one that is appended to
	First     uint64    // first index kept
	Next      uint64    // one past the last visible
	Given     uint64    // one past the last that was answered; with SyncInterval Next may be less
	Unseen    int64     // bytes of those in between; some of them may be in Bytes already
	FirstTime time.Time // of the first commit kept; zero when there is none
	LastTime  time.Time // of the last visible commit; zero when there was none
	Created   time.Time // of the log; of its oldest segment when others were deleted
	Sealed    bool
	KeyID     [16]byte // of the key that seals the newest segment, when Sealed
	TornCuts  int      // unfinished commits cut when this log was opened
	Err       error    // as Err
}

// Stat returns the log's figures; each is right, though not all of one moment.
func (l *Log) Stat() Stat {
	unseen, given := l.unseen.Load(), l.given.Load() // in front of the state: they become visible meanwhile
	all, s := l.moment()
	stat := Stat{
		Bytes: s.end, Durable: l.durable.Load(), Segments: len(all), First: all[0].first, Next: s.next,
		Given: max(s.next, given), Unseen: unseen,
		Created: unixTime(all[0].created), Sealed: s.part.sealed, KeyID: s.part.keyID,
		TornCuts: l.cuts, Err: l.Err(),
	}
	for _, p := range all {
		if p.first < s.part.first {
			stat.Bytes, stat.Durable = stat.Bytes+p.end, stat.Durable+p.end
		}
	}
	if first := all[0].firstTime.Load(); first != 0 {
		stat.FirstTime = unixTime(first)
	}
	if s.time != 0 {
		stat.LastTime = unixTime(s.time)
	}
	return stat
}
