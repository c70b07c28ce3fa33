package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"example.com/bus/immuta"
)

// lookEvery is how long a look at the disk counts: other programs fill it too.
const lookEvery = 100 * time.Millisecond

// refusedFor is how long a disk counts as full after it has refused a write, when
// its free space does not say so, as under a quota. Nobody sends an event to a
// server that is not ready, so it has to become ready by itself to find out.
const refusedFor = 10 * time.Second

// headroom keeps appends from taking the last of the disk. What is left is for
// what has to work on a full one, such as setting a torn tail aside. All
// namespaces of a directory share it; its methods may be called from many
// goroutines. While less than least is free nothing is taken; what is on its way
// when that comes about is stored, so that a little less than least may stay.
type headroom struct {
	least int64                 // bytes that stay free; 0: appends may take all
	free  func() (int64, error) // bytes that may still be written
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	known   int64 // free bytes at the last look, without what was taken since
	looked  time.Time
	low     bool
	refused time.Time // when the disk refused the last write; zero: it did not
}

func newHeadroom(dir string, o Options) *headroom {
	h := &headroom{least: o.MinFree, free: o.free, now: o.Now, log: o.Logger}
	if h.now == nil {
		h.now = time.Now
	}
	if disk, ok := o.FS.(immuta.Roomy); ok && h.free == nil {
		h.free = func() (int64, error) { return disk.Free(dir) }
	}
	if h.free == nil {
		h.free = func() (int64, error) { return 0, errors.ErrUnsupported }
	}
	return h
}

// take books the bytes of an append, or says why it must not be written; "" when
// it may.
func (h *headroom) take(size int) (problem string) {
	if h.least == 0 {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if since := h.now().Sub(h.looked); since < 0 || since >= lookEvery || h.known < h.least {
		h.look()
	}
	if h.low {
		return h.problem()
	}
	h.known -= int64(size)
	return ""
}

// look asks the disk; the caller holds mu. One that cannot be asked is not taken
// for full: the write will tell.
func (h *headroom) look() {
	free, err := h.free()
	if err != nil {
		free = h.least
	}
	h.known, h.looked = free, h.now()
	if low := free < h.least; low != h.low {
		h.low = low
		if low {
			h.log.Warn("too little room on the disk: events are refused until there is more", "free_bytes", free, "min_free_bytes", h.least)
			return
		}
		h.log.Info("there is room on the disk again: events are taken", "free_bytes", free, "min_free_bytes", h.least)
	}
}

func (h *headroom) problem() string {
	return fmt.Sprintf("too little room on the disk: %d bytes are free, wanted at least %d", h.known, h.least)
}

// told notes what the disk said to an append.
func (h *headroom) told(full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = time.Time{}
	if full {
		h.refused = h.now()
	}
}

// inspect returns the bytes that are free, nil when that is not known, and why
// events are refused for want of them, if they are.
func (h *headroom) inspect() (known *int64, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.least > 0 {
		h.look()
	}
	if free, err := h.free(); err == nil {
		known = &free
	}
	if h.low {
		return known, h.problem()
	}
	if since := h.now().Sub(h.refused); !h.refused.IsZero() && since >= 0 && since < refusedFor {
		problem = "the disk is full: it has refused the last event that came"
	}
	return known, problem
}
