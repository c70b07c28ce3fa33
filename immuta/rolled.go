package immuta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// This file finds the segments of a log, and is the one place that knows what an
// unfinished roll leaves. A roll does, each step durable before the next:
//
//  1. write the header of the new segment to NAME.log.tmp
//  2. rename NAME.log to NAME.FIRST.log
//  3. rename NAME.log.tmp to NAME.log
//
// So where NAME.log is there, a roll that was cut off never happened, and its
// temporary file goes. Where it is not, but closed segments are, the temporary
// file follows the last of them and is given its name. Anything else is no roll:
// NAME.log is missing, which is never answered with a new one.

// files are what a directory has of a log.
type files struct {
	closed    []uint64 // first indexes of closed segments, in order
	open      bool     // NAME.log
	temporary bool     // NAME.log.tmp
	left      []string // of rewrites and repairs that were cut off: NAME.FIRST.log.tmp
}

func findFiles(fsys FS, dir, name string) (files, error) {
	var found files
	names, err := fsys.List(dir)
	if err != nil {
		return found, err
	}
	for _, n := range names {
		rest, ok := strings.CutPrefix(n, name+".")
		if !ok {
			continue
		}
		switch rest {
		case "log":
			found.open = true
		case "log.tmp":
			found.temporary = true
		default:
			if first, ok := rolledFirst(rest); ok {
				found.closed = append(found.closed, first)
			}
			if closed, ok := strings.CutSuffix(rest, ".tmp"); ok {
				if _, ok := rolledFirst(closed); ok {
					found.left = append(found.left, n)
				}
			}
		}
	}
	slices.Sort(found.closed)
	return found, nil
}

// rolledFirst reads FIRST.log, as it is written and in no other way.
func rolledFirst(rest string) (uint64, bool) {
	digits, ok := strings.CutSuffix(rest, ".log")
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, ok && err == nil && first > 0 && first <= maxIndex && digits == strconv.FormatUint(first, 10)
}

func (f *files) same(other files) bool {
	return f.open == other.open && f.temporary == other.temporary && slices.Equal(f.closed, other.closed)
}

// chain is the segments of a log as they were found.
type chain struct {
	closed []*part
	open   *segment
	holes  []*CorruptError // where a segment is missing
}

func (c *chain) close() { c.open.file.Close() }

// openChain opens NAME.log, after finishing or undoing a roll, and reads the
// headers of the closed segments. For who only reads, the files may be renamed
// and deleted on the way: then it looks again, until it has seen one moment.
func openChain(dir, name string, o *Options) (*chain, error) {
	const looks = 100
	for i := 0; ; i++ {
		found, err := findFiles(o.FS, dir, name)
		if err != nil {
			return nil, err
		}
		c, err := openFound(dir, name, found, o)
		if !o.ReadOnly || i == looks {
			return c, err
		}
		after, again := findFiles(o.FS, dir, name)
		if again == nil && found.same(after) && (err == nil || len(found.closed) == 0 || !errors.Is(err, fs.ErrNotExist)) {
			return c, err
		}
		if err == nil {
			c.close()
		}
	}
}

func openFound(dir, name string, found files, o *Options) (_ *chain, err error) {
	c := new(chain)
	if c.closed, err = loadParts(dir, name, found.closed, o); err != nil {
		return nil, err
	}
	if c.open, err = openLast(dir, name, found, c.closed, o); err != nil {
		return nil, err
	}
	if err := c.link(); err != nil {
		c.close()
		return nil, err
	}
	if !o.ReadOnly {
		for _, left := range found.left { // what they were to take the place of is still there
			_ = o.FS.Remove(filepath.Join(dir, left))
		}
	}
	return c, nil
}

// loadParts reads the headers of closed segments. One that is damaged is so many
// records lost; a key that is not there is the caller's mistake.
func loadParts(dir, name string, firsts []uint64, o *Options) ([]*part, error) {
	var all []*part
	for _, first := range firsts {
		p := newPart(dir, name, header{first: first})
		err := p.load(name, o)
		if damage, ok := errors.AsType[*CorruptError](err); ok {
			p.bad = damage
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (p *part) load(name string, o *Options) error {
	f, err := o.FS.OpenFile(p.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	s, err := loadSegment(f, p.path, name, o)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.first != p.first {
		return &CorruptError{Path: p.path, Why: fmt.Sprintf("by its name it starts with record %d, by its header with %d", p.first, s.first)}
	}
	p.header = s.header
	if p.end, err = f.Size(); err != nil {
		return err
	}
	w := window{file: f, step: blockHeader}
	if h, bad, err := s.headAt(&w, s.data(), p.end); bad == nil && err == nil {
		p.firstTime.Store(h.time)
	}
	return nil
}

// openLast opens the segment that is appended to. Of a roll that was cut off it
// is the temporary file.
func openLast(dir, name string, found files, closed []*part, o *Options) (*segment, error) {
	path := logPath(dir, name)
	if found.open || len(closed) == 0 {
		s, err := openSegment(dir, name, o)
		if err == nil && found.temporary && found.open && !o.ReadOnly {
			_ = o.FS.Remove(path + ".tmp") // nothing is lost when it stays
		}
		return s, err
	}
	s, err := openNext(path+".tmp", name, closed[len(closed)-1], o)
	if err != nil {
		return nil, lastMissing(path, closed[len(closed)-1], err)
	}
	if o.ReadOnly {
		return s, nil
	}
	if err := finishRoll(s, dir, path, o); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("finish the roll of %s: %w", path, err)
	}
	return s, nil
}

// lastMissing is for closed segments that no NAME.log follows: a new one would
// give indexes again that were given.
func lastMissing(path string, last *part, err error) error {
	if errors.Is(err, ErrLocked) {
		return err
	}
	why := fmt.Sprintf("closed segments up to %s are there: bring it back, or move all of them away", filepath.Base(last.path))
	if !errors.Is(err, fs.ErrNotExist) {
		why += fmt.Sprintf(" (%v)", err)
	}
	return &CorruptError{Path: path, Why: why, Missing: true}
}

// openNext opens what a roll has left for NAME.log, if that is what it is.
func openNext(temporary, name string, last *part, o *Options) (*segment, error) {
	flag := os.O_RDWR
	if o.ReadOnly {
		flag = os.O_RDONLY
	}
	f, err := o.FS.OpenFile(temporary, flag, 0)
	if err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if err := f.Lock(); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", temporary, err)
		}
	}
	s, err := loadSegment(f, temporary, name, o)
	if err != nil {
		return nil, err
	}
	if s.before() != last.first || last.bad == nil && s.id != last.id {
		f.Close()
		return nil, &CorruptError{Path: temporary, Why: fmt.Sprintf("it follows a segment that starts with record %d, the last one there starts with %d", s.before(), last.first)}
	}
	return s, nil
}

// finishRoll does the last step. The one before it may be in memory only, of a
// process that was killed: were this one durable without it, the closed segment
// would be gone.
func finishRoll(s *segment, dir, path string, o *Options) error {
	if err := o.FS.SyncDir(dir); err != nil {
		return err
	}
	if f, err := o.FS.OpenFile(path, os.O_RDONLY, 0); err == nil {
		f.Close()
		return fmt.Errorf("%s was created by someone else just now: %w", path, ErrLocked)
	}
	if err := o.FS.Rename(s.path, path); err != nil {
		return err
	}
	s.path = path
	return o.FS.SyncDir(dir)
}

// link says of each closed segment where it should end, and finds those that are
// missing between two: every header says what is in front of it. Those missing
// from the old end were deleted.
func (c *chain) link() error {
	for i, p := range c.closed {
		if p.bad == nil && p.id != c.open.id {
			return &CorruptError{Path: p.path, Why: fmt.Sprintf("it is of the log %016x, and %s of the log %016x: move it away", p.id, filepath.Base(c.open.path), c.open.id)}
		}
		next, path := &c.open.header, c.open.path
		if i+1 < len(c.closed) {
			next, path = &c.closed[i+1].header, c.closed[i+1].path
		}
		if next.first <= p.first {
			return &CorruptError{Path: path, Why: fmt.Sprintf("it starts with record %d, though closed segments go up to one that starts with %d", next.first, p.first)}
		}
		p.next, p.until = next.first, next.floor()
		if before := next.before(); before != p.first && (i+1 == len(c.closed) || c.closed[i+1].bad == nil) {
			c.holes = append(c.holes, &CorruptError{
				Path: path, Why: fmt.Sprintf("it follows a segment that starts with record %d, and the one before it that is there starts with %d", before, p.first),
			})
		}
		if p.bad != nil {
			p.bad.From, p.bad.Next = p.first, p.next
		}
	}
	return nil
}

// report says at open what is wrong with closed segments, as far as headers tell.
func (c *chain) report(tell func(Notice)) {
	damage := slices.Clone(c.holes)
	for _, p := range c.closed {
		if p.bad != nil {
			damage = append(damage, p.bad)
		}
	}
	for _, e := range damage {
		tell(Notice{Kind: Corrupt, Path: e.Path, Offset: e.Offset, Err: e, Text: e.Error()})
	}
}

// endsAt holds the end of a closed segment against the start of the next one.
// All of it was synced before it was closed, so that there is nothing torn: what
// is not there is lost, and how many records that are is known.
func (c *scan) endsAt(p *part) {
	if n := len(c.met); n > 0 && c.met[n-1].Next == 0 {
		w := &c.met[n-1]
		w.Next, w.lost, w.atMost, w.time, w.last = p.next, p.next-min(w.From, p.next), false, p.until, true
	} else if c.expect != p.next {
		w := wound{latest: c.latest, time: p.until, end: c.size, last: true}
		w.CorruptError = CorruptError{
			Path: c.path, Offset: c.at, From: c.expect, Next: p.next,
			Why: fmt.Sprintf("the segment ends with record %d, and the next one starts with %d", c.expect-1, p.next),
		}
		if w.lost = p.next - min(c.expect, p.next); c.torn != nil {
			w.Why += ": " + c.torn.why
		}
		c.met = append(c.met, w)
	}
	c.torn, c.tail.next = nil, max(c.expect, p.next)
}

// createNext makes the file of the segment that is to follow s, under its
// temporary name, durable and locked.
func createNext(s *segment, dir, name string, first uint64, created int64, o *Options) (_ *segment, err error) {
	temporary := logPath(dir, name) + ".tmp"
	f, err := o.FS.OpenFile(temporary, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = o.FS.Remove(temporary)
		}
	}()
	if err := f.Lock(); err != nil {
		return nil, fmt.Errorf("%s: %w", temporary, err)
	}
	next := &segment{path: logPath(dir, name), file: f}
	next.id, next.first, next.created = s.id, first, created
	next.follow(s)
	b, err := next.draw(name, o)
	if err != nil {
		return nil, err
	}
	if err := replace(f, b); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return next, o.FS.SyncDir(dir)
}
