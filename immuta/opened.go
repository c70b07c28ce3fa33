package immuta

import "sync"

// maxOpened bounds the plain bytes that readers of one log share. There are none
// unless two read from the file at the same time.
const maxOpened = 4 << 20

// openedBlocks lets the readers of a sealed log share the blocks that one of
// them has opened: opening is nearly half of what reading a block costs, and who
// reads a log again together, after a restart or a deployment, is at about the
// same place. It may be used from many goroutines; nil shares nothing.
type openedBlocks struct {
	mu      sync.Mutex
	readers int // that read from the file, and have not come to its end
	blocks  map[int64]cached
	order   []int64 // offsets, the oldest first
	bytes   int
}

// join counts a reader in.
func (o *openedBlocks) join() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.readers++
}

// leave counts a reader out. What was shared goes with the last but one.
func (o *openedBlocks) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.readers--; o.readers < 2 {
		o.blocks, o.order, o.bytes = nil, nil, 0
	}
}

// shared reports whether there is anybody to share with.
func (o *openedBlocks) shared() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.readers > 1
}

// get returns the block at offset of a part, if it begins with the record that is
// due. Another file may have the same record there: the one before a rewrite.
func (o *openedBlocks) get(p *part, offset int64, due uint64) (cached, bool) {
	if o == nil {
		return cached{}, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.blocks[offset]
	return c, ok && c.part == p && c.First == due
}

// put shares a block, which must hold no memory but its own.
func (o *openedBlocks) put(offset int64, c cached) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.blocks[offset]; ok || o.readers < 2 {
		return
	}
	if o.blocks == nil {
		o.blocks = make(map[int64]cached)
	}
	o.blocks[offset] = c
	o.order = append(o.order, offset)
	o.bytes += c.cost()
	for o.bytes > maxOpened && len(o.order) > 1 {
		old := o.blocks[o.order[0]]
		delete(o.blocks, o.order[0])
		o.order = o.order[1:]
		o.bytes -= old.cost()
	}
}
