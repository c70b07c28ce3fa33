package immuta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"time"
)

// find asks an index, and makes it anew when it is wrong.
func (l *Log) find(x *index, before func(*entry) bool, end int64) (entry, error) {
	if e, ok := x.find(before, end); ok {
		return e, nil
	}
	l.rebuilding.Lock()
	defer l.rebuilding.Unlock()
	if e, ok := x.find(before, end); ok { // somebody else was faster
		return e, nil
	}
	if err := x.rebuild(end); err != nil {
		return entry{}, fmt.Errorf("rebuild %s: %w", x.path, err)
	}
	l.o.Report(Notice{Kind: IndexRebuilt, Path: x.path, Text: "the index was made anew: an entry did not match the log"})
	if e, ok := x.find(before, end); ok {
		return e, nil
	}
	return entry{first: x.seg.first, offset: x.seg.data(), start: true}, nil
}

// IndexAt returns the first index whose commit time is t or later, and one past
// the last visible when there is none. Where blocks are damaged, so that their
// time is not known, it returns the first of those; of records that were removed at
// once it knows the time of the last one only, and may return the first of them.
func (l *Log) IndexAt(t time.Time) (uint64, error) {
	want := nanoseconds(t)
	for {
		if l.closed.Load() {
			return 0, ErrClosed
		}
		all, s := l.moment()
		if s.time < want {
			return s.next, nil
		}
		index, err := l.indexIn(s, partAt(all, s, want), want)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the segment was deleted: there is another first one now
		}
		return index, err
	}
}

// partAt is the last part that has commits in front of a time, as far as is
// known; the first one kept when none has.
func partAt(all []*part, s *state, want int64) *part {
	found := all[0]
	for _, p := range all[1:] {
		if p.first > s.part.first || p.floor() >= want {
			break
		}
		found = p
	}
	return found
}

// indexIn is IndexAt in one part. When all of it is earlier, what follows is not.
func (l *Log) indexIn(s *state, p *part, want int64) (uint64, error) {
	next := s.next
	if p != s.part {
		next = p.next
	}
	seg, x, err := l.hold(p)
	if _, damaged := errors.AsType[*CorruptError](err); damaged {
		return p.first, nil
	}
	if err != nil {
		return 0, err
	}
	defer l.files.let(p)
	end := s.endOf(p)
	e, err := l.find(x, func(e *entry) bool { return e.time < want }, end)
	if err != nil {
		return 0, err
	}
	w := window{file: seg.file, step: indexEvery}
	for at, due := e.offset, e.first; at < end; {
		h, found, bad, err := seg.step(&w, at, due, end)
		if bad != nil && (errors.Is(err, io.EOF) || err == nil && h.time >= want) {
			return due, nil
		}
		if err != nil {
			return 0, err
		}
		if h.time >= want {
			return h.first, nil
		}
		at, due = found+h.frame(), h.next()
	}
	return next, nil
}

// nanoseconds is t as blocks have it; times out of their range become its ends.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}
