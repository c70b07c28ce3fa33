package immuta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// FS is the part of a file system that a log needs. It gets whole paths, made
// of the directory and the checked name given to Open, and follows os in its
// errors (fs.ErrNotExist, syscall errors). It is safe for many goroutines.
type FS interface {
	OpenFile(path string, flag int, perm fs.FileMode) (File, error)
	Rename(from, to string) error
	// Remove takes a name away; the file goes when nobody has it open any more.
	Remove(path string) error
	// List returns what is in a directory, without their directory, in any order.
	List(dir string) ([]string, error)
	// SyncDir makes the names in a directory durable. A new, renamed or removed
	// file may vanish, or come back, in a power cut until it has returned.
	SyncDir(dir string) error
}

// File is an open file. ReadAt may be called by many goroutines, also beside
// WriteAt; the other methods by one at a time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error     // contents and all metadata (fsync)
	Datasync() error // contents and what is needed to read them back (fdatasync)
	// Lock takes the file for this handle alone until it is closed, or fails at
	// once with ErrLocked.
	Lock() error
}

// Roomy is an FS that knows how many bytes may still be written in a directory.
type Roomy interface {
	Free(dir string) (int64, error)
}

// OS is the operating system's FS.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) OpenFile(path string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(path, flag|noFollow|noWait, perm)
	if err != nil {
		return nil, err
	}
	return onlyRegular(f)
}

// onlyRegular refuses anything else that stands in the place of a file: a pipe
// has no end to append to, and whoever opens one waits for ever (noWait).
func onlyRegular(f *os.File) (File, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: f.Name(), Err: fmt.Errorf("wanted a regular file, found %s: move it away", info.Mode())}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error   { return os.Rename(from, to) }
func (osFS) Remove(path string) error       { return os.Remove(path) }
func (osFS) Free(dir string) (int64, error) { return freeBytes(dir) }
func (osFS) List(dir string) ([]string, error) {
	return namesIn(func() (*os.File, error) { return os.OpenFile(dir, os.O_RDONLY|noWait, 0) })
}
func (osFS) SyncDir(dir string) error {
	return syncDir(func() (*os.File, error) { return os.Open(dir) })
}

func namesIn(open func() (*os.File, error)) ([]string, error) {
	d, err := open()
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Datasync() error { return datasync(f.File) }
func (f osFile) Lock() error     { return lockFile(f.File) }

// checkName keeps a log's files inside its directory whatever the caller passes.
func checkName(name string) error {
	if name == "" || len(name) > 200 || name[0] == '.' || strings.ContainsAny(name, "/\\\x00:") {
		return fmt.Errorf("log name %q: want 1 to 200 bytes, not starting with a dot, without / \\ : or NUL", name)
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		if _, ok := rolledFirst(name[i+1:] + ".log"); ok {
			return fmt.Errorf("log name %q: want one that does not end with a number behind a dot, as the closed segments of a log do", name)
		}
	}
	return nil
}

// LockDir takes dir for this process: two servers on one directory would each
// cut what the other is writing. The error wraps ErrLocked and names the holder.
// Closing the result gives dir back; so does the end of the process, however it
// ends. A nil fsys is the operating system's.
func LockDir(fsys FS, dir string) (io.Closer, error) {
	if fsys == nil {
		fsys = OS()
	}
	path := filepath.Join(dir, "lock")
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Lock(); err != nil {
		defer f.Close()
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("%s is in use by %s: stop that one or use another directory: %w", dir, holder(f), ErrLocked)
		}
		return nil, err
	}
	host, _ := os.Hostname()
	text := fmt.Sprintf("pid %d on %q since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	// Who has it is for a message only: on a full disk there is still something
	// to be read.
	_ = replace(f, []byte(text))
	return f, nil
}

// holder reads who has the lock. It is for a message only, so a lock file that
// cannot be read is no error.
func holder(f File) string {
	b := make([]byte, 256)
	n, _ := f.ReadAt(b, 0)
	if text := strings.TrimSpace(string(b[:n])); text != "" {
		return text
	}
	return "another process"
}

// replace makes b all that f holds.
func replace(f File, b []byte) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(b, 0)
	return err
}
