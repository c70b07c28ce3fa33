package delivery

import (
	"sync"
	"time"

	"example.com/bus"
)

// Consumer is a named one: the server keeps its place, and its connections share
// the work. Each event goes to one of them. While somebody is connected it has a
// Stream of its own, from which its members take in turns; while nobody is, only
// its Progress. All methods may be called from many goroutines.
type Consumer struct {
	hub *Hub

	turn   turnstile  // one takes, joins or parts at a time
	queue  queue      // members that wait for an event
	notes  notes      // what is to be written down
	mu     sync.Mutex // guards the rest
	spec   ConsumerSpec
	stream *Stream  // nil: nobody is connected
	at     Progress // while there is no stream
	count  tally

	members map[*Member]struct{}
	before  uint64    // what lies below may have been delivered by an earlier server
	given   recentIDs // up, after their last attempt
	termed  recentIDs // said never to be taken
	removed recentIDs // gone from the log while they were out
	letters map[uint64]*obituary
	dying   map[uint64]struct{} // becoming dead letters, by a stream that is gone
	saying  map[uint64]int      // what is being said of, while nobody is connected: nobody gives it up meanwhile
	paused  bool
	end     error // why it takes no more members
}

// turnstile lets one through at a time. Some who have passed it wait for the
// Journal: who stands before it is idle, as far as a bubble of testing/synctest
// can tell, so that the time of a simulated disk passes.
type turnstile chan struct{}

func (t turnstile) Lock()   { t <- struct{}{} }
func (t turnstile) Unlock() { <-t }

// ConsumerSpec is what a named consumer is made of.
type ConsumerSpec struct {
	Namespace string
	Name      string
	Patterns  []bus.Pattern // of the namespace
	Ack       AckSpec
	// Resumed says that it was there before this server: what is in the log now may
	// have been delivered to it, also where no note says so.
	Resumed bool
}

// tally counts since the server was started.
type tally struct {
	redelivered uint64
	dead        uint64
	moved       time.Time // when an event was last settled
	left        time.Time // when the last connection left
}

// Declare makes a named consumer known, at the place where it is. Errors:
// ErrConsumerBusy when there is one of that name in the namespace, those of
// Open, ErrClosed.
func (h *Hub) Declare(spec ConsumerSpec, at Progress) (*Consumer, error) {
	ack := spec.Ack
	if err := h.check(Spec{Places: []Place{{Namespace: spec.Namespace, Patterns: spec.Patterns}}, Ack: &ack}); err != nil {
		return nil, err
	}
	c := &Consumer{hub: h, turn: make(turnstile, 1), spec: spec, members: make(map[*Member]struct{}), letters: make(map[uint64]*obituary), dying: make(map[uint64]struct{}), saying: make(map[uint64]int)}
	c.notes.consumer = c
	c.notes.quiet = sync.NewCond(&c.notes.mu)
	_, next := h.src.Bounds(spec.Namespace)
	if c.at, _ = at.Within(next); spec.Resumed {
		c.before = next
	}
	c.count.moved, c.count.left = time.Now(), time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	key := consumerKey{spec.Namespace, spec.Name}
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.named[key] != nil:
		return nil, ErrConsumerBusy
	}
	h.named[key] = c
	return c, nil
}

type consumerKey struct{ namespace, name string }

// Consumer returns a named consumer, nil when there is none.
func (h *Hub) Consumer(namespace, name string) *Consumer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.named[consumerKey{namespace, name}]
}

// Consumers returns the named consumers of a namespace, in no order.
func (h *Hub) Consumers(namespace string) []*Consumer {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Consumer
	for key, c := range h.named {
		if key.namespace == namespace {
			all = append(all, c)
		}
	}
	return all
}

// MostConsumers returns how many named consumers the namespace with the most of
// them has.
func (h *Hub) MostConsumers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	most, counts := 0, make(map[string]int)
	for key := range h.named {
		counts[key.namespace]++
		most = max(most, counts[key.namespace])
	}
	return most
}

// Spec returns what the consumer is made of.
func (c *Consumer) Spec() ConsumerSpec {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spec
}

// Join adds a connection. Errors: ErrConsumerBusy when its id is connected,
// ErrClosed, and what the consumer was ended with.
func (c *Consumer) Join(spec MemberSpec) (*Member, error) {
	m := &Member{consumer: c, id: spec.ID, limit: spec.Limit, lease: spec.Lease, call: spec.Wake}
	if m.call == nil {
		m.wake = make(chan struct{}, 1)
	}
	if spec.Until {
		_, m.until = c.hub.src.Bounds(c.spec.Namespace)
	}
	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end != nil {
		return nil, c.end
	}
	if err := c.hub.enlist(m); err != nil {
		return nil, err
	}
	if c.stream == nil {
		if err := c.open(); err != nil {
			c.hub.discharge(m)
			return nil, err
		}
	}
	c.members[m] = struct{}{}
	c.share()
	return m, nil
}

// open makes the stream that members take from, where the consumer is. The
// caller holds c.turn and c.mu.
func (c *Consumer) open() error {
	ack, at := c.spec.Ack, c.at.clone()
	s, err := c.hub.Open(Spec{
		consumer: c, owed: &at, // known from the first moment on: all streams are counted at any
		Places: []Place{{Namespace: c.spec.Namespace, Patterns: c.spec.Patterns, From: max(c.at.Floor(), 1)}},
		Ack:    &ack,
		Wake:   c.queue.wake,
	})
	if err != nil {
		return err
	}
	c.stream = s
	return nil
}

// share divides the window. Leases have no share: they come for what they ask
// for. The caller holds c.mu.
func (c *Consumer) share() {
	shared := 0
	for m := range c.members {
		if !m.lease {
			shared++
		}
	}
	c.stream.mu.Lock()
	defer c.stream.mu.Unlock()
	window := c.stream.flights.spec.Inflight
	for m := range c.members {
		if m.share = window; !m.lease {
			m.share = max(1, (window+shared-1)/shared)
		}
		m.full.Store(m.held >= m.share)
	}
}
