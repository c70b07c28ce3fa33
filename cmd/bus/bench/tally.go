package bench

import (
	"fmt"
	"slices"
)

// tally is what publishers were answered: each index once, and none missing, or
// the run is no run.
type tally struct {
	indexes []uint64
	sorted  bool
}

// add takes the indexes that one publisher was answered, in their order.
func (t *tally) add(indexes []uint64) error {
	for i, index := range indexes {
		if i > 0 && index <= indexes[i-1] {
			return fmt.Errorf("answered index %d after %d: out of order", index, indexes[i-1])
		}
	}
	t.indexes = append(t.indexes, indexes...)
	t.sorted = false
	return nil
}

// check finds an index that two were answered. On a log of our own, dense, all
// numbers from 1 on have to be there.
func (t *tally) check(dense bool) error {
	slices.Sort(t.indexes)
	t.sorted = true
	for i, index := range t.indexes {
		if i > 0 && index == t.indexes[i-1] {
			return fmt.Errorf("index %d was answered twice", index)
		}
		if dense && index != uint64(i+1) {
			return fmt.Errorf("%d events were answered, the last with index %d: index %d is missing", len(t.indexes), slices.Max(t.indexes), i+1)
		}
	}
	return nil
}
