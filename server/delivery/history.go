package delivery

import (
	"time"

	"example.com/bus"
)

// expireStep is how many keys of a namespace one call forgets at most. Two
// would keep pace with the keys that come.
const expireStep = 256

// Entry is a key as it was stored with its event.
type Entry struct {
	Key
	Receipt
	At time.Time // when it was committed; the zero time means CreatedAt
}

// Load remembers keys of events that are in the log, at start. The entries of
// a namespace come in the order of the log; those older than the window are
// passed over.
func (d *Dedup) Load(namespace string, entries []Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, clock := d.now(), time.Now()
	for i := range entries {
		e := &entries[i]
		at := e.At
		if at.IsZero() {
			at = e.CreatedAt
		}
		// A clock that went back must not make a key live longer than the window.
		left := d.window - max(clock.Sub(at), 0)
		if left <= 0 {
			continue
		}
		d.remember(namespace, digestOf(namespace, e.Key.Key), e.Fingerprint, e.Receipt, now, now+left)
	}
}

// Forget forgets all keys of a namespace that is deleted.
func (d *Dedup) Forget(namespace string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.seen[namespace]
	if h == nil {
		return
	}
	for h.count > 0 {
		d.forget(h)
	}
	delete(d.seen, namespace)
}

// Len returns how many keys are kept, some of which may just be over.
func (d *Dedup) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(d.now())
	return len(d.known)
}

// Kept returns how many keys of a namespace are remembered, some of which may just
// be over, and how many were forgotten early: within their window, because
// newer ones needed the room. Where early grows, the window is shorter than asked
// for.
func (d *Dedup) Kept(namespace string) (keys int, early uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.seen[namespace]; h != nil {
		keys, early = h.count, h.early
	}
	return keys, early
}

// history lists the keys of one namespace in the order they were remembered,
// which is the order they expire in: the oldest is always at the front, and
// nothing is ever scanned. It is a ring of slots.
type history struct {
	slots []uint32
	head  int
	count int
	early uint64 // forgotten before their time
}

func (h *history) push(slot uint32) {
	if h.count == len(h.slots) {
		grown := make([]uint32, max(16, 2*len(h.slots)))
		n := copy(grown, h.slots[h.head:])
		copy(grown[n:], h.slots[:h.head])
		h.slots, h.head = grown, 0
	}
	h.slots[(h.head+h.count)%len(h.slots)] = slot
	h.count++
}

func (h *history) front() uint32 { return h.slots[h.head] }

func (h *history) pop() uint32 {
	slot := h.slots[h.head]
	h.head = (h.head + 1) % len(h.slots)
	h.count--
	return slot
}

// remember adds a key, or replaces what was known under it. The oldest makes room
// for it; early is how many of those were not over yet. The caller holds d.mu.
func (d *Dedup) remember(namespace string, key digest, fingerprint [16]byte, r Receipt, now, until time.Duration) (early int) {
	h := d.seen[namespace]
	if h == nil {
		h = &history{}
		d.seen[namespace] = h
	}
	// What was known under the key has expired, or came twice from the log: its
	// slot stays in the history, but no longer owns the key.
	delete(d.known, key)
	for h.count >= d.most {
		if e := &d.entries[h.front()]; e.until > now && d.known[e.key] == h.front() {
			early++
		}
		d.forget(h)
	}
	slot := d.slot()
	position, ours := bus.ParseEventID(r.ID)
	if !ours || position.Index != r.Index {
		position = bus.Position{Index: r.Index}
		d.strange[slot] = r.ID
	}
	d.entries[slot] = entry{key: key, fingerprint: fingerprint, position: position, createdAt: r.CreatedAt.UnixNano(), until: until}
	d.known[key] = slot
	h.push(slot)
	h.early += uint64(early)
	return early
}

func (d *Dedup) slot() uint32 {
	if n := len(d.free); n > 0 {
		slot := d.free[n-1]
		d.free = d.free[:n-1]
		return slot
	}
	d.entries = append(d.entries, entry{})
	return uint32(len(d.entries) - 1)
}

// receipt returns what the publisher of a known key was told.
func (d *Dedup) receipt(slot uint32) *Duplicate {
	e := &d.entries[slot]
	id, strange := d.strange[slot]
	if !strange {
		id = bus.FormatID(e.position)
	}
	return &Duplicate{Index: e.position.Index, ID: id, CreatedAt: time.Unix(0, e.createdAt).UTC()}
}

// expire forgets what is over, front by front, and at most expireStep keys a
// namespace: after a quiet time a million may be over at once, and one publish
// must not pay for all of them. What is left counts as unknown all the same.
func (d *Dedup) expire(now time.Duration) {
	for _, h := range d.seen {
		for n := 0; n < expireStep && h.count > 0 && d.entries[h.front()].until <= now; n++ {
			d.forget(h)
		}
	}
}

// forget drops the front of a history.
func (d *Dedup) forget(h *history) {
	slot := h.pop()
	e := &d.entries[slot]
	if d.known[e.key] == slot {
		delete(d.known, e.key)
	}
	delete(d.strange, slot)
	*e = entry{}
	d.free = append(d.free, slot)
}
