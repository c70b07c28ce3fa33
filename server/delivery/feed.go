package delivery

import (
	"container/list"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bus"
)

// sink is who gets the matches of patterns: a view or the cursor of one stream.
type sink struct {
	view    *view
	cursor  *cursor
	stamp   uint64 // the match that listed it last, so that two of its patterns count once
	touched bool   // it got something from the batch at hand
}

// feed is the live end of one namespace. Its goroutine runs while somebody
// listens: it reads each committed batch once and hands it to whom it matches.
type feed struct {
	hub       *Hub
	namespace string

	// delivered is one past the last index that all listeners have in their
	// queue or view. It trails next while a batch is being handed out.
	delivered atomic.Uint64

	mu       sync.Mutex // guards the rest; held while a batch is handed out
	next     uint64     // one past the last event of the ring
	ring     ring
	trie     trie
	views    map[viewKey]*view
	cursors  map[*cursor]struct{} // attached with a queue of their own
	bounded  map[*cursor]struct{} // those of them that end at an index
	frames   map[*Format]*frame
	slabs    list.List // of *slab, oldest first
	slabSum  int       // their bytes
	idle     *time.Timer
	cancel   context.CancelFunc // of the goroutine; nil: none runs
	run      uint64             // number of the goroutine, so that an old one touches nothing
	stamp    uint64
	matched  []*sink
	touched  []*sink
	wake     []*Stream
	overfull []*cursor
}

func newFeed(h *Hub, namespace string) *feed {
	return &feed{
		hub: h, namespace: namespace,
		ring:    ring{limit: h.ringBytes},
		views:   make(map[viewKey]*view),
		cursors: make(map[*cursor]struct{}),
		bounded: make(map[*cursor]struct{}),
		frames:  make(map[*Format]*frame),
	}
}

// start begins reading at index from. The caller holds f.mu.
func (f *feed) start(from uint64) bool {
	ctx, ok := f.hub.enter()
	if !ok {
		return false
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.run++
	f.next = from
	f.ring.reset(from)
	f.delivered.Store(from)
	go f.loop(ctx, f.run, from)
	return true
}

// stop ends the goroutine once nobody listens any more. The caller holds f.mu.
// It does not wait: Hub.Close does.
func (f *feed) stop() {
	if f.cancel == nil || len(f.views) > 0 || len(f.cursors) > 0 {
		return
	}
	f.halt()
}

func (f *feed) halt() {
	f.cancel()
	f.cancel = nil
	f.run++
	f.ring.reset(f.next)
	f.hush()
}

// loop reads the namespace and hands out what it reads. Damage, and what was
// removed, is not its to report: it sends everybody to read the log, where each finds
// the gap at its own position, and they come back behind it.
func (f *feed) loop(ctx context.Context, run, from uint64) {
	defer f.hub.leave()
	r := f.hub.src.Reader(f.namespace, from)
	defer r.Close()
	for {
		events, err := r.Next()
		if errors.Is(err, io.EOF) && f.gone(from) > 0 {
			f.disperse(run, nil)
			return
		}
		if f.atEnd(err, from) {
			err = f.hub.src.Wait(ctx, f.namespace, from)
			if err == nil {
				continue
			}
		}
		if ctx.Err() != nil {
			return
		}
		events = since(events, from)
		if err == nil && len(events) == 0 {
			continue
		}
		if err != nil || events[0].Index > from {
			f.disperse(run, err)
			return
		}
		from = lastIndex(events) + 1
		if !f.publish(run, events) {
			return
		}
	}
}

// since cuts off what a Reader returned below the index asked for: handed out
// again it would be a repeat.
func since(events []bus.Event, from uint64) []bus.Event {
	for len(events) > 0 && events[0].Index < from {
		events = events[1:]
	}
	return events
}

// gone returns the first index that is kept when all up to it, from an index on,
// has been deleted; 0 otherwise. A Reader that has nothing left to read does not
// say so, and Wait does not wait, because the end is elsewhere.
func (f *feed) gone(from uint64) uint64 {
	if first, _ := f.hub.src.Bounds(f.namespace); first > from {
		return first
	}
	return 0
}

// atEnd reports whether a Reader's error at an index only says that there is
// nothing yet. Damage is an end as well, as long as nothing behind it is
// visible: otherwise feed and streams would send each other round in circles.
// Each stream has said it by itself before it came here: see cursor.look.
func (f *feed) atEnd(err error, from uint64) bool {
	if errors.Is(err, io.EOF) {
		return true
	}
	if _, damage := errors.AsType[*DamageError](err); !damage {
		return false
	}
	_, next := f.hub.src.Bounds(f.namespace)
	return next <= from
}

// publish hands a batch to everybody it matches, and wakes them.
func (f *feed) publish(run uint64, events []bus.Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.run != run {
		return false
	}
	f.ring.add(events)
	f.next = lastIndex(events) + 1
	f.spread(events)
	f.flush()
	f.delivered.Store(f.next)
	for c := range f.bounded {
		if f.next >= c.until {
			f.wake = append(f.wake, c.stream)
		}
	}
	f.rouse()
	return true
}

// spread appends the events to the views and queues that match. Events of one
// subject in a row, the common batch, are looked up once.
func (f *feed) spread(events []bus.Event) {
	subject := ""
	for i := range events {
		e := &events[i]
		if f.hub.withheld(e) {
			continue
		}
		if e.Subject != subject {
			subject = e.Subject
			f.match(subject)
		}
		for _, k := range f.matched {
			f.offer(k, e)
		}
	}
}

// match fills f.matched with each interested sink once.
func (f *feed) match(subject string) {
	f.stamp++
	all := f.trie.match(f.matched[:0], subject)
	kept := all[:0]
	for _, k := range all {
		if k.stamp != f.stamp {
			k.stamp = f.stamp
			kept = append(kept, k)
		}
	}
	f.matched = kept
}

func (f *feed) offer(k *sink, e *bus.Event) {
	if !k.touched {
		k.touched = true
		f.touched = append(f.touched, k)
	}
	if k.view != nil {
		k.view.append(f, e)
		return
	}
	if k.cursor.push(e) {
		f.overfull = append(f.overfull, k.cursor)
	}
}

// flush makes the batch readable and collects whom to wake. A cursor whose
// queue is full leaves: it reads the log from there and comes back.
func (f *feed) flush() {
	for i, k := range f.touched {
		f.touched[i], k.touched = nil, false
		if k.view != nil {
			f.wake = k.view.flush(f.next, f.wake)
		} else {
			f.wake = append(f.wake, k.cursor.stream)
		}
	}
	f.touched = f.touched[:0]
	for _, fr := range f.frames {
		fr.trim()
	}
	for i, c := range f.overfull {
		f.remove(c)
		f.overfull[i] = nil
	}
	f.overfull = f.overfull[:0]
	f.postpone()
	f.stop()
}

func (f *feed) rouse() {
	for i, s := range f.wake {
		s.notify()
		f.wake[i] = nil
	}
	f.wake = f.wake[:0]
}

// disperse sends all listeners away: to read the log by themselves, or, when
// the source itself has failed, home with its error.
func (f *feed) disperse(run uint64, err error) {
	if _, damage := errors.AsType[*DamageError](err); damage {
		err = nil
	}
	if _, removed := bus.AsRemoved(err); removed {
		err = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.run == run {
		f.scatter(err)
	}
}

// scatter is disperse for who holds f.mu.
func (f *feed) scatter(err error) {
	for c := range f.cursors {
		c.dismiss(f.next, err)
		f.remove(c)
		f.wake = append(f.wake, c.stream)
	}
	for _, v := range f.views {
		f.wake = v.finish(f.next, err, f.wake)
		f.discard(v)
	}
	f.stop()
	f.rouse()
}
