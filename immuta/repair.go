package immuta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Repaired is what Repair has done, or would do.
type Repaired struct {
	Report Report      // what was found
	Gaps   []*GapError // what the log says, or would say, of what was lost
	Room   int64       // bytes that are written beside the log
	Done   bool        // it was written: false when nothing was damaged, too
}

// Repair puts a gap block in place of each damaged part of dir/name.log, and of
// the closed segments in front of it, one file after the other.
// All good blocks stay as they are, byte for byte and at their offsets. Damage
// with nothing good behind it takes as many indexes as its bytes may have held,
// so that none that was answered is given again. An unfinished last commit is
// no damage and stays for the next Open.
//
// Without write it only looks, and may run beside the process that appends.
// With it, the log may not be open for writing elsewhere (ErrLocked), and
// nothing is written in place: the damaged bytes are copied to
// dir/name.damaged-OFFSET, the whole log is written anew beside the old one and
// read back, and takes its name at the very end. A power cut leaves the old log
// or the new one. A log without damage is left alone, so that a second call does
// nothing.
//
// A sealed log needs its key (ErrSealed): nobody without it may say that events
// are lost. A damaged file header or key check is a *CorruptError, and cannot be
// repaired: without the salt no block can be told from chance.
func Repair(dir, name string, o Options, write bool) (Repaired, error) {
	o.ReadOnly = !write
	o, err := o.complete()
	if err != nil {
		return Repaired{}, err
	}
	if err := checkName(name); err != nil {
		return Repaired{}, err
	}
	c, err := openExisting(dir, name, &o)
	if err != nil {
		return Repaired{}, err
	}
	defer c.close()
	r, patches, err := c.examine(dir, name, &o, !write)
	defer func() {
		for _, p := range patches {
			p.file.Close()
		}
	}()
	if err != nil || len(patches) == 0 {
		return r, err
	}
	for _, p := range patches {
		r.Room += p.room()
	}
	for _, p := range patches {
		if write {
			err = p.write()
			r.Done = r.Done || p.done
		}
		if !write || p.done {
			r.Gaps = append(r.Gaps, p.says()...)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// examine looks at all segments, and says what is to be done to the damaged ones.
func (c *chain) examine(dir, name string, o *Options, beside bool) (Repaired, []*patch, error) {
	var r Repaired
	var patches []*patch
	try := func(s *segment, x *index, p *part) error {
		found, report, err := s.inspect(x, beside, p)
		if r.Report.add(&report); err != nil || len(found.met) == 0 {
			if p != nil { // the last one has the lock
				err = errors.Join(err, s.file.Close())
			}
			return err
		}
		w := &patch{segment: s, dir: dir, name: name, indexPath: x.path, o: o, before: &report, repaired: max(o.Now().UnixNano(), 1), size: found.size}
		patches = append(patches, w)
		if err := w.plan(found); err != nil {
			return fmt.Errorf("repair %s: %w", s.path, err)
		}
		return nil
	}
	for _, p := range c.closed {
		if p.bad != nil {
			return r, patches, p.bad
		}
		s, err := p.reopen(name, o)
		if beside && errors.Is(err, fs.ErrNotExist) && p.deleted(dir, name, o) {
			for _, w := range patches { // those before it were deleted first
				w.file.Close()
			}
			r, patches = Repaired{}, nil
			continue
		}
		if err == nil {
			err = try(s, &index{seg: s, path: p.indexPath}, p)
		}
		if err != nil {
			return r, patches, err
		}
	}
	last := c.open
	x := &index{seg: last, synced: last.syncedBefore(dir, name, o), path: filepath.Join(dir, name+".idx")}
	err := try(last, x, nil)
	r.Report.Path, r.Report.Checked = last.path, last.checked()
	return r, patches, err
}

// openExisting is openChain for a log that is not to be created.
func openExisting(dir, name string, o *Options) (*chain, error) {
	found, err := findFiles(o.FS, dir, name)
	if err != nil {
		return nil, err
	}
	if !found.open && len(found.closed) == 0 {
		return nil, &fs.PathError{Op: "open", Path: logPath(dir, name), Err: fs.ErrNotExist}
	}
	return openChain(dir, name, o)
}

// patch is a segment with gaps that are to be put into it.
type patch struct {
	*segment
	dir, name string
	indexPath string
	o         *Options
	done      bool
	before    *Report
	repaired  int64
	size      int64 // of the damaged file, without zeros that end it
	gaps      []gap
}

// plan makes gaps of the wounds. Neighbours are one.
func (p *patch) plan(c *scan) error {
	for i := range c.met {
		w := &c.met[i]
		g := gap{offset: w.Offset, size: w.end - w.Offset, from: w.From, next: w.From + w.lost, atMost: w.atMost, time: w.time}
		if w.From > w.Next && w.last {
			return fmt.Errorf("it goes on to record %d, and the next segment starts with %d: one of the two is an older copy, bring the right one back", w.From-1, w.Next)
		}
		if w.time == 0 {
			// What was lost was committed before now; the next commit is not earlier.
			g.time = max(p.repaired, w.latest)
		}
		if w.time == 0 || w.last {
			g.size = max(int64(padded(int(g.size))), p.leastGap())
		}
		if n := len(p.gaps); n > 0 && p.gaps[n-1].offset+p.gaps[n-1].size == g.offset {
			last := &p.gaps[n-1]
			last.size, last.next, last.atMost, last.time = last.size+g.size, g.next, last.atMost || g.atMost, g.time
			continue
		}
		p.gaps = append(p.gaps, g)
	}
	for _, g := range p.gaps {
		if _, err := p.pieces(g); err != nil {
			return err
		}
		if g.next > maxIndex {
			return fmt.Errorf("the damage at offset %d would lead to index %d, at most %d is possible", g.offset, g.next, uint64(maxIndex))
		}
	}
	return nil
}

// room is what is written: the log once more, and what is damaged of it.
func (p *patch) room() int64 {
	n := p.size
	for _, g := range p.gaps {
		n += g.size
	}
	return n
}

// says is what readers will be told.
func (p *patch) says() []*GapError {
	var all []*GapError
	for _, g := range p.gaps {
		all = append(all, &GapError{
			Path: p.path, Offset: g.offset, From: g.from, Next: g.next, AtMost: g.atMost,
			Time: unixTime(g.time), Repaired: unixTime(p.repaired), Saved: g.saved,
		})
	}
	return all
}

// write puts the gaps in and makes that durable.
func (p *patch) write() error {
	x, err := p.prepare()
	if err != nil {
		return fmt.Errorf("repair %s: %w; the log is as it was", p.path, err)
	}
	p.done = true
	if err := p.finish(x); err != nil {
		return fmt.Errorf("repair %s: %w; the repaired log is there, but a power cut may bring the damaged one back: run verify, and repair again if it is", p.path, err)
	}
	return nil
}

// prepare writes, in an order that leaves one of the two logs wherever it is cut:
// the damaged bytes are safe before the new log has its name, which is the last
// thing done, and the new log is whole and was read back before. It returns the
// index of the new log.
func (p *patch) prepare() (*index, error) {
	if err := p.fits(); err != nil {
		return nil, err
	}
	for i := range p.gaps {
		g := &p.gaps[i]
		bytes := &torn{offset: g.offset, size: min(g.size, p.size-g.offset)}
		path, err := p.saveAside(bytes, p.o.FS, p.dir, fmt.Sprintf("%s.damaged-%d", strings.TrimSuffix(filepath.Base(p.path), ".log"), g.offset))
		if err != nil {
			return nil, fmt.Errorf("set the damaged bytes at offset %d aside: %w", g.offset, err)
		}
		g.saved = filepath.Base(path)
	}
	temporary := p.path + ".tmp"
	f, err := p.o.FS.OpenFile(temporary, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x, err := p.build(f, temporary)
	if err != nil {
		// Room on a full disk is given back; a file that cannot be emptied is
		// written over by the next try.
		return nil, errors.Join(err, f.Truncate(0))
	}
	return x, p.o.FS.Rename(temporary, p.path)
}

// finish makes the new log's name durable.
func (p *patch) finish(x *index) error {
	if err := p.o.FS.SyncDir(p.dir); err != nil {
		return err
	}
	// The old index would be held against the log entry by entry; a new one is
	// better, and when it cannot be written the next open makes it.
	if x.replace(p.o.FS) == nil {
		x.view.file.Close()
	}
	return nil
}

// fits asks for room before anything is written.
func (p *patch) fits() error {
	disk, ok := p.o.FS.(Roomy)
	if !ok {
		return nil
	}
	if free, err := disk.Free(p.dir); err == nil && free < p.room() { // where it is not known the write will tell
		return fmt.Errorf("it takes %d bytes beside the log, %d are free in %s: make room, or work on a copy elsewhere", p.room(), free, p.dir)
	}
	return nil
}

// build writes the repaired log and reads it back. It returns its index.
func (p *patch) build(f File, path string) (*index, error) {
	if err := f.Lock(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := p.copy(f); err != nil {
		return nil, err
	}
	fresh := &segment{path: path, file: f}
	if err := fresh.load(p.name, p.o); err != nil {
		return nil, err
	}
	x := newIndex(fresh, p.indexPath)
	_, after, err := fresh.inspect(x, false, nil)
	if err != nil {
		return nil, err
	}
	want := max(p.before.Next, p.gaps[len(p.gaps)-1].next) // an unfinished commit may stand at the end
	if len(after.Damage) > 0 || after.Records != p.before.Records || after.Removed != p.before.Removed || after.Blocks != p.before.Blocks || after.Next != want {
		return nil, fmt.Errorf("what was written does not read back: got %d records in %d blocks up to %d and %d damaged places, want %d in %d up to %d and none",
			after.Records, after.Blocks, after.Next, len(after.Damage), p.before.Records, p.before.Blocks, want)
	}
	return x, nil
}

// copy copies what is good, puts the gaps between, and syncs.
func (p *patch) copy(f File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	at := int64(0)
	for _, g := range p.gaps {
		if err := p.copyRange(f, at, at, g.offset-at); err != nil {
			return err
		}
		pieces, err := p.pieces(g)
		if err != nil {
			return err
		}
		for _, piece := range pieces {
			frame, err := p.gapFrame(piece, p.repaired)
			if err != nil {
				return err
			}
			if _, err := f.WriteAt(frame, piece.offset); err != nil {
				return err
			}
		}
		at = g.offset + g.size
	}
	if err := p.copyRange(f, at, at, p.size-at); err != nil {
		return err
	}
	return f.Sync()
}
