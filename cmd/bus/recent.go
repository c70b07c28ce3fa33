package main

// recent remembers the last ids that were printed. After a reconnect the server
// delivers again what it does not know to be acknowledged, and for a reader that
// acknowledges what it prints those are repeats. They cannot be older than what
// was in flight, so that a bounded memory knows all of them. It is for one
// goroutine.
type recent struct {
	ring []string // the oldest is at next once it is full
	next int
	ids  map[string]bool
}

// newRecent remembers the last size ids.
func newRecent(size int) *recent {
	return &recent{ring: make([]string, 0, size), ids: make(map[string]bool)}
}

// has tells whether the id is remembered.
func (r *recent) has(id string) bool { return r.ids[id] }

// add remembers an id, and forgets the oldest when there is no more room.
func (r *recent) add(id string) {
	r.ids[id] = true
	if len(r.ring) < cap(r.ring) {
		r.ring = append(r.ring, id)
		return
	}
	delete(r.ids, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % len(r.ring)
}
