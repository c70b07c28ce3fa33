package immuta

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Root is the operating system's FS below one directory. Whatever is planted
// there, no file outside of it is opened, made or renamed: a link in the place
// of a file is refused, wherever it leads. The directory itself may be reached
// through links. Its methods are safe for many goroutines.
type Root struct {
	root *os.Root
	dir  string
}

// OpenRoot opens a directory, which has to exist. The caller must Close it,
// after everything that was opened in it.
func OpenRoot(dir string) (*Root, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Root{root: r, dir: dir}, nil
}

// Close gives the directory back. A second call does nothing.
func (r *Root) Close() error { return r.root.Close() }

// name is what a path is called below the directory.
func (r *Root) name(path string) (string, error) {
	name, err := filepath.Rel(r.dir, path)
	if err == nil && !filepath.IsLocal(name) {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is not below " + r.dir)}
	}
	return name, err
}

// OpenFile refuses links before it opens: os.Root follows those that stay
// inside, and behind one there may be the log of another namespace. A temporary
// file is emptied, so it is refused when it has a second name, which may be
// outside; logs may have some, as snapshots do it.
func (r *Root) OpenFile(path string, flag int, perm fs.FileMode) (File, error) {
	name, err := r.name(path)
	if err != nil {
		return nil, err
	}
	if info, err := r.root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 && flag&os.O_EXCL == 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errLink}
	}
	f, err := r.root.OpenFile(name, flag|noWait, perm)
	if err != nil {
		return nil, named(err, path)
	}
	file, err := onlyRegular(f)
	if err == nil && strings.HasSuffix(name, ".tmp") && otherNames(f) {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: errNames}, f.Close())
	}
	return file, err
}

// Rename moves a name below the directory to another one there.
func (r *Root) Rename(from, to string) error {
	source, err := r.name(from)
	if err != nil {
		return err
	}
	target, err := r.name(to)
	if err != nil {
		return err
	}
	err = r.root.Rename(source, target)
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		e.Old, e.New = from, to
	}
	return err
}

// Remove takes away a name below the directory.
func (r *Root) Remove(path string) error {
	name, err := r.name(path)
	if err != nil {
		return err
	}
	return named(r.root.Remove(name), path)
}

// List returns what is in the directory, or in one below it.
func (r *Root) List(dir string) ([]string, error) {
	name, err := r.name(dir)
	if err != nil {
		return nil, err
	}
	names, err := namesIn(func() (*os.File, error) { return r.root.OpenFile(name, os.O_RDONLY|noWait, 0) })
	return names, named(err, dir)
}

// SyncDir makes the names in the directory, or in one below it, durable.
func (r *Root) SyncDir(dir string) error {
	name, err := r.name(dir)
	if err != nil {
		return err
	}
	return syncDir(func() (*os.File, error) { return r.root.Open(name) })
}

// Free returns how many bytes may still be written in the directory, or in one
// below it. It asks what was opened, so that it stays right when the directory
// is renamed.
func (r *Root) Free(dir string) (int64, error) {
	name, err := r.name(dir)
	if err != nil {
		return 0, err
	}
	d, err := r.root.Open(name)
	if err != nil {
		return 0, named(err, dir)
	}
	defer d.Close()
	return freeBytesOf(d)
}

var errLink = errors.New("wanted a regular file, found a symbolic link: move it away")

var errNames = errors.New("wanted a temporary file, found one that has other names too (hard links): move it away")

// named gives an error the path that a person knows.
func named(err error, path string) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		e.Path = path
	}
	return err
}
