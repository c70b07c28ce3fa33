package delivery

import (
	"bytes"
	"strings"

	"sort"

	"example.com/bus"
)

// eventOverhead is what an event weighs beside its payload: the struct, its
// strings, the slice that holds it. It keeps a ring of empty payloads bounded.
const (
	eventOverhead  = 256
	headerOverhead = 64 // of a header in its map
)

// weigh is the memory of an event, near enough for bounds.
func weigh(e *bus.Event) int {
	n := len(e.Payload) + eventOverhead
	for name, value := range e.Headers {
		n += len(name) + len(value) + headerOverhead
	}
	return n
}

// own returns a copy that shares no memory. An event that was read shares it
// with all that were committed or read with it: who keeps one would keep
// megabytes.
func own(e *bus.Event) *bus.Event {
	c := *e
	c.Payload = bytes.Clone(e.Payload)
	for _, text := range []*string{&c.Id, &c.Subject, &c.TraceId, &c.Key, &c.ResponseSubject, &c.ContentType} {
		*text = strings.Clone(*text)
	}
	c.Headers = nil
	for name, value := range e.Headers {
		if c.Headers == nil {
			c.Headers = make(map[string]string, len(e.Headers))
		}
		c.Headers[strings.Clone(name)] = strings.Clone(value)
	}
	return &c
}

// batch is what one Reader.Next returned.
type batch struct {
	events []bus.Event
	bytes  int
}

// ring keeps the newest batches of a feed, bounded by bytes, so that a stream
// that is only a little behind needs no reader of its own. The newest batch
// stays whatever it weighs. The feed guards it.
type ring struct {
	batches []batch
	head    int // batches[:head] are gone
	bytes   int
	limit   int
	first   uint64 // everything from here to the feed's next is in batches
}

// reset empties the ring; the next event to come has index next.
func (r *ring) reset(next uint64) {
	*r = ring{limit: r.limit, first: next}
}

func (r *ring) add(events []bus.Event) {
	b := batch{events: events}
	for i := range events {
		b.bytes += weigh(&events[i])
	}
	r.batches = append(r.batches, b)
	r.bytes += b.bytes
	for r.bytes > r.limit && r.head < len(r.batches)-1 {
		r.drop()
	}
	r.compact()
}

func (r *ring) drop() {
	b := &r.batches[r.head]
	r.bytes -= b.bytes
	r.first = lastIndex(b.events) + 1
	*b = batch{} // the events are the garbage collector's
	r.head++
}

// compact moves the live half to the front, so that the slice stays as short
// as twice what it holds.
func (r *ring) compact() {
	if r.head < 64 || r.head < len(r.batches)/2 {
		return
	}
	n := copy(r.batches, r.batches[r.head:])
	clear(r.batches[n:])
	r.batches, r.head = r.batches[:n], 0
}

// take appends the batches that hold events from index pos on, until they
// weigh most or there are no more. The first may begin below pos. It returns
// one past the last event taken.
func (r *ring) take(dst [][]bus.Event, pos uint64, most int) (_ [][]bus.Event, next uint64) {
	live := r.batches[r.head:]
	i := sort.Search(len(live), func(i int) bool { return lastIndex(live[i].events) >= pos })
	next = pos
	for taken := 0; i < len(live) && taken < most; i++ {
		dst = append(dst, live[i].events)
		taken += live[i].bytes
		next = lastIndex(live[i].events) + 1
	}
	return dst, next
}

func lastIndex(events []bus.Event) uint64 { return events[len(events)-1].Index }
