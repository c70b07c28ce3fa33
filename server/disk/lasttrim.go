package disk

import (
	"slices"

	"example.com/bus"
)

// trimmed gives room back when what was below an index is deleted: subjects that
// name an order or a day come and go for ever, and only those of events that are
// kept may count. Who has copied the old table may read it.
func (l *lasts) trimmed(first uint64) {
	l.lock()
	defer l.unlock()
	if l.reading != nil {
		return // what it reads, and what is stored meanwhile, is joined at its end
	}
	l.over = false // who asks next has the log read, and hears it when there are still too many
	if !l.known.Load() {
		return
	}
	if slices.ContainsFunc(l.lost, func(d bus.DamageError) bool { return d.Next <= first }) {
		l.lost = slices.DeleteFunc(slices.Clone(l.lost), func(d bus.DamageError) bool { return d.Next <= first })
	}
	l.shrink(first)
}

// shrink makes a table of the subjects that have an event at or behind an index, when
// there are enough others. The caller holds the lock, and no commit is at hand.
func (l *lasts) shrink(first uint64) {
	gone := 0
	for slot, last := range l.table.last {
		if last < first && l.table.places[uint32(slot)] < first {
			gone++
		}
	}
	if 8*gone < len(l.table.last) {
		return // commits wait for this: not for a few
	}
	kept := newLastTable()
	for slot, last := range l.table.last {
		at, apart := l.table.places[uint32(slot)]
		if last < first && at < first {
			continue
		}
		anew := kept.add(l.table.subjects[slot])
		if kept.last[anew] = last; apart {
			kept.places[anew] = at
		}
	}
	l.table = kept
	l.size.Store(int64(len(kept.subjects)))
}
