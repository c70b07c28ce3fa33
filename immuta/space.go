package immuta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// The space ahead of a log's end: zeros that are in the file already. A commit
// that goes there changes neither the file's length nor where its blocks are, so
// its sync waits for the data alone and not for the file system's journal
// (BenchmarkSpaceAhead has both). Nobody is told where the data ends: it ends where
// there are only zeros up to the end of the file, since no frame starts with one.

const (
	// worthCommits is how many commits have to fit: each byte is written twice.
	worthCommits = 16
	spacePage    = 4096
)

var zeros [64 << 10]byte

// space is what a writer has of it.
type space struct {
	most  int64 // bytes to write ahead at most; not more than 0: none
	since int64 // offset from where on what was appended counts
	end   int64 // offset up to which the file was written
}

// prepare follows the write of a commit: when that has left the space, there is
// made more. It is never more than was appended so far, so a log that is hardly
// used costs next to nothing.
func (w *writer) prepare(c *commit) error {
	end := c.end()
	if end <= w.space.end {
		return nil
	}
	w.space.end = end
	size := min(w.space.most, end-w.space.since)
	if size < worthCommits*int64(len(c.frames)) {
		return nil
	}
	until := (end + size + spacePage - 1) / spacePage * spacePage
	for at := end; at < until; {
		n, err := w.seg.file.WriteAt(zeros[:min(int64(len(zeros)), until-at)], at)
		if err != nil {
			return w.unprepared(err)
		}
		at += int64(n)
	}
	w.space.end = until
	return nil
}

// unprepared gives back what was written of the space when the disk is full: the
// commit itself is there. It is tried again when as much was appended anew.
func (w *writer) unprepared(err error) error {
	err = fmt.Errorf("write zeros ahead of the end of %s: %w", w.seg.path, err)
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return w.fail(err)
	}
	if undo := w.seg.file.Truncate(w.space.end); undo != nil {
		return w.fail(errors.Join(err, undo))
	}
	w.space.since = w.space.end
	return nil
}

// dropSpace makes the file end where the log does. When that fails the next Open
// does it.
func (w *writer) dropSpace() {
	if w.space.end > w.end {
		_ = w.seg.file.Truncate(w.end)
	}
}

// lastByte is the offset behind the last byte that is not zero, of those between
// from and size; from when there is none.
func lastByte(f io.ReaderAt, from, size int64) (int64, error) {
	b := make([]byte, max(min(chunk, size-from), 0))
	for size > from {
		at := max(from, size-chunk)
		n, err := f.ReadAt(b[:size-at], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for n >= 8 && binary.LittleEndian.Uint64(b[n-8:]) == 0 {
			n -= 8
		}
		for n > 0 && b[n-1] == 0 {
			n--
		}
		if n > 0 {
			return at + int64(n), nil
		}
		size = at
	}
	return from, nil
}
