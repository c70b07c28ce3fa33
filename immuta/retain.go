package immuta

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Segment is what a log says of one of its files.
type Segment struct {
	First uint64    // index of its first record
	Next  uint64    // one past its last one
	Bytes int64     // of the file, as far as it holds whole commits that are visible
	From  time.Time // of its first commit, or of removed records in front of it; zero when there is none, or it cannot be read
	To    time.Time // of its last one; not before it, where damage has taken that
	Open  bool      // it is the one that is appended to
}

// Segments returns the segments in order, of which there is always one. It reads
// nothing.
func (l *Log) Segments() []Segment {
	all, s := l.moment()
	var out []Segment
	for _, p := range all {
		if p.first < s.part.first { // a roll may have listed one more than is seen
			out = append(out, Segment{First: p.first, Next: p.next, Bytes: p.end, From: p.from(), To: unixTime(p.until)})
		}
	}
	last := Segment{First: s.part.first, Next: s.next, Bytes: s.end, From: s.part.from(), Open: true}
	if last.Next > last.First {
		last.To = unixTime(s.time)
	}
	return append(out, last)
}

// from is the time of the part's first commit.
func (p *part) from() (at time.Time) {
	if first := p.firstTime.Load(); first != 0 {
		at = unixTime(first)
	}
	return at
}

// Trimmed is what a Trim has deleted.
type Trimmed struct {
	Segments int
	Records  uint64 // indexes, with those that were lost to damage before
	Bytes    int64
}

// Trim deletes the closed segments that hold no record at or behind an index,
// from the old end on. Bounds has moved before a file goes, and stays so until
// the log is opened again; readers go on at the first record that is left, though
// those in the middle of a file may read it to its end. Indexes are never given
// again, also when nothing is left but the segment that is appended to, which
// stays whatever it holds: Roll comes first.
//
// Each file is gone for good before the next one is touched, so that a power cut
// leaves no hole. What could not be deleted is tried again by the next Trim. The
// appends do not wait for it. Errors: ErrReadOnly, ErrClosed, the disk's.
func (l *Log) Trim(before uint64) (Trimmed, error) {
	var t Trimmed
	if l.o.ReadOnly {
		return t, fmt.Errorf("trim %s: %w", logPath(l.dir, l.name), ErrReadOnly)
	}
	l.trimming.Lock()
	defer l.trimming.Unlock()
	for {
		if l.closed.Load() {
			return t, ErrClosed
		}
		for len(l.doomed) > 0 {
			if l.closed.Load() {
				return t, ErrClosed
			}
			p := l.doomed[0]
			if err := l.remove(p); err != nil {
				return t, fmt.Errorf("delete segment %s: %w", p.path, err)
			}
			l.doomed = l.doomed[1:]
			t.Segments++
			t.Records += p.next - p.first
			t.Bytes += p.end
		}
		p := l.dropOldest(before)
		if p == nil {
			return t, nil
		}
		l.doomed = append(l.doomed, p)
	}
}

// dropOldest takes the first part off the list, if all of it is below an index.
func (l *Log) dropOldest(before uint64) *part {
	l.listing.Lock()
	defer l.listing.Unlock()
	all := l.all()
	if len(all) == 1 || all[0].next > before {
		return nil
	}
	rest := all[1:]
	l.parts.Store(&rest)
	return all[0]
}

// remove deletes a part's files, the index first, which nobody would find alone.
func (l *Log) remove(p *part) error {
	l.files.drop(p)
	for _, path := range []string{p.indexPath, p.path} {
		if err := l.o.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.o.FS.SyncDir(l.dir)
}
