package immuta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// setAside copies the bytes of an unfinished commit before they are cut off. The
// order matters: the copy is on stable storage before the original goes, and
// the shorter length is before anything is written in its place. Without the
// last, a second crash could mix old sectors with new ones in one frame. saved is
// the path of the copy.
func (s *segment) setAside(t *torn, fsys FS, dir, name string) (saved string, err error) {
	if saved, err = s.saveAside(t, fsys, dir, fmt.Sprintf("%s.torn-%d", name, t.offset)); err != nil {
		return "", fmt.Errorf("keep the unfinished commit: %w", err)
	}
	return saved, nil
}

// cutAt makes the file that long, durably. Zeros behind the end would do no harm,
// but those of another process may be in memory only, after a sync that failed.
func (s *segment) cutAt(size int64) error {
	if err := s.file.Truncate(size); err != nil {
		return err
	}
	return s.file.Sync()
}

// saveAside copies the torn bytes to a name that nothing else has. An equal file
// is what a crash between copy and cut leaves, and is taken as the copy.
func (s *segment) saveAside(t *torn, fsys FS, dir, name string) (string, error) {
	const tries = 1000
	for i := range tries {
		path := filepath.Join(dir, name)
		if i > 0 {
			path += fmt.Sprintf(".%d", i)
		}
		f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		fresh := err == nil
		if errors.Is(err, fs.ErrExist) {
			f, err = fsys.OpenFile(path, os.O_RDWR, 0)
		}
		if err != nil {
			return "", err
		}
		done, err := s.copyInto(f, t, fresh)
		if err = errors.Join(err, f.Close()); err != nil {
			if fresh { // half a copy is none, and each try would leave one more
				_ = fsys.Remove(path)
			}
			return "", err
		}
		if done {
			return path, fsys.SyncDir(dir)
		}
	}
	return "", fmt.Errorf("%d files named %s are there already: move them away", tries, name)
}

// copyInto fills a fresh file with the torn bytes, or says whether an old one
// holds just these. That one is written again too: it may be in memory only, of
// a sync that failed.
func (s *segment) copyInto(f File, t *torn, fresh bool) (bool, error) {
	if !fresh {
		size, err := f.Size()
		if err != nil || size != t.size {
			return false, err
		}
		if same, err := equal(s.file, t.offset, t.size, f); err != nil || !same {
			return false, err
		}
	}
	return true, s.copyOut(f, 0, t.offset, t.size)
}

// copyOut writes size bytes at offset to f, at to, and syncs it.
func (s *segment) copyOut(f File, to, offset, size int64) error {
	if err := s.copyRange(f, to, offset, size); err != nil {
		return err
	}
	return f.Sync()
}

func (s *segment) copyRange(f File, to, offset, size int64) error {
	b := make([]byte, chunk)
	for at := int64(0); at < size; {
		n, err := s.file.ReadAt(b[:min(chunk, size-at)], offset+at)
		if n == 0 && err != nil {
			return err
		}
		if _, err := f.WriteAt(b[:n], to+at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// confirm puts on stable storage what lies between from and the end: by writing
// the same bytes again. Syncing alone is not enough: after a failed sync the
// kernel may keep a page in memory as if it were written, so that the next
// process reads a good commit there, syncs with success, and the disk has never
// seen it. A power cut in the middle is harmless, old and new are the same.
func (s *segment) confirm(from, end int64) error {
	return s.copyOut(s.file, from, from, end-from)
}

// settle syncs a log that is only to be read, after its end was found: another
// process may have written what it has not synced yet, and showing that would
// promise what a power cut takes back. Where a file cannot be synced by who only
// reads it, as on a read-only file system, nobody writes to it or nothing is to
// be had; only a disk that fails is an error.
func (s *segment) settle() error {
	err := s.file.Sync()
	for _, harmless := range []error{syscall.EROFS, syscall.EINVAL, syscall.ENOTSUP, fs.ErrPermission} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("sync %s before it is read: %w", s.path, err)
	}
	return nil
}

// equal says whether size bytes of f at offset are the first of other.
func equal(f io.ReaderAt, offset, size int64, other io.ReaderAt) (bool, error) {
	a, b := make([]byte, chunk), make([]byte, chunk)
	for at := int64(0); at < size; {
		n := int(min(chunk, size-at))
		if _, err := f.ReadAt(a[:n], offset+at); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if _, err := other.ReadAt(b[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if string(a[:n]) != string(b[:n]) {
			return false, nil
		}
		at += int64(n)
	}
	return true, nil
}
