package server

import (
	"sync/atomic"

	"example.com/bus"
)

// freeBytes is what a request may hold without asking the budget: nearly all
// requests need no more, and its connection costs as much anyway.
const freeBytes = 8 << 10

// budget bounds what all requests hold in memory at once: bodies that are being
// read, arrays that are being built and single events that are being written.
// Each has a limit of its own, but many slow ones together would still be too
// much.
type budget struct {
	most    int64
	refused func(error) error // counts and tells of a refusal, and returns it
	held    atomic.Int64
}

// lease is what one request holds. It belongs to one goroutine.
type lease struct {
	budget *budget
	held   int64
}

func (b *budget) lease() *lease { return &lease{budget: b} }

// cover makes the lease hold size bytes, or refuses when that is too much for
// all together. What it holds already it keeps.
func (l *lease) cover(size int) error {
	more := int64(size) - freeBytes - l.held
	if more <= 0 {
		return nil
	}
	if l.budget.held.Add(more) > l.budget.most {
		l.budget.held.Add(-more)
		return l.budget.refused(bus.ErrUnavailable.With("large requests hold %d MiB already, which is all they may; send it again in a moment", l.budget.most>>20))
	}
	l.held += more
	return nil
}

// keep gives back what the lease holds beyond size bytes.
func (l *lease) keep(size int) {
	if less := l.held - max(int64(size)-freeBytes, 0); less > 0 {
		l.budget.held.Add(-less)
		l.held -= less
	}
}

// end gives everything back.
func (l *lease) end() { l.keep(0) }
