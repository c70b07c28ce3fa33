package faultfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"example.com/bus/immuta"
)

// ErrCut is what every call returns once the power is gone.
var ErrCut = errors.New("the power is gone")

// Call is one call of the file system.
type Call struct {
	N    int    // of the calls that change something, from 1; for a read, of the last such call
	Op   string // open, create, read, size, write, truncate, sync, datasync, rename, remove, syncdir, list
	Path string
}

// Changes says whether the call may change what is on disk or what will be.
func (c Call) Changes() bool {
	return c.Op != "open" && c.Op != "read" && c.Op != "size" && c.Op != "list"
}

// FS is the file system. Use New, or After of another one.
type FS struct {
	mu      sync.Mutex // guards all of it, and all inodes
	names   map[string]*inode
	durable map[string]*inode
	pending []nameChange // not yet in durable
	calls   int
	cutAt   int
	off     bool
	inject  func(Call) error
}

// nameChange is one step of a directory that a power cut may undo.
type nameChange struct {
	dir  string
	from string // "" for a new file
	to   string // "" for one that is removed
	file *inode
}

func (c nameChange) apply(names map[string]*inode) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.file
	}
}

// New returns an empty file system. Directories are not made: any path will do.
func New() *FS {
	return &FS{names: map[string]*inode{}, durable: map[string]*inode{}}
}

// Inject calls f before each call; an error makes the call fail with it. A write
// that fails has done half of its work, a sync that fails has lost what it was
// to write. nil ends it. f must not call the file system.
func (f *FS) Inject(hook func(Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inject = hook
}

// CutAfter takes the power away after the n-th changing call; 0: now.
func (f *FS) CutAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt, f.off = n, n <= f.calls
}

// Restart is the next process on a machine that stayed up: the power is there
// again, all is as programs saw it, what was unsynced still is, locks are gone.
func (f *FS) Restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt, f.off = 0, false
	for _, node := range f.names {
		node.locked = nil
	}
}

// Calls is how many changing calls there were.
func (f *FS) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// begin counts a call and decides whether it fails; the caller holds mu.
func (f *FS) begin(op, path string) error {
	if f.off {
		return ErrCut
	}
	c := Call{N: f.calls, Op: op, Path: path}
	if c.Changes() {
		f.calls++
		c.N = f.calls
	}
	var err error
	if f.inject != nil {
		err = f.inject(c)
	}
	// The call itself is still done: the power goes behind it.
	if c.Changes() && f.cutAt > 0 && f.calls >= f.cutAt {
		f.off = true
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, path, err)
	}
	return nil
}

// OpenFile implements immuta.FS.
func (f *FS) OpenFile(path string, flag int, _ fs.FileMode) (immuta.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	node := f.names[path]
	op := "open"
	if node == nil && flag&os.O_CREATE != 0 {
		op = "create"
	}
	if err := f.begin(op, path); err != nil {
		return nil, err
	}
	if node != nil && flag&os.O_EXCL != 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	}
	if node == nil {
		if op == "open" {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		node = newInode(nil)
		f.change(nameChange{dir: filepath.Dir(path), to: path, file: node})
	}
	return &file{fs: f, node: node, path: path, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

func (f *FS) change(c nameChange) {
	c.apply(f.names)
	f.pending = append(f.pending, c)
}

// Rename implements immuta.FS.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	if err := f.begin("rename", from); err != nil {
		return err
	}
	node := f.names[from]
	if node == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	f.change(nameChange{dir: filepath.Dir(to), from: from, to: to, file: node})
	return nil
}

// Remove implements immuta.FS. Who has the file open may go on reading it.
func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	if err := f.begin("remove", path); err != nil {
		return err
	}
	if f.names[path] == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	f.change(nameChange{dir: filepath.Dir(path), from: path})
	return nil
}

// List implements immuta.FS. A directory that nothing was put in is empty.
func (f *FS) List(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = filepath.Clean(dir)
	if err := f.begin("list", dir); err != nil {
		return nil, err
	}
	var names []string
	for path := range f.names {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements immuta.FS.
func (f *FS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = filepath.Clean(dir)
	if err := f.begin("syncdir", dir); err != nil {
		return err
	}
	f.pending = slices.DeleteFunc(f.pending, func(c nameChange) bool {
		if c.dir == dir {
			c.apply(f.durable)
		}
		return c.dir == dir
	})
	return nil
}

// Keep says what of the unsynced a power cut leaves.
type Keep int

const (
	None   Keep = iota // nothing: the disk was idle
	All                // everything: also what a killed process leaves
	Random             // any part of it
)

// After is what the machine finds when the power is back: a new file system, not
// cut, without faults and locks. f stays as it is, so that many outcomes can be
// drawn. rng is for Random.
func (f *FS) After(keep Keep, rng *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := maps.Clone(f.durable)
	stay := 0
	switch keep {
	case All:
		stay = len(f.pending)
	case Random:
		stay = rng.IntN(len(f.pending) + 1)
	}
	for _, c := range f.pending[:stay] {
		c.apply(names)
	}
	after := New()
	// In order, so that the same seed draws the same outcome.
	for _, path := range slices.Sorted(maps.Keys(names)) {
		node := newInode(names[path].after(keep, rng))
		after.names[path], after.durable[path] = node, node
	}
	return after
}

// ReadFile returns what programs see in a file, and whether there is one.
func (f *FS) ReadFile(path string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[filepath.Clean(path)]
	if node == nil {
		return nil, false
	}
	return slices.Clone(node.live), true
}

// WriteFile makes b a file that is on stable storage, for a test to start from.
func (f *FS) WriteFile(path string, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := newInode(slices.Clone(b))
	f.names[filepath.Clean(path)], f.durable[filepath.Clean(path)] = node, node
}

// Names are the paths of all files, sorted.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.names))
}
