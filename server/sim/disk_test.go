package sim

import (
	"io/fs"
	"sync"
	"syscall"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// slowDisk takes its time for a sync, so that events gather behind one that is
// being stored, and a life can end while it is.
type slowDisk struct {
	immuta.FS
	latency time.Duration
}

type slowFile struct {
	immuta.File
	latency time.Duration
}

func (d slowDisk) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := d.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	if d.latency == 0 {
		return f, nil
	}
	// No two logs take equally long: what happens at one moment has no order
	// that a seed decides.
	return slowFile{f, d.latency + time.Duration(len(path))*time.Microsecond}, nil
}

func (f slowFile) Sync() error {
	time.Sleep(f.latency)
	return f.File.Sync()
}

func (f slowFile) Datasync() error {
	time.Sleep(f.latency)
	return f.File.Datasync()
}

// faults are what the disk does wrong, on request.
type faults struct {
	mu    sync.Mutex // guards all of it
	full  bool       // no room for anything more
	next  string     // the operation that fails with EIO
	after int        // how many of them go well before
	path  string     // of the file that failed last
	since time.Time  // the last change
}

func (f *faults) hook(c faultfs.Call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == c.Op || f.next == "sync" && c.Op == "datasync" {
		if f.after--; f.after < 0 {
			f.next, f.path, f.since = "", c.Path, time.Now()
			return syscall.EIO
		}
	}
	if f.full && (c.Op == "write" || c.Op == "create") {
		return syscall.ENOSPC
	}
	return nil
}

func (f *faults) clear() { f.set(false, "", 0) }

func (f *faults) set(full bool, next string, after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full, f.next, f.after, f.path, f.since = full, next, after, "", time.Now()
}

// calm returns since when the disk has done all it was asked; false: it may not.
func (f *faults) calm() (since time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, !f.full && f.next == ""
}

func (f *faults) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full || f.next != "" || f.path != ""
}

// struck is the file that an EIO has met, "" when it has met none.
func (f *faults) struck() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.path
}
