package faultfs

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"

	"example.com/bus/immuta"
)

const sector = 512

// inode is a file's contents. The FS's mutex guards it.
type inode struct {
	live    []byte           // what programs see
	durable []byte           // what the last good sync wrote
	dirty   map[int][][]byte // versions of each sector since then, oldest first
	doomed  map[int]bool     // dirty sectors that a failed sync has dropped: no sync writes them
	sizes   []int            // lengths the file had since then
	locked  *file
}

func newInode(b []byte) *inode {
	return &inode{live: b, durable: slices.Clone(b), dirty: map[int][][]byte{}, doomed: map[int]bool{}}
}

// sectorOf is a sector of b, zeros behind its end.
func sectorOf(b []byte, i int) []byte {
	out := make([]byte, sector)
	if i*sector < len(b) {
		copy(out, b[i*sector:])
	}
	return out
}

// resize changes the length and notes what a sector becomes by it.
func (n *inode) resize(size int) {
	old := len(n.live)
	if size > old {
		n.live = append(n.live, make([]byte, size-old)...)
	}
	n.live = n.live[:size]
	n.sizes = append(n.sizes, size)
	n.touch(min(size, old), max(size, old))
}

// touch notes a new version of the sectors between two offsets.
func (n *inode) touch(from, to int) {
	for i := from / sector; i*sector < to; i++ {
		n.dirty[i] = append(n.dirty[i], sectorOf(n.live, i))
		delete(n.doomed, i)
	}
}

func (n *inode) write(b []byte, offset int) {
	if len(b) == 0 {
		return
	}
	if end := offset + len(b); end > len(n.live) {
		n.resize(end)
	}
	copy(n.live[offset:], b)
	n.touch(offset, offset+len(b))
}

// sync writes all but what an earlier failed sync has dropped.
func (n *inode) sync() {
	durable := slices.Clone(n.live)
	for i := range n.doomed {
		if i*sector < len(durable) {
			copy(durable[i*sector:], sectorOf(n.durable, i))
		}
	}
	n.durable, n.sizes = durable, nil
	maps.DeleteFunc(n.dirty, func(i int, _ [][]byte) bool { return !n.doomed[i] })
}

// failSync marks what was to be written as written, which it is not.
func (n *inode) failSync() {
	for i := range n.dirty {
		n.doomed[i] = true
	}
}

// after is what the disk holds when the power is back.
func (n *inode) after(keep Keep, rng *rand.Rand) []byte {
	switch keep {
	case None:
		return slices.Clone(n.durable)
	case All:
		return slices.Clone(n.live)
	}
	size := n.drawSize(rng)
	out := make([]byte, size)
	copy(out, n.durable)
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		versions := n.dirty[i]
		if pick := rng.IntN(len(versions) + 1); pick > 0 && i*sector < size {
			copy(out[i*sector:], versions[pick-1])
		}
	}
	return out
}

// drawSize is a length the file had, or one on the way between two of them.
func (n *inode) drawSize(rng *rand.Rand) int {
	sizes := append([]int{len(n.durable)}, n.sizes...)
	a := sizes[rng.IntN(len(sizes))]
	if rng.IntN(2) == 0 || len(sizes) == 1 {
		return a
	}
	b := sizes[rng.IntN(len(sizes))]
	low, high := min(a, b), max(a, b)
	return low + rng.IntN(high-low+1)
}

// file is an open handle.
type file struct {
	fs       *FS
	node     *inode
	path     string
	writable bool
	closed   bool
}

var _ immuta.File = (*file)(nil)

// begin locks the file system and starts a call; the caller unlocks.
func (f *file) begin(op string) error {
	f.fs.mu.Lock()
	if f.closed {
		return fs.ErrClosed
	}
	err := f.fs.begin(op, f.path)
	if err == nil && !f.writable && (op == "write" || op == "truncate") {
		return fs.ErrPermission
	}
	return err
}

func (f *file) ReadAt(b []byte, offset int64) (int, error) {
	err := f.begin("read")
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return bytes.NewReader(f.node.live).ReadAt(b, offset)
}

func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	err := f.begin("write")
	defer f.fs.mu.Unlock()
	n := len(b)
	switch {
	case f.closed || !f.writable || err == ErrCut:
		return 0, err
	case err != nil && int(offset)+n/2 < len(f.node.live):
		// Kernels stop between two pages of a file that is there already.
		n = max((int(offset)+n/2)/sector*sector-int(offset), 0)
	case err != nil:
		n /= 2
	}
	f.node.write(b[:n], int(offset))
	return n, err
}

func (f *file) Size() (int64, error) {
	err := f.begin("size")
	defer f.fs.mu.Unlock()
	return int64(len(f.node.live)), err
}

func (f *file) Truncate(size int64) error {
	err := f.begin("truncate")
	defer f.fs.mu.Unlock()
	if err == nil && int(size) != len(f.node.live) {
		f.node.resize(int(size))
	}
	return err
}

func (f *file) Sync() error     { return f.sync("sync") }
func (f *file) Datasync() error { return f.sync("datasync") }

func (f *file) sync(op string) error {
	err := f.begin(op)
	defer f.fs.mu.Unlock()
	switch {
	case f.closed || err == ErrCut:
	case err != nil:
		f.node.failSync()
	default:
		f.node.sync()
	}
	return err
}

// Lock fails when another handle of this file system holds the lock.
func (f *file) Lock() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node.locked != nil && f.node.locked != f {
		return immuta.ErrLocked
	}
	f.node.locked = f
	return nil
}

// Close lets go of the lock; closing twice is an error, as with os.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	if f.node.locked == f {
		f.node.locked = nil
	}
	return nil
}
