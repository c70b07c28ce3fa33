package immuta

import (
	"io"
	"os"
	"path/filepath"
)

// syncedBefore is what the index of a log shows to have been on stable storage:
// all in front of this offset. It only reads; 0 when the index is of no use.
func (s *segment) syncedBefore(dir, name string, o *Options) int64 {
	size, err := s.file.Size()
	if err != nil {
		return 0
	}
	x, _, _ := openIndex(o.FS, filepath.Join(dir, name+".idx"), s, size, true)
	x.letGo()
	return x.synced
}

// forget drops entries of what recovery has cut off.
func (x *index) forget(end int64) {
	v := &x.view
	for v.n > 0 {
		if e, ok := v.at(v.n-1, x.seed); ok && e.offset < end {
			return
		}
		v.n--
	}
}

// doubt takes the newest entry back, in the file and in memory. An index that ends
// with the last commit says that all in front of the log's end is on the disk, and
// that the next process has nothing to sync. Behind a write that failed the sectors of
// that end may stand there otherwise than they read, until they are written again.
func (x *index) doubt() error {
	x.mu.Lock()
	v := &x.view
	if v.file == nil || v.n == 0 || len(v.memory) > 0 || x.lastNote == 0 { // it does not end there, or was doubted already
		x.mu.Unlock()
		return nil
	}
	v.n--
	file, size := v.file, int64(v.n+1)*indexEntry
	x.mu.Unlock()
	x.lastNote, x.lastStart = 0, 0
	return file.Truncate(size)
}

// ready makes the file writable from here on: its header, when there is none,
// and nothing behind the entries that hold. A failure only stops the index.
func (x *index) ready(fsys FS) error {
	if v := x.now(); v.file != nil {
		return v.file.Truncate(int64(v.n+1) * indexEntry)
	}
	return x.replace(fsys)
}

// begin makes the file of an index that has no entry yet.
func (x *index) begin(fsys FS) error {
	f, err := fsys.OpenFile(x.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := replace(f, x.header()); err != nil {
		f.Close()
		return err
	}
	x.view = view{file: f}
	return nil
}

// replace writes all entries to a new file and takes that.
func (x *index) replace(fsys FS) error {
	v := x.now()
	b := x.header()
	for i := range v.n + len(v.memory) {
		e, ok := v.at(i, x.seed)
		if !ok {
			continue
		}
		b = append(b, make([]byte, indexEntry)...)
		e.encode(b[len(b)-indexEntry:], x.seed)
	}
	f, err := fsys.OpenFile(x.path+".tmp", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := publish(fsys, f, b, x.path+".tmp", x.path); err != nil {
		f.Close()
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if v.file != nil {
		x.old = v.file
	}
	x.view = view{file: f, n: len(b)/indexEntry - 1, memory: x.view.memory[len(v.memory):]}
	return nil
}

// flush writes the entries in memory, when there are at least that many. It is
// not synced: every entry has its own sum, and is checked before it is used.
func (x *index) flush(least int) error {
	v := x.now()
	if v.file == nil || x.stopped != nil || len(v.memory) < least {
		return nil
	}
	b := make([]byte, len(v.memory)*indexEntry)
	for i, e := range v.memory {
		e.encode(b[i*indexEntry:], x.seed)
	}
	_, err := v.file.WriteAt(b, int64(v.n+1)*indexEntry)
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.view.file != v.file: // rebuilt meanwhile: what was written is of no use
		return nil
	case err != nil:
		x.stopped = err
		return err
	}
	x.view.n += len(v.memory)
	x.view.memory = x.view.memory[len(v.memory):]
	return nil
}

// rebuild walks the headers of the log up to end and replaces all entries by
// what it finds, in memory; the file is written anew at Close.
func (x *index) rebuild(end int64) error {
	fresh := index{seg: x.seg}
	w := window{file: x.seg.file, step: chunk}
	for at, next := x.seg.data(), x.seg.first; at < end; {
		h, found, _, err := x.seg.step(&w, at, next, end)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		fresh.note(entry{first: h.first, time: h.time, offset: found, start: h.isStart()})
		at, next = found+h.frame(), h.next()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	v := x.view
	for i := range v.memory { // noted since end was looked at
		if v.memory[i].offset >= end {
			fresh.view.memory = append(fresh.view.memory, v.memory[i])
		}
	}
	if v.file != nil {
		x.old = v.file
	}
	x.view = fresh.view
	return nil
}

// close writes a checkpoint for the last commit, so that the next open reads no
// more than that, and closes the files. last.offset 0: there is none.
func (x *index) close(fsys FS, last entry, readOnly bool) error {
	var err error
	if !readOnly {
		if last.offset > x.lastNote {
			x.add(last)
		}
		if x.now().file == nil {
			err = x.replace(fsys)
		} else {
			err = x.flush(1)
		}
	}
	x.letGo()
	return err
}

// letGo closes the files.
func (x *index) letGo() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range []File{x.view.file, x.old} {
		if f != nil {
			f.Close()
		}
	}
}
