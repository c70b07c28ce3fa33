package delivery

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"example.com/bus"
)

// Defaults of the memory of keys.
const (
	defaultDedupWindow = 10 * time.Minute
	defaultDedupKeys   = 1_000_000
)

// Dedup remembers the idempotency keys of events that have been appended, so
// that a repeated publish gets the first one's receipt. A key counts only once
// its event is stored. Keys are kept as hashes; HTTP_API.md says what they cost.
// A full memory forgets its oldest keys. All methods may be called from many
// goroutines.
type Dedup struct {
	window time.Duration
	most   int
	start  time.Time

	mu      sync.Mutex // guards the rest
	known   map[digest]uint32
	pending map[digest]*Reservation // keys that are being appended right now
	seen    map[string]*history     // by namespace
	entries []entry                 // slots; the free ones are listed in free
	free    []uint32
	strange map[uint32]string // ids that their position does not tell, by slot
}

// digest is a namespace and key, hashed so that a key of any length costs the same.
type digest [16]byte

// entry is one key. It holds no pointer: a million of them cost the garbage
// collector nothing.
type entry struct {
	key         digest
	fingerprint [16]byte
	position    bus.Position
	createdAt   int64         // Unix nanoseconds
	until       time.Duration // when it is forgotten, by Dedup.now
}

// Key is an idempotency key with a hash of what was published under it.
type Key struct {
	Key         string
	Fingerprint [16]byte
}

// Receipt is what the publisher of an event was told.
type Receipt struct {
	Index     uint64
	ID        string
	CreatedAt time.Time
}

// Duplicate is the receipt of the event that has the key already.
type Duplicate = Receipt

// Reservation holds keys between Begin and Commit or Abort. One of them must
// be called; the second call, and the other, do nothing.
type Reservation struct {
	dedup        *Dedup
	namespace    string
	keys         []digest
	fingerprints [][16]byte
	done         chan struct{} // closed by Commit and Abort
}

// NewDedup returns an empty memory: keys are remembered for window, 10 min when
// it is not positive, and the last most of them in each namespace, 1,000,000 when not positive.
func NewDedup(window time.Duration, most int) *Dedup {
	if window <= 0 {
		window = defaultDedupWindow
	}
	return &Dedup{
		window:  window,
		start:   time.Now(),
		most:    orDefault(most, defaultDedupKeys),
		known:   make(map[digest]uint32),
		pending: make(map[digest]*Reservation),
		seen:    make(map[string]*history),
		strange: make(map[uint32]string),
	}
}

// now is the time that has passed. A clock that is set to another time forgets no
// key by it, and keeps none.
func (d *Dedup) now() time.Duration { return time.Since(d.start) }

func digestOf(namespace, key string) digest {
	h := sha256.New()
	h.Write([]byte(namespace))
	h.Write([]byte{0}) // no namespace has it, so no two pairs read the same
	h.Write([]byte(key))
	var sum [sha256.Size]byte
	return digest(h.Sum(sum[:0]))
}

// Begin reserves a key for an append, or returns the receipt of the event that
// has it. A key that is being appended by another request is waited for, until
// ctx ends; then it is decided anew. Errors: bus.ErrKeyConflict when the key
// stands for another content, ctx's.
func (d *Dedup) Begin(ctx context.Context, namespace, key string, fingerprint [16]byte) (*Reservation, *Duplicate, error) {
	r, duplicates, err := d.BeginBatch(ctx, namespace, []Key{{key, fingerprint}})
	if err != nil || r != nil {
		return r, nil, err
	}
	return nil, duplicates[0], nil
}

// BeginBatch reserves all the keys of a batch that are new, in one step, so
// that two batches cannot wait for each other. duplicates has an item for each
// key: nil for a new one. The reservation is nil when no key is new. A key that
// stands twice in the batch is bus.ErrKeyConflict; with any error nothing is
// reserved.
func (d *Dedup) BeginBatch(ctx context.Context, namespace string, keys []Key) (*Reservation, []*Duplicate, error) {
	digests := make([]digest, len(keys))
	twice := make(map[digest]bool, len(keys))
	for i, k := range keys {
		digests[i] = digestOf(namespace, k.Key)
		if twice[digests[i]] {
			return nil, nil, bus.ErrKeyConflict.With("key %.80q stands twice in the batch: give each event its own", k.Key)
		}
		twice[digests[i]] = true
	}
	for {
		r, duplicates, busy, err := d.try(namespace, keys, digests)
		if busy == nil {
			return r, duplicates, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// try decides on all keys at once, unless one of them is being appended: then
// it returns the channel to wait on, and holds nothing.
func (d *Dedup) try(namespace string, keys []Key, digests []digest) (*Reservation, []*Duplicate, <-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	d.expire(now)
	for _, key := range digests {
		if other := d.pending[key]; other != nil {
			return nil, nil, other.done, nil
		}
	}
	r := &Reservation{dedup: d, namespace: namespace, done: make(chan struct{})}
	duplicates := make([]*Duplicate, len(keys))
	for i, key := range digests {
		slot, known := d.known[key]
		switch {
		case !known || d.entries[slot].until <= now:
			r.keys = append(r.keys, key)
			r.fingerprints = append(r.fingerprints, keys[i].Fingerprint)
		case d.entries[slot].fingerprint != keys[i].Fingerprint:
			return nil, nil, nil, bus.ErrKeyConflict.With("key %.80q was used with another content less than %v ago: use a new key for a new event", keys[i].Key, d.window)
		default:
			duplicates[i] = d.receipt(slot)
		}
	}
	if len(r.keys) == 0 {
		return nil, duplicates, nil, nil
	}
	for _, key := range r.keys {
		d.pending[key] = r
	}
	return r, duplicates, nil, nil
}

// Commit remembers the reserved keys, after their events are stored. There is
// one receipt for each key that was new, in the order of the batch; keys
// without a receipt are forgotten as by Abort. early is how many older keys had to
// be forgotten within their window to make room.
func (r *Reservation) Commit(receipts ...Receipt) (early int) {
	d := r.dedup
	d.mu.Lock()
	defer d.mu.Unlock()
	if !r.end() {
		return 0
	}
	now := d.now()
	for i, key := range r.keys[:min(len(r.keys), len(receipts))] {
		early += d.remember(r.namespace, key, r.fingerprints[i], receipts[i], now, now+d.window)
	}
	return early
}

// Abort forgets the reservation: the append failed, and a repeat shall be able
// to succeed.
func (r *Reservation) Abort() {
	r.dedup.mu.Lock()
	defer r.dedup.mu.Unlock()
	r.end()
}

// end lets those who wait decide anew; they see what the caller remembers,
// for it holds d.mu. It reports false when the reservation has ended before.
func (r *Reservation) end() bool {
	select {
	case <-r.done:
		return false
	default:
	}
	close(r.done)
	for _, key := range r.keys {
		delete(r.dedup.pending, key)
	}
	return true
}
