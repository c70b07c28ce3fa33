package immuta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// part is one segment in the list of a log, whether its file is open or not. All
// but the last one are closed: nothing is written to them any more.
type part struct {
	header
	path, indexPath string        // where it is once it is closed
	bad             *CorruptError // its header is damaged: nothing in it can be read
	firstTime       atomic.Int64  // of its first commit; 0: none, or not readable
	replaced        atomic.Bool   // its file was written anew: another part has its place in the list

	// Of a closed one; set before another part stands behind it in the list.
	next  uint64 // first index of the part behind it
	end   int64  // bytes of the file
	until int64  // time of the last commit

	opening sync.Mutex // one goroutine opens it, the others wait

	// Guarded by handles.mu.
	seg   *segment // nil: the file is not open
	index *index
	refs  int // of readers, and of the log when it is the last part
	gone  bool
}

// rolledName is what the files of a closed segment begin with.
func rolledName(name string, first uint64) string { return fmt.Sprintf("%s.%d", name, first) }

func newPart(dir, name string, h header) *part {
	rolled := rolledName(name, h.first)
	return &part{header: h, path: logPath(dir, rolled), indexPath: filepath.Join(dir, rolled+".idx")}
}

// before is the first index of the segment before this one; 0: it was the first.
func (h *header) before() uint64 { return binary.LittleEndian.Uint64(h.previous[:]) }

// floor is a time that no commit of the segment is before: in one that was
// rolled, created is the time of the last commit in front of it.
func (h *header) floor() int64 {
	if h.before() == 0 {
		return 0
	}
	return h.created
}

// all is the list of parts, which is never changed but replaced. Its first part
// has the first record kept.
func (l *Log) all() []*part { return *l.parts.Load() }

// first is the first index kept.
func (l *Log) first() uint64 { return l.all()[0].first }

// moment is the list of parts and what readers may see, of which the last part is
// in the list. Of two looks that are not of one moment the place of a record in the
// one may be in a segment that the other knows nothing of.
func (l *Log) moment() (all []*part, s *state) {
	for {
		all = l.all() // in front of the state: what is dropped is never its last part
		s = l.state.Load()
		if all[len(all)-1].first >= s.part.first {
			return all, s
		}
	}
}

// partOf is the part that holds a record, or will. Below the first index kept
// it is the first one.
func partOf(all []*part, index uint64) *part {
	i := sort.Search(len(all), func(i int) bool { return all[i].first > index })
	return all[max(i-1, 0)]
}

// listed says whether a part has not been dropped.
func (l *Log) listed(p *part) bool { return slices.Contains(l.all(), p) }

// endOf is how far a part may be read at a moment.
func (s *state) endOf(p *part) int64 {
	if p == s.part {
		return s.end
	}
	return p.end
}

// behind is the first index of the part behind one; 0: it was the last.
func (s *state) behind(p *part) uint64 {
	if p == s.part {
		return 0
	}
	return p.next
}

// maxIdle is how many closed segments stay open when nobody reads them: who looks
// for a place again and again need not open them anew.
const maxIdle = 4

// handles are the open files of a log. Readers of a segment share one handle, so
// that there are never more than segments being read, and a few.
type handles struct {
	mu     sync.Mutex // guards what follows, and what parts say it guards
	open   map[*part]struct{}
	idle   []*part // open, used by nobody, the longest so first
	closed bool
}

// hold opens a part's file, unless it is open, and keeps it so until let. The
// error is a *CorruptError when the file is damaged or missing, fs.ErrNotExist
// when it is missing because it was deleted.
func (l *Log) hold(p *part) (*segment, *index, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	if s, x, err := l.files.take(p); s != nil || err != nil {
		return s, x, err
	}
	s, x, err := l.openPart(p)
	if err != nil {
		return nil, nil, l.unheld(p, err)
	}
	return l.files.put(p, s, x)
}

// take counts a user of a part that is open.
func (h *handles) take(p *part) (*segment, *index, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, ErrClosed
	}
	if p.seg == nil {
		return nil, nil, nil
	}
	p.refs++
	h.idle = slices.DeleteFunc(h.idle, func(other *part) bool { return other == p })
	return p.seg, p.index, nil
}

// put takes the files of a part that was just opened, for one user.
func (h *handles) put(p *part, s *segment, x *index) (*segment, *index, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		x.letGo()
		s.file.Close()
		return nil, nil, ErrClosed
	}
	p.seg, p.index, p.refs = s, x, 1
	if h.open == nil {
		h.open = make(map[*part]struct{})
	}
	h.open[p] = struct{}{}
	return s, x, nil
}

// let is for who has held a part.
func (h *handles) let(p *part) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.refs--; p.refs > 0 || h.closed {
		return
	}
	if p.gone {
		h.shut(p)
		return
	}
	h.idle = append(h.idle, p)
	if len(h.idle) > maxIdle {
		h.shut(h.idle[0])
		h.idle = slices.Delete(h.idle, 0, 1)
	}
}

// drop is for a part whose file is to be deleted: who reads it may go on.
func (h *handles) drop(p *part) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.gone = true
	if p.refs == 0 && p.seg != nil {
		h.idle = slices.DeleteFunc(h.idle, func(other *part) bool { return other == p })
		h.shut(p)
	}
}

// shut closes the files of a part; the caller holds mu.
func (h *handles) shut(p *part) {
	p.index.letGo()
	p.seg.file.Close() // it was only read
	delete(h.open, p)
	p.seg, p.index = nil, nil
}

// closeAll closes what is open, but for the part that the log closes itself.
func (h *handles) closeAll(but *part) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for p := range h.open {
		if p != but {
			h.shut(p)
		}
	}
}

// openPart opens a closed segment. Its index is made anew when it is of no use.
func (l *Log) openPart(p *part) (*segment, *index, error) {
	if p.bad != nil {
		return nil, nil, p.bad
	}
	s, err := openClosed(p, l.name, &l.o)
	if err != nil {
		return nil, nil, err
	}
	x, _, why := openIndex(l.o.FS, p.indexPath, s, p.end, true)
	x.forget(p.end)
	if why == "" {
		return s, x, nil
	}
	if err := x.rebuild(p.end); err != nil {
		s.file.Close()
		return nil, nil, err
	}
	if !l.o.ReadOnly && x.replace(l.o.FS) == nil && !l.listed(p) {
		_ = l.o.FS.Remove(p.indexPath) // it was deleted meanwhile
	}
	return s, x, nil
}

// openClosed opens the file of a closed segment for reading.
func openClosed(p *part, name string, o *Options) (*segment, error) {
	f, err := o.FS.OpenFile(p.path, 0, 0)
	if err != nil {
		return nil, err
	}
	s, err := loadSegment(f, p.path, name, o)
	if err != nil {
		return nil, err
	}
	if s.header != p.header {
		f.Close()
		if s.header.anew(p.header) {
			return nil, fmt.Errorf("%s: %w", p.path, errAnew)
		}
		return nil, &CorruptError{Path: p.path, Why: "another file has taken the place of the segment"}
	}
	return s, nil
}

// unheld tells a segment that was deleted or written anew, which is no damage, from
// one that is missing or bad.
func (l *Log) unheld(p *part, err error) error {
	if errors.Is(err, errAnew) {
		err = l.renew(p)
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && l.o.ReadOnly {
		l.lookAgain()
	}
	if !l.listed(p) { // what was found at its path is not its own
		return fs.ErrNotExist
	}
	if missing {
		return &CorruptError{Path: p.path, Why: "it is not the oldest segment that is there", Missing: true}
	}
	return err
}

// lookAgain drops the segments that another process has deleted: those from the
// old end that are there no more. One that is missing among others is not.
func (l *Log) lookAgain() {
	found, err := findFiles(l.o.FS, l.dir, l.name)
	if err != nil {
		return
	}
	l.listing.Lock()
	defer l.listing.Unlock()
	all := l.all()
	for len(all) > 1 && !slices.Contains(found.closed, all[0].first) {
		l.files.drop(all[0])
		all = all[1:]
	}
	l.parts.Store(&all)
}
