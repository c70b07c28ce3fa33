package delivery

import (
	"sync"
	"sync/atomic"
)

// flown bounds what all consumers together have in flight. A stream bounds its
// own, but a thousand of them that take and settle nothing would still be too
// much. When it is used up a stream with something in flight gets no more before
// some of it is settled, by whomever; one with nothing in flight gets one event,
// so that everybody goes on.
type flown struct {
	most  int64
	bytes atomic.Int64

	mu      sync.Mutex // guards waiting; nothing else is locked under it
	waiting map[*Stream]struct{}
}

func (b *flown) add(n int) { b.bytes.Add(int64(n)) }

// sub gives bytes back, and wakes who waits for them.
func (b *flown) sub(n int) {
	after := b.bytes.Add(-int64(n))
	if after >= b.most || after+int64(n) < b.most {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.waiting {
		s.notify()
	}
	clear(b.waiting)
}

// usedUp reports whether there is no room for more. If so, the stream is woken
// when there is.
func (b *flown) usedUp(s *Stream) bool {
	if b.bytes.Load() < b.most {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[s] = struct{}{}
	return b.bytes.Load() >= b.most // or it was given back before s stood there
}

func (b *flown) forget(s *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, s)
}
