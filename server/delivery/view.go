package delivery

import (
	"container/list"
	"slices"
	"strings"
	"sync"

	"example.com/bus"
)

// firstSlab is the size of a view's first slab. Each full one is followed by
// one of twice the size, so that ten thousand views that see an event now and
// then do not hold a big slab each.
const firstSlab = 1 << 10

// viewKey says which streams can share frames: same feed, same patterns in any
// order, same format.
type viewKey struct {
	format   *Format
	patterns string
}

func keyOf(format *Format, patterns []bus.Pattern) viewKey {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.String()
	}
	slices.Sort(texts)
	return viewKey{format, strings.Join(slices.Compact(texts), " ")}
}

// view is one sequence of ready frames for all streams that asked for the same
// thing. Offsets count bytes from the view's beginning and never wrap; a
// stream is an offset, so a sleeping stream holds no buffer.
type view struct {
	key      viewKey
	patterns []bus.Pattern
	sink     *sink
	frame    *frame
	streams  int // attached ones; guarded by feed.mu, as is all writing

	mu      sync.Mutex // guards the rest, and waitSlot of the streams that wait
	slabs   []*slab    // kept ones, oldest first; the last is written to
	end     uint64     // offset up to which readers may read
	count   uint64     // frames below end
	next    uint64     // feed position when end was set
	size    int        // of the last slab
	ended   bool       // the feed let go: after end there is nothing more to come
	err     error      // why, when a stream cannot just read the log
	waiters []*Stream
}

// slab is append-only: bytes below end never change, so readers take slices of
// data and keep them as long as they like. A full one is replaced, never reused.
type slab struct {
	view *view
	elem *list.Element // in feed.slabs, oldest first

	data  []byte // all of its capacity
	fill  int    // written; the feed's
	end   int    // readable; guarded by view.mu
	base  uint64 // offset of data[0]
	count uint64 // frames in the view up to end
	wrote uint64 // frames in the view up to fill; the feed's
	next  uint64 // one past the last index considered, once a newer slab follows
}

// append adds an event's frame. It becomes readable with flush, or earlier
// when the slab is full. Called by the feed with feed.mu held.
func (v *view) append(f *feed, e *bus.Event) {
	b := v.frame.of(e)
	s := v.tail()
	if s == nil || len(s.data)-s.fill < len(b) {
		s = v.rotate(f, e.Index, len(b))
	}
	s.fill += copy(s.data[s.fill:], b)
	s.wrote++
}

// tail is the slab that is written to. Only the feed changes v.slabs, so the
// feed may read it without view.mu.
func (v *view) tail() *slab {
	if len(v.slabs) == 0 {
		return nil
	}
	return v.slabs[len(v.slabs)-1]
}

// rotate seals the slab at hand, whose readers have then considered everything
// below index, and starts one with room for need bytes.
func (v *view) rotate(f *feed, index uint64, need int) *slab {
	v.mu.Lock()
	if s := v.tail(); s != nil {
		v.publish(s)
		s.next = index
	}
	v.size = min(max(2*v.size, firstSlab), f.hub.slabBytes)
	s := &slab{view: v, data: make([]byte, max(v.size, need)), base: v.end, count: v.count, wrote: v.count}
	v.slabs = append(v.slabs, s)
	v.mu.Unlock()
	f.keep(s)
	return s
}

// publish makes what was written readable. The caller holds v.mu.
func (v *view) publish(s *slab) {
	s.end, s.count = s.fill, s.wrote
	v.end, v.count = s.base+uint64(s.end), s.count
}

// flush makes everything readable and appends those who wait for it to wake.
func (v *view) flush(next uint64, wake []*Stream) []*Stream {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.tail(); s != nil {
		v.publish(s)
	}
	v.next = next
	return v.rouse(wake)
}

func (v *view) rouse(wake []*Stream) []*Stream {
	for _, s := range v.waiters {
		s.waitSlot = 0
	}
	wake = append(wake, v.waiters...)
	clear(v.waiters)
	v.waiters = v.waiters[:0]
	return wake
}

// finish ends the view: its streams read what is there and go on by themselves
// from next, or end with err.
func (v *view) finish(next uint64, err error, wake []*Stream) []*Stream {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended, v.err, v.next = true, err, next
	return v.rouse(wake)
}

// drop lets the oldest slab go. Streams that still needed it read the log. The
// slab may hold frames of the batch at hand; they count as published, or streams
// would not see that they miss them.
func (v *view) drop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.slabs) == 1 {
		v.publish(v.slabs[0])
	}
	v.slabs[0] = nil
	v.slabs = v.slabs[1:]
	if len(v.slabs) == 0 {
		v.slabs, v.size = nil, 0
	}
}

// viewState is what reading a view came to.
type viewState uint8

const (
	viewRead    viewState = iota // there are frames
	viewWaiting                  // nothing now; the stream is woken when there is
	viewBehind                   // the frames at the offset are gone, or none will follow
)

// read returns everything readable at the mark that lies in one slab, and moves
// the mark behind it. It copies nothing and allocates nothing.
func (v *view) read(m *mark, waiter *Stream) (frames []byte, n int, state viewState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.offset == v.end {
		return nil, 0, v.atEnd(m, waiter)
	}
	s := v.find(m.offset)
	if s == nil {
		return nil, 0, viewBehind
	}
	frames = s.data[m.offset-s.base : s.end : s.end]
	n = int(s.count - m.count)
	m.offset, m.count = s.base+uint64(s.end), s.count
	m.index = max(m.index, v.next)
	if s.next != 0 {
		m.index = s.next // a newer slab holds what the view's next already counts
	}
	return frames, n, viewRead
}

func (v *view) atEnd(m *mark, waiter *Stream) viewState {
	if v.ended {
		m.index, m.err = max(m.index, v.next), v.err
		return viewBehind
	}
	if waiter.waitSlot == 0 {
		v.waiters = append(v.waiters, waiter)
		waiter.waitSlot = len(v.waiters)
	}
	return viewWaiting
}

// caughtUp moves a mark that is at the view's end to where that is in the log.
func (v *view) caughtUp(m *mark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.offset == v.end {
		m.index = max(m.index, v.next)
	}
}

// find returns the slab that holds the offset, nil when it is gone. Streams are
// mostly near the end, so it looks from there.
func (v *view) find(offset uint64) *slab {
	for _, s := range slices.Backward(v.slabs) {
		if offset >= s.base {
			if offset < s.base+uint64(s.end) {
				return s
			}
			return nil
		}
	}
	return nil
}

// forget takes a stream that leaves out of the waiters, in constant time:
// thousands may leave at once.
func (v *view) forget(s *Stream) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.waitSlot == 0 {
		return
	}
	last := len(v.waiters) - 1
	moved := v.waiters[last]
	v.waiters[s.waitSlot-1], moved.waitSlot = moved, s.waitSlot
	v.waiters[last] = nil
	v.waiters = v.waiters[:last]
	s.waitSlot = 0
}

// mark is where a stream stands in a view.
type mark struct {
	offset uint64 // in the view
	count  uint64 // frames below offset
	index  uint64 // everything below is considered
	err    error  // why the view ended
}

// idle reports whether the mark is at the end of a view that goes on.
func (v *view) idle(m mark) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return m.offset == v.end && !v.ended
}

// frame is the newest frame of a format, so that an event is encoded once for
// all views of a feed that show it in that format.
type frame struct {
	format *Format
	views  int
	event  *bus.Event
	bytes  []byte
}

func (fr *frame) of(e *bus.Event) []byte {
	if fr.event != e {
		fr.bytes = fr.format.Encode(fr.bytes[:0], e)
		fr.event = e
	}
	return fr.bytes
}

// trim forgets the event, and a buffer that one big event has blown up.
func (fr *frame) trim() {
	fr.event = nil
	if cap(fr.bytes) > chunkBytes {
		fr.bytes = nil
	}
}
