package disk

import (
	"fmt"
	"sync"
)

// quota is what appends have on their way in a namespace that refuses what passes
// its limits. Without it several at once would each find room for one.
type quota struct {
	mu     sync.Mutex // guards all below
	events uint64
	bytes  int64
}

// take books an append until ended, or says which limit it would pass; "" when
// none. An append that has ended and is still booked counts twice for a moment:
// near the limit one may be refused that would just have fitted.
func (n *namespace) take(events int, size int) (booked bool, problem string) {
	r := n.policy.Load()
	if !r.DiscardNew {
		return false, ""
	}
	q := &n.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	s := n.log.Stat()
	held := s.Given - s.First + q.events
	bytes := s.Bytes + s.Unseen + q.bytes
	switch {
	case r.MaxEvents > 0 && held+uint64(events) > r.MaxEvents:
		return false, fmt.Sprintf("it holds %s, and its limit is %d (%s)", counted(held), r.MaxEvents, r)
	case r.MaxBytes > 0 && bytes+onDisk(size) > r.MaxBytes:
		return false, fmt.Sprintf("it has %d bytes and up to %d more are asked for, and its limit is %d (%s)", bytes, onDisk(size), r.MaxBytes, r)
	}
	q.events += uint64(events)
	q.bytes += onDisk(size)
	return true, ""
}

// counted is a number of events in words.
func counted(events uint64) string {
	if events == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", events)
}

// ended gives back what take has booked; booked is false when it has not, since
// the policy was another one.
func (q *quota) ended(booked bool, events int, size int) {
	if !booked {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events -= min(q.events, uint64(events))
	q.bytes -= min(q.bytes, onDisk(size))
}
