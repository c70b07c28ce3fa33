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
	// freeSpaces is how many times as much has to be free on the disk: on a nearly
	// full one space for one log would be a refusal for another.
	freeSpaces = 64
	spacePage  = 4096
	spaceWrite = 64 << 10 // bytes of one write
	maxSpace   = 64 << 20
)

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
	if !w.roomFor(size) {
		w.space.since = end
		return nil
	}
	until := (end + size + spacePage - 1) / spacePage * spacePage
	zeros := make([]byte, min(spaceWrite, until-end))
	for at := end; at < until; {
		n, err := w.seg.file.WriteAt(zeros[:min(spaceWrite, until-at)], at)
		if err != nil {
			return w.unprepared(err)
		}
		at += int64(n)
	}
	w.space.end = until
	return nil
}

func (w *writer) roomFor(size int64) bool {
	disk, ok := w.log.o.FS.(Roomy)
	if !ok {
		return true
	}
	free, err := disk.Free(w.log.dir)
	return err != nil || free/freeSpaces >= size // where it is not known the write will tell
}

// unprepared gives back what was written of the space when there is no room for
// it: the commit itself is there. It is tried again when as much was appended
// anew. Only a disk that fails is as bad as it is for a commit.
func (w *writer) unprepared(err error) error {
	err = fmt.Errorf("write zeros ahead of the end of %s: %w", w.seg.path, err)
	if errors.Is(err, syscall.EIO) {
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
