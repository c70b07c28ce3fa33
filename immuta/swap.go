package immuta

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// This file makes the new file of a rewrite, and lets it take the place of the old
// one. Each step is durable before the next:
//
//  1. the new segment is written to NAME.FIRST.log.tmp, synced and read back
//  2. the old index is removed, the new segment gets the name, the directory is synced
//  3. the new index is written
//
// So where it is cut off, the one segment is there or the other, whole. What is
// left under the temporary name is removed by the next open for writing.

// replace makes the new file and gives it the name. Where that fails in front of
// the name, nothing is left of it; a power cut leaves it for the next open.
func (w *rewrite) replace() (int64, error) {
	o := &w.log.o
	temporary := w.part.path + ".tmp"
	f, err := o.FS.OpenFile(temporary, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	fresh, x, err := w.build(f)
	if err == nil {
		err = w.swap(temporary, fresh, x)
	}
	if !w.named {
		f.Close()
		_ = o.FS.Remove(temporary)
		return 0, err
	}
	return fresh.size, err
}

// rebuilt is a new file that was read back.
type rebuilt struct {
	*segment
	size int64
}

// build writes the new file and reads it back. It returns its index.
func (w *rewrite) build(f File) (rebuilt, *index, error) {
	l := w.log
	s := &segment{path: w.part.path, file: f, header: w.old.header}
	head, err := s.draw(l.name, &l.o)
	if err == nil {
		err = replace(f, head)
	}
	if err != nil {
		return rebuilt{}, nil, err
	}
	b := &builder{seg: s, most: l.o.BlockSize, at: s.data(), from: s.data()}
	if err := w.old.walk(w.part, w.part.end, &index{seg: w.old}, w.copy(b)); err != nil {
		return rebuilt{}, nil, err
	}
	if err := b.finish(); err != nil {
		return rebuilt{}, nil, err
	}
	return w.readBack(b)
}

// copy gives a builder what is kept, and what stands for the rest.
func (w *rewrite) copy(b *builder) func(h *block, i *inspection) error {
	plan := w.plan
	return func(h *block, i *inspection) error {
		if err := w.stopped(); err != nil {
			return err
		}
		switch {
		case h.isGap():
			return b.gap(h, i.saved)
		case h.isRemoved():
			return b.remove(removal{first: h.first, count: h.count, reason: i.saved[0], time: h.time, when: int64(h.commit)})
		}
		for n, record := range i.held {
			index := h.first + uint64(n)
			for len(plan) > 0 && index >= plan[0].first+uint64(plan[0].count) {
				plan = plan[1:]
			}
			err := error(nil)
			if len(plan) > 0 && index >= plan[0].first {
				err = b.remove(removal{first: index, count: 1, reason: plan[0].reason, time: h.time, when: w.now})
			} else {
				err = b.keep(h, index, record)
			}
			if err != nil {
				return err
			}
		}
		if h.last() { // where its last record was removed, the run ends the commit
			return b.flush(true)
		}
		return nil
	}
}

// readBack opens what was written as the next reader will, and holds it against
// what it was made of.
func (w *rewrite) readBack(b *builder) (rebuilt, *index, error) {
	l := w.log
	fresh := rebuilt{segment: &segment{path: w.part.path, file: b.seg.file}}
	if err := fresh.load(l.name, &l.o); err != nil {
		return fresh, nil, fmt.Errorf("what was written does not read back: %v", err)
	}
	size, err := fresh.file.Size()
	if err != nil {
		return fresh, nil, err
	}
	fresh.size = size
	x := newIndex(fresh.segment, w.part.indexPath)
	var got digest
	err = fresh.walk(w.part, size, x, func(h *block, i *inspection) error {
		if w.firstTime == 0 {
			w.firstTime = h.time
		}
		got.frame(h, i)
		return w.stopped()
	})
	if damage, ok := errors.AsType[*CorruptError](err); ok { // not of the log
		return fresh, nil, fmt.Errorf("what was written does not read back: %v", damage)
	}
	if err == nil && (got != b.said || size != b.at || got.records != w.kept || fresh.header != b.seg.header || !fresh.header.anew(w.old.header)) {
		err = fmt.Errorf("what was written does not read back: got %d records and %d removed in %d bytes, want %d and %d in %d, with the same content",
			got.records, got.removed, size, b.said.records, b.said.removed, b.at)
	}
	return fresh, x, err
}

// swap gives the new file the name of the old one. No segment is deleted meanwhile,
// and one that was deleted before is not put back. The index goes first: one that
// is of the old file would be held against the new one entry by entry, but nobody
// has to. From the rename on the path is that of the new file, durable or not, so
// readers are led there also when the directory is not synced.
func (w *rewrite) swap(temporary string, fresh rebuilt, x *index) error {
	l := w.log
	l.trimming.Lock()
	defer l.trimming.Unlock()
	if err := w.stopped(); err != nil {
		return err
	}
	if !l.listed(w.part) {
		return ErrNoSegment
	}
	if err := l.o.FS.Remove(x.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.o.FS.Rename(temporary, w.part.path); err != nil {
		return err
	}
	w.named = true
	p := newPart(l.dir, l.name, fresh.header)
	p.next, p.end, p.until = w.part.next, fresh.size, w.part.until
	p.firstTime.Store(w.firstTime)
	if _, _, err := l.files.put(p, fresh.segment, x); err != nil {
		return err
	}
	defer l.files.let(p)
	l.exchange(w.part, p)
	if err := l.o.FS.SyncDir(l.dir); err != nil {
		return err
	}
	_ = x.replace(l.o.FS) // it is made anew where it is missing
	return nil
}
