package disk

import (
	"slices"
	"time"
)

// A span is a range of indexes [from, next) whose ids are known, and the commit
// time of its last event.
type span struct {
	from, next uint64
	at         time.Time
}

// spans says which indexes are known. Appends are answered in any order, so
// there may be gaps for a moment; neighbours are merged, and the list is as long
// as appends overlap. It is guarded by its owner.
type spans struct {
	list []span // sorted, apart from each other
}

func (s *spans) add(n span) {
	if n.next <= n.from {
		return
	}
	i, _ := slices.BinarySearchFunc(s.list, n.from, func(o span, from uint64) int {
		if o.next < from {
			return -1
		}
		return 1
	})
	// From i on, spans touch the new one or lie after it.
	j := i
	for ; j < len(s.list) && s.list[j].from <= n.next; j++ {
		if o := s.list[j]; o.next > n.next || o.next == n.next && o.at.After(n.at) {
			n.next, n.at = o.next, o.at
		}
		n.from = min(n.from, s.list[j].from)
	}
	s.list = slices.Replace(s.list, i, j, n)
}

// prefix returns what is known from the beginning without a gap. Index 0 is no
// event, so a log of which nothing is known has the prefix [0, 1).
func (s *spans) prefix() span {
	if len(s.list) > 0 && s.list[0].from <= 1 {
		return s.list[0]
	}
	return span{next: 1}
}
