package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
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

// brim is the most that one append may want for its refusal to mean that the disk
// is full: one that wants more is refused alone, the small ones go on.
const brim = 1 << 20

// headroom keeps appends from taking the last of the disk. What is left is for
// what has to work on a full one, such as setting a torn tail aside. All
// namespaces of a directory share it; its methods may be called from many
// goroutines. Nothing is taken that would leave less than least, with all that is
// on its way; only other programs, and the files derived from the logs, take
// more.
type headroom struct {
	least int64                 // bytes that stay free; 0: appends may take all
	free  func() (int64, error) // bytes that may still be written
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	known   int64 // free bytes at the last look, without what was stored since
	flying  int64 // bytes of appends that have not ended: a look may not see them yet
	looked  time.Time
	low     bool                 // nothing is taken
	need    int64                // what the append wanted that made it so
	blind   bool                 // the disk could not be asked
	refused map[string]time.Time // when the disk refused the last write of a namespace, if it did
}

func newHeadroom(dir string, o Options) *headroom {
	h := &headroom{least: o.MinFree, free: o.free, now: o.Now, log: o.Logger, refused: make(map[string]time.Time)}
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

// onDisk bounds what an append of so many bytes of records takes there: blocks
// have headers and padding, and boxes when they are sealed.
func onDisk(size int) int64 { return int64(size) + int64(size)/16 + 256 }

// take books the bytes of an append until ended, or says why it must not be
// written; "" when it may.
func (h *headroom) take(size int) (problem string) {
	if h.least == 0 {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	need := onDisk(size)
	if since := h.now().Sub(h.looked); since < 0 || since >= lookEvery || h.left(need) < h.least {
		h.look()
	}
	if !h.low && need <= brim && h.known-need < h.least {
		h.turn(true, need)
	}
	if h.low {
		return h.problem()
	}
	if h.left(need) < h.least {
		return fmt.Sprintf("%s, %d are on their way and %d are asked for", h.problem(), h.flying, need)
	}
	h.flying += need
	return ""
}

// left is what will be free when all that is on its way is stored, and so many
// bytes more.
func (h *headroom) left(need int64) int64 { return h.known - h.flying - need }

// ended gives back what take has booked. A look between the two may have seen
// the bytes stored: they are counted twice until the next one.
func (h *headroom) ended(size int, stored bool) {
	if h.least == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flying -= onDisk(size)
	if stored {
		h.known -= onDisk(size)
	}
}

// look asks the disk; the caller holds mu. One that cannot be asked is not taken
// for full: the write will tell.
func (h *headroom) look() {
	free, err := h.free()
	if err != nil {
		free = math.MaxInt64 / 2
		if !h.blind {
			h.log.Warn("the free bytes of the disk are not known: none are kept free, events are taken until it refuses them", "min_free_bytes", h.least, "error", err)
		}
	}
	h.blind = err != nil
	h.known, h.looked = free, h.now()
	if low := free < h.least+h.need; low != h.low {
		h.turn(low, 0)
	}
}

// turn says, once, that from now on nothing is taken, or that events are again.
func (h *headroom) turn(low bool, need int64) {
	h.low, h.need = low, need
	if low {
		h.log.Warn("too little room on the disk: events are refused until there is more", "free_bytes", h.known, "min_free_bytes", h.least)
		return
	}
	h.log.Info("there is room on the disk again: events are taken", "free_bytes", h.known, "min_free_bytes", h.least)
}

func (h *headroom) problem() string {
	return fmt.Sprintf("too little room on the disk: %d bytes are free, wanted at least %d", h.known, h.least+h.need)
}

// told notes what the disk said to an append. On a full one some namespaces go on
// for a while, in space that their logs had before: that is no room for others.
func (h *headroom) told(namespace string, full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if full {
		h.refused[namespace] = h.now()
	} else {
		delete(h.refused, namespace)
	}
}

// inspect returns the bytes that are free, nil when that is not known, and why
// events of a namespace are refused for want of them, if they are.
func (h *headroom) inspect(namespace string) (known *int64, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.least > 0 {
		if h.look(); !h.blind {
			free := h.known
			known = &free
		}
	} else if free, err := h.free(); err == nil {
		known = &free
	}
	if h.low {
		return known, h.problem()
	}
	at, refused := h.refused[namespace]
	if since := h.now().Sub(at); refused && since >= 0 && since < refusedFor {
		problem = "the disk is full: it has refused the last event that came"
	}
	return known, problem
}
