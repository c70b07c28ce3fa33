package bench

import (
	"fmt"
	"sync"
)

// tally counts receipts: each index from first to last exactly once, or the run
// is no run.
type tally struct {
	mu    sync.Mutex
	first uint64
	seen  []uint64 // bits
	count int
	last  uint64
}

// add takes the indexes that one publisher was answered, in their order.
func (t *tally) add(indexes []uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := uint64(0)
	for _, index := range indexes {
		if index <= before {
			return fmt.Errorf("answered index %d after %d: out of order", index, before)
		}
		before = index
		at := index / 64
		for uint64(len(t.seen)) <= at {
			t.seen = append(t.seen, make([]uint64, at+1-uint64(len(t.seen))+1024)...)
		}
		if t.seen[at]&(1<<(index%64)) != 0 {
			return fmt.Errorf("index %d was answered twice", index)
		}
		t.seen[at] |= 1 << (index % 64)
		t.count++
		t.last = max(t.last, index)
		if t.first == 0 || index < t.first {
			t.first = index
		}
	}
	return nil
}

// check returns how many there were when there is no hole between them.
func (t *tally) check() (int, error) {
	if span := int(t.last - t.first + 1); t.count > 0 && span != t.count {
		return 0, fmt.Errorf("%d events were answered, from index %d to %d: %d are missing", t.count, t.first, t.last, span-t.count)
	}
	return t.count, nil
}
