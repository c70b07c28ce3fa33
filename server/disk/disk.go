package disk

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Options say what is opened and how. Only Namespaces has no zero value that
// works, unless ReadOnly.
type Options struct {
	Namespaces []string             // declared; their files are created when absent. ReadOnly with none: all that are found
	Durability Durability           // always when zero
	BlockSize  int                  // bytes of records that are checksummed or sealed as one; 4096 when 0
	MaxEvent   int                  // bytes of payload; bus.DefaultMaxEvent when 0
	Retention  map[string]Retention // how much is kept, by namespace; of one that is not named: everything
	MinFree    int64                // bytes of the disk that stay free: below it appends are refused; 0: they may take all
	Sealing    immuta.Sealing       // nil: plain. The keys of a crypto keyring fit
	ReadOnly   bool                 // writes nothing and takes no lock: may stand beside a running server
	Logger     *slog.Logger         // torn tails that were cut, indexes made anew; nil: nowhere
	FS         immuta.FS            // nil: the operating system's; another one brings its own directory
	Now        func() time.Time     // nil: time.Now
	Rand       io.Reader            // nil: crypto/rand.Reader

	// GroupEvents is how many events the index of subjects takes for one: a rare
	// event costs a reader to read that many. 4096 when 0; with fewer the index is
	// larger, in memory and on disk.
	GroupEvents int

	// LastSubjects is of how many subjects a namespace the last index is kept, once
	// it was asked for. DefaultLastSubjects when 0.
	LastSubjects int

	// MaxDelayed is how many events of a namespace may wait for their delivery.
	// DefaultMaxDelayed when 0; negative: none.
	MaxDelayed int

	saveAt  saveLimits            // of what is derived; defaultSaveLimits when zero
	cutAt   groupLimits           // of the index of subjects; defaultGroupLimits when zero
	closeAt int64                 // bytes at which a segment is closed to be compacted; compactAt when 0
	free    func() (int64, error) // free bytes of the disk; nil: asks the operating system

	rolled       func() // a log has closed a segment
	segmentBytes int64  // of namespaces without a policy; 0: one file for ever
}

// MaxEventLimit is the greatest limit that Options.MaxEvent may set: an event is
// one record of the log and is held in memory whole.
const MaxEventLimit = 30 << 20

// Engine is a server.Engine that keeps each namespace in a log of its own. All
// methods may be called from many goroutines.
type Engine struct {
	durability Durability
	names      atomic.Pointer[[]string]              // sorted; each is not changed
	logs       atomic.Pointer[map[string]*namespace] // each a map that is not changed
	keeping    turnstile                             // one opens a log after Open at a time, and none while Close is at it
	dir        string
	options    Options
	closed     bool      // guarded by keeping
	lock       io.Closer // nil when reading only
	room       *headroom
	keeper     *keeper
	root       io.Closer // the directory, nil when Options brought a file system

	closing  sync.Once
	closeErr error
}

// Open opens the namespaces of a directory, which it creates when it is absent.
// It takes time in proportion to what was not checkpointed, not to what is
// there. The caller must Close the engine. Errors name the path; a directory
// that another process has open for writing is immuta.ErrLocked and names it.
func Open(dir string, o Options) (*Engine, error) {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	names, found, err := prepare(dir, o)
	if err != nil {
		return nil, err
	}
	e := &Engine{durability: o.Durability, dir: dir, keeping: make(turnstile, 1)}
	e.names.Store(&names)
	e.logs.Store(&map[string]*namespace{})
	if o.FS == nil {
		root, err := immuta.OpenRoot(dir)
		if err != nil {
			return nil, withUID(err)
		}
		e.root, o.FS = root, root
	}
	e.room, e.keeper = newHeadroom(dir, o), newKeeper(e, o)
	o.rolled = e.keeper.kick
	if !o.ReadOnly {
		if e.lock, err = immuta.LockDir(o.FS, dir); err != nil {
			return nil, errors.Join(withUID(err), e.Close())
		}
	}
	for _, name := range existingFirst(names, found) {
		if err := e.add(name, o); err != nil {
			return nil, errors.Join(err, e.Close())
		}
		if !o.ReadOnly && !slices.Contains(found, name) {
			o.Logger.Info("a new log was made", "namespace", name, "path", filepath.Join(dir, name+logExt))
		}
	}
	e.options = o
	if err := e.reopenOwn(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if err := e.checkTwins(); err != nil && !o.ReadOnly { // a reader may look at a copy
		return nil, errors.Join(err, e.Close())
	}
	if len(o.Retention) > 0 && !o.ReadOnly {
		e.keeper.start()
	}
	return e, nil
}

// checkTwins refuses a log that is there under two names: their events would
// have the same ids, and a place in one would be taken for a place in the other.
func (e *Engine) checkTwins() error {
	seen := make(map[uint64]string)
	for _, name := range e.Namespaces() {
		incarnation := e.log(name).incarnation
		if other, ok := seen[incarnation]; ok {
			return twins(other, name)
		}
		seen[incarnation] = name
	}
	return nil
}

func twins(one, other string) error {
	return fmt.Errorf("namespaces %s and %s are the same log under two names: move the copy away, and use bus copy to copy events", min(one, other), max(one, other))
}

// checkTwin refuses one that is listed under another name.
func (e *Engine) checkTwin(n *namespace) error {
	for _, other := range e.Namespaces() {
		if other != n.name && e.log(other).incarnation == n.incarnation {
			return twins(other, n.name)
		}
	}
	return nil
}

// existingFirst puts the logs that are there before those to be created: with a
// wrong key nothing may be made, or it would be sealed with that key for ever.
func existingFirst(names, found []string) []string {
	order := slices.Clone(names)
	slices.SortStableFunc(order, func(a, b string) int {
		return cmp.Compare(absence(a, found), absence(b, found))
	})
	return order
}

func absence(name string, found []string) int {
	if slices.Contains(found, name) {
		return 0
	}
	return 1
}

// prepare checks the names against each other and against what is there, which
// it returns as well, and makes the directories.
func prepare(dir string, o Options) (names, found []string, err error) {
	if o.MaxEvent < 0 || o.MaxEvent > MaxEventLimit {
		return nil, nil, fmt.Errorf("largest event %d bytes: wanted 1 to %d", o.MaxEvent, MaxEventLimit)
	}
	if o.MinFree < 0 {
		return nil, nil, fmt.Errorf("%d bytes of the disk to be kept free: wanted 0 or more", o.MinFree)
	}
	if err := checkRetention(o); err != nil {
		return nil, nil, err
	}
	if o.FS != nil {
		names, err = checkNames(o.Namespaces, nil)
		return names, nil, err
	}
	found, err = Discover(dir)
	if err != nil && (o.ReadOnly || !errors.Is(err, fs.ErrNotExist)) {
		return nil, nil, err
	}
	names = o.Namespaces
	if o.ReadOnly && len(names) == 0 {
		if names = found; len(names) == 0 {
			return nil, nil, fmt.Errorf("%s holds no logs: is it the data directory?", dir)
		}
	}
	if names, err = checkNames(names, found); err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if err := checkLogFile(filepath.Join(dir, name+logExt)); err != nil {
			return nil, nil, err
		}
		if !o.ReadOnly && !slices.Contains(found, name) {
			if err := checkNotLost(dir, name); err != nil {
				return nil, nil, err
			}
		}
		if o.ReadOnly && !slices.Contains(found, name) {
			return nil, nil, fmt.Errorf("%s holds no log of namespace %q, only of %s: %w", dir, name, strings.Join(found, ", "), fs.ErrNotExist)
		}
	}
	if o.ReadOnly {
		return names, found, nil
	}
	return names, found, makeDirs(dir)
}

// namespace is one log, the index of the ids that it did not give, and the one of
// its subjects.
type namespace struct {
	name        string
	log         *immuta.Log
	incarnation uint64
	maxEvent    int
	now         func() time.Time
	ids         *strangers
	subjects    *subjects // nil when reading only: then nothing is skipped
	lasts       *lasts
	taken       endMark
	room        *headroom
	policy      atomic.Pointer[Retention] // never nil
	quota       quota
	wakeAt      atomic.Uint64 // the append that reaches this index has the keeper look
	kick        func()        // has it look
	deleted     struct{ segments, events, bytes atomic.Uint64 }
	releasing   turnstile // one delivers what has come due at a time
	random      io.Reader
	lost        atomic.Uint64 // events that waited and cannot be delivered any more
	logger      *slog.Logger
	removed     [mostReason + 1]atomic.Uint64 // events, by reason
	removing    turnstile                     // one removes at a time, and looks at what is newest
	compaction  compaction
	timed       atomic.Bool // there are events whose time will be over
}

func openNamespace(dir, name string, o Options) (*namespace, error) {
	logger := o.Logger
	lo := o.log()
	policy := o.Retention[name]
	lo.SegmentBytes = cmp.Or(policy.segmentBytes(), o.segmentBytes)
	lo.Report = func(notice immuta.Notice) {
		logNotice(logger, name, notice)
		if notice.Kind == immuta.Rolled {
			o.rolled()
		}
	}
	lasts := newLasts(name, cmp.Or(o.LastSubjects, DefaultLastSubjects))
	lo.Ledger = lasts
	l, err := immuta.Open(dir, name, lo)
	if err != nil {
		return nil, withUID(fmt.Errorf("open namespace %s: %w", name, err))
	}
	if first, next := l.Bounds(); first > bus.MaxIndex || next > bus.MaxIndex+1 {
		return nil, errors.Join(fmt.Errorf("open namespace %s: its log goes from index %d to %d, ids reach up to %d: it is not one of this program, move it away", name, first, next-1, uint64(bus.MaxIndex)), l.Close())
	}
	var keys [2]hashKey
	for i := range keys {
		if _, err := io.ReadFull(cmp.Or[io.Reader](o.Rand, rand.Reader), keys[i][:]); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	n := &namespace{name: name, log: l, incarnation: l.ID() & (1<<bus.IncarnationBits - 1), maxEvent: o.maxEvent(), now: o.Now, lasts: lasts,
		releasing: make(turnstile, 1), random: cmp.Or[io.Reader](o.Rand, rand.Reader), logger: logger}
	if n.now == nil {
		n.now = time.Now
	}
	n.policy.Store(&policy)
	n.kick = o.rolled
	n.expect(policy)
	if ahead := l.Stat().LastTime.Sub(n.now()); ahead > time.Minute {
		logger.Warn("the newest event is from the future: the clock has gone back, or was ahead; ages in start= are by the times of the log", "namespace", name, "ahead", ahead.Round(time.Second).String())
	}
	n.removing = make(turnstile, 1)
	n.compaction = compaction{logger: logger, closeAt: cmp.Or(o.closeAt, compactAt), unsynced: o.Durability.mode == immuta.SyncOS}
	lasts.follow(n)
	o.derive(n, dir, keys)
	return n, nil
}

func (o *Options) maxDelayed() int { return max(cmp.Or(o.MaxDelayed, DefaultMaxDelayed), 0) }

func (o *Options) maxEvent() int { return cmp.Or(o.MaxEvent, bus.DefaultMaxEvent) }

func (o *Options) log() immuta.Options {
	return immuta.Options{
		FS: o.FS, Now: o.Now, Rand: o.Rand, Sync: o.Durability.mode, SyncEvery: o.Durability.every,
		BlockSize: o.BlockSize, MaxRecord: o.maxEvent() + maxRecord, LastIndex: bus.MaxIndex, Sealing: o.Sealing, ReadOnly: o.ReadOnly,
	}
}

// logNotice logs what the log has met, as an error only when a person has to do
// something.
func logNotice(logger *slog.Logger, name string, notice immuta.Notice) {
	level := slog.LevelWarn
	switch notice.Kind {
	case immuta.Corrupt, immuta.Failed:
		level = slog.LevelError
	case immuta.IndexRebuilt, immuta.Unclosed:
		level = slog.LevelInfo
	case immuta.Rolled:
		level = slog.LevelDebug
	}
	attrs := []any{"namespace", name, "path", notice.Path, "offset", notice.Offset, "bytes", notice.Bytes}
	if notice.Saved != "" {
		attrs = append(attrs, "saved_to", notice.Saved)
	}
	if notice.Err != nil {
		attrs = append(attrs, "error", notice.Err)
	}
	logger.Log(context.Background(), level, notice.Text, attrs...)
}

// Namespaces returns the names that are open, sorted. The caller must not
// change the slice.
func (e *Engine) Namespaces() []string { return *e.names.Load() }

// Durability names what a returned Append means, as ParseDurability reads it.
func (e *Engine) Durability() string { return e.durability.String() }

// namespace returns the one that is meant, or bus.ErrUnknownNamespace with the
// ones there are.
func (e *Engine) namespace(name string) (*namespace, error) {
	if n := e.log(name); n != nil {
		return n, nil
	}
	err := bus.ErrUnknownNamespace.With("namespace %.80q is not declared; declared are %s", name, strings.Join(e.Namespaces(), ", "))
	err.Namespaces = e.Namespaces()
	return nil, err
}

// Incarnation is the identity of the log, as the ids of its events carry it.
func (e *Engine) Incarnation(namespace string) uint64 {
	if n := e.log(namespace); n != nil {
		return n.incarnation
	}
	return 0
}

// Close waits for the appends that were taken, makes everything durable, ends
// every Wait and gives the directory back. A second call waits for the first
// and returns the same.
func (e *Engine) Close() error {
	e.closing.Do(func() { e.closeErr = e.close() })
	return e.closeErr
}

func (e *Engine) close() error {
	var all []error
	if e.keeper != nil {
		e.keeper.end()
	}
	e.keeping.Lock()
	e.closed = true
	e.keeping.Unlock()
	logs := *e.logs.Load() // without those that failed to open
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		n := logs[name]
		if err := n.close(); err != nil {
			all = append(all, fmt.Errorf("close namespace %s: %w", name, err))
		}
	}
	for _, c := range []io.Closer{e.lock, e.root} {
		if c != nil {
			all = append(all, c.Close())
		}
	}
	return errors.Join(all...)
}
