package immuta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"sync"
)

// Index file: a header and entries of 32 bytes each. It is derived from the log:
// every entry is held against the block it points at before it is used, and
// nothing is lost when it is.
const (
	indexMagic   = "\x89immidx\n"
	indexVersion = 1
	indexEntry   = 32

	ihMagic   = 0  // 8
	ihID      = 8  // u64, the log's
	ihFirst   = 16 // u64, the log's
	ihVersion = 24 // u32
	ihSum     = 28 // u32

	ieFirst  = 0  // u64
	ieTime   = 8  // i64
	ieOffset = 16 // u64
	ieKind   = 24 // u32
	ieSum    = 28 // u32

	entryWithin = 1 // a block inside a commit
	entryStart  = 2 // a commit's first block: recovery may start here

	indexEvery = 64 << 10 // bytes of log for an entry
	indexFlush = 16       // entries for a write
)

// entry is one place in the log.
type entry struct {
	first  uint64
	time   int64
	offset int64
	start  bool
}

func (e *entry) encode(b []byte, seed uint32) {
	le := binary.LittleEndian
	le.PutUint64(b[ieFirst:], e.first)
	le.PutUint64(b[ieTime:], uint64(e.time))
	le.PutUint64(b[ieOffset:], uint64(e.offset))
	kind := uint32(entryWithin)
	if e.start {
		kind = entryStart
	}
	le.PutUint32(b[ieKind:], kind)
	le.PutUint32(b[ieSum:], crc32.Update(seed, castagnoli, b[:ieSum]))
}

func decodeEntry(b []byte, seed uint32) (entry, bool) {
	le := binary.LittleEndian
	kind := le.Uint32(b[ieKind:])
	e := entry{
		first: le.Uint64(b[ieFirst:]), time: int64(le.Uint64(b[ieTime:])),
		offset: int64(le.Uint64(b[ieOffset:])), start: kind == entryStart,
	}
	good := le.Uint32(b[ieSum:]) == crc32.Update(seed, castagnoli, b[:ieSum])
	return e, good && (kind == entryWithin || kind == entryStart) && e.offset > 0
}

// index maps records and times to offsets, sparsely. Old entries stay in the
// file, so that memory and opening do not grow with the log.
type index struct {
	seg  *segment
	seed uint32
	path string

	synced int64 // offset of the last block that an entry found at open shows to be on stable storage

	// Of the committer, which alone adds and flushes.
	lastNote  int64 // offset of the last entry
	lastStart int64 // offset of the last entry that starts a commit
	stopped   error // why the file is no longer written

	mu   sync.Mutex // guards what follows; never held while a disk is used
	view view
	old  File // the file of before a rebuild: look-ups may still read it
}

// view is the entries at one moment. It stays good beside later changes: the
// file is only appended to, and so is the memory.
type view struct {
	file   File    // nil: all entries are in memory
	n      int     // entries in the file
	memory []entry // those after them
}

func (x *index) now() view {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.view
}

// at reads entry i. ok is false when it is damaged.
func (v *view) at(i int, seed uint32) (e entry, ok bool) {
	if i >= v.n {
		return v.memory[i-v.n], true
	}
	b, err := readUpTo(v.file, indexEntry, int64(i+1)*indexEntry)
	if err != nil || len(b) < indexEntry {
		return entry{}, false
	}
	return decodeEntry(b, seed)
}

func newIndex(s *segment, path string) *index {
	return &index{seg: s, path: path, seed: checksum(binary.LittleEndian.AppendUint64(nil, s.id))}
}

// openIndex opens the index of s and returns the last checkpoint that holds
// against the log of size bytes. why is not empty when the index was of no use.
func openIndex(fsys FS, path string, s *segment, size int64, readOnly bool) (x *index, from entry, why string) {
	x = newIndex(s, path)
	from = entry{first: s.first, offset: s.data(), start: true}
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	f, err := fsys.OpenFile(path, flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return x, from, "it is not there"
	}
	if err != nil {
		return x, from, err.Error()
	}
	if why = x.load(f, size, &from); why != "" {
		f.Close()
		x.view = view{}
	}
	return x, from, why
}

// load reads the header and steps back over what a crash left at the end, to the
// last entry that recovery may start from.
func (x *index) load(f File, size int64, from *entry) (why string) {
	length, err := f.Size()
	if err != nil {
		return err.Error()
	}
	b, err := readUpTo(f, indexEntry, 0)
	if err != nil {
		return err.Error()
	}
	if string(b) != string(x.header()) {
		return "its header is not that of this log"
	}
	entries := int(length/indexEntry) - 1
	x.view = view{file: f, n: entries}
	for ; x.view.n > 0; x.view.n-- {
		e, ok := x.view.at(x.view.n-1, x.seed)
		if ok = ok && x.holds(e, size); ok {
			x.synced = max(x.synced, e.offset)
		}
		if ok && e.start {
			*from, x.lastNote, x.lastStart = e, e.offset, e.offset
			return ""
		}
	}
	if entries > 0 {
		return fmt.Sprintf("none of its %d entries holds", entries)
	}
	return ""
}

func (x *index) header() []byte {
	b := make([]byte, indexEntry)
	copy(b[ihMagic:], indexMagic)
	binary.LittleEndian.PutUint64(b[ihID:], x.seg.id)
	binary.LittleEndian.PutUint64(b[ihFirst:], x.seg.first)
	binary.LittleEndian.PutUint32(b[ihVersion:], indexVersion)
	binary.LittleEndian.PutUint32(b[ihSum:], checksum(b[:ihSum]))
	return b
}

// holds says whether the block an entry points at is there and is that one.
func (x *index) holds(e entry, end int64) bool {
	if e.offset < x.seg.data() || e.offset%alignment != 0 || e.offset >= end {
		return false
	}
	h, bad, err := x.seg.headAt(&window{file: x.seg.file, step: blockHeader}, e.offset, end)
	return err == nil && bad == nil && h.first == e.first && h.time == e.time && h.isStart() == e.start
}

// note takes a block that is on stable storage, when it is far enough from the
// last one noted. Blocks come in order, from one goroutine.
func (x *index) note(e entry) {
	if e.offset-x.lastNote >= indexEvery || e.start && e.offset-x.lastStart >= indexEvery {
		x.add(e)
	}
}

func (x *index) add(e entry) {
	x.lastNote = e.offset
	if e.start {
		x.lastStart = e.offset
	}
	x.mu.Lock()
	x.view.memory = append(x.view.memory, e)
	x.mu.Unlock()
}

// find returns the last entry for which before holds (it must hold for a prefix
// of them), checked against the log, or the log's start. ok is false when an
// entry turned out wrong: then the index must be rebuilt.
func (x *index) find(before func(*entry) bool, end int64) (found entry, ok bool) {
	v := x.now()
	found = entry{first: x.seg.first, offset: x.seg.data(), start: true}
	low, high := 0, v.n+len(v.memory)
	for low < high {
		middle := int(uint(low+high) / 2)
		e, ok := v.at(middle, x.seed)
		if !ok {
			return entry{}, false
		}
		if before(&e) {
			found, low = e, middle+1
		} else {
			high = middle
		}
	}
	return found, low == 0 || x.holds(found, end)
}
