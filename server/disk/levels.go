package disk

import (
	"slices"
	"sync"
)

// levelBuffer entries are searched one by one before they are sorted, which is
// what makes adding one cheap.
const levelBuffer = 256

// levels is an ordered collection that only grows: sorted slices, each more
// than twice as long as the one after it, and a short unsorted rest. Adding n
// entries in any order costs n log n in all, so that nobody can choose ids that
// make it slow; entries are stored without pointers or gaps, since there may be
// as many as events. It is guarded by its owner.
type levels[T any] struct {
	compare func(a, b T) int
	join    func(sorted []T) []T // may merge neighbours; nil when they never do
	sorted  [][]T
	recent  []T
}

func (l *levels[T]) add(v T) {
	l.recent = append(l.recent, v)
	if len(l.recent) < levelBuffer {
		return
	}
	top := slices.Clone(l.recent)
	slices.SortFunc(top, l.compare)
	l.recent = l.recent[:0]
	for n := len(l.sorted); n > 0 && len(l.sorted[n-1]) <= 2*len(top); n-- {
		top = l.merge(l.sorted[n-1], top)
		l.sorted = l.sorted[:n-1]
	}
	l.sorted = append(l.sorted, top)
}

func (l *levels[T]) merge(a, b []T) []T {
	all := make([]T, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if l.compare(a[0], b[0]) <= 0 {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	all = append(append(all, a...), b...)
	if l.join != nil {
		all = l.join(all)
	}
	return all
}

// each calls visit with the neighbours of key in every sorted slice: the last
// entry that is not after key, and the first one that is. Entries of the
// unsorted rest come one by one, as either. ok says which of the two exist.
func (l *levels[T]) each(key T, visit func(entry T)) {
	for _, s := range l.sorted {
		i, found := slices.BinarySearchFunc(s, key, l.compare)
		if found {
			visit(s[i])
			continue
		}
		if i > 0 {
			visit(s[i-1])
		}
		if i < len(s) {
			visit(s[i])
		}
	}
	for _, v := range l.recent {
		visit(v)
	}
}

// forget drops entries from what is sorted. Its owner's lock is held only to look
// and to replace: a sorted slice is never changed, and there may be as many
// entries as events. What is not sorted yet stays until another time.
func (l *levels[T]) forget(mu sync.Locker, gone func(T) bool) {
	mu.Lock()
	all := slices.Clone(l.sorted)
	mu.Unlock()
	for _, old := range all {
		kept := slices.Clip(slices.DeleteFunc(slices.Clone(old), gone))
		if len(kept) == len(old) {
			continue
		}
		mu.Lock()
		i := slices.IndexFunc(l.sorted, func(s []T) bool { return &s[0] == &old[0] })
		switch {
		case i < 0: // it was merged meanwhile, and is looked at the next time
		case len(kept) == 0:
			l.sorted = slices.Delete(l.sorted, i, i+1)
		default:
			l.sorted[i] = slices.Clone(kept) // no more memory than it takes
		}
		mu.Unlock()
	}
}
