package delivery

import (
	"time"

	"example.com/bus"
)

// Spec says what a stream carries. Open copies what it needs; Format and the
// patterns are shared and must not change.
type Spec struct {
	ConsumerID string   // by which Settle finds the stream; "" when nobody will acknowledge
	Places     []Place  // one a namespace, distinct
	Inboxes    []string // exact inbox subjects, in memory
	Format     *Format
	// Shared says that the caller can use shared frames. They are used when
	// there is one source, no inbox and no acknowledgement; otherwise, and
	// without Format, Next returns Deliveries.
	Shared bool
	Ack    *AckSpec // nil: ack=none
	// Limit is how many events the stream carries at most, redeliveries not
	// counted; 0: no limit. After the last of them Next returns io.EOF, with
	// acknowledgement once all of them are settled. A stream with a limit does
	// not share frames.
	Limit int
	// Wake is for who calls Poll instead of Next: it is called when there may be
	// something, from any goroutine and also in vain. It must not block, nor call
	// the hub or the stream. nil: Next is called.
	Wake func()

	consumer *Consumer // whose stream it is to be; nil: that of one subscriber
	owed     *Progress // of it, in its one place
}

// Place is what a stream carries of one namespace.
type Place struct {
	Namespace string
	Patterns  []bus.Pattern
	From      uint64 // first index to consider; 0: the oldest kept. One that is gone makes a Gap
	Until     uint64 // 0, or one past the last index to consider: then the stream ends
	// Seam, if it is not 0, is where the stream begins to carry everything; below it
	// only what Only names, sorted. It must not be behind the readable end. Only is
	// the stream's from then on.
	Seam uint64
	Only []uint64
	// Release, if it is not nil, is called once when Only is not needed any more. It
	// must not block, nor call the hub or the stream. Open calls it not at all when it
	// fails.
	Release func()
}

// AckSpec asks for acknowledgement.
type AckSpec struct {
	Redelivery time.Duration // how long an event is out before it is delivered again; 5 s when 0
	Attempts   int           // deliveries in all; 0: without end
	Inflight   int           // unacknowledged events at once, those that wait for redelivery included; 64 when 0
	// Backoff, when there is one, stands for Redelivery: the n-th time an event is
	// out it is for the n-th of these, from the last one on for the last.
	Backoff []time.Duration
}

// wait is how long an event is out the n-th time.
func (a *AckSpec) wait(n int) time.Duration {
	if len(a.Backoff) == 0 {
		return a.Redelivery
	}
	return a.Backoff[max(1, min(n, len(a.Backoff)))-1] // at no attempt is what was reopened, or never seen
}

// Defaults of AckSpec.
const (
	defaultRedelivery = 5 * time.Second
	defaultInflight   = 64
)

// Open starts a stream. It reads nothing yet, so it costs the same whatever the
// log holds. Errors: bus.ErrUnknownNamespace, bus.ErrInvalidParameter,
// bus.ErrInvalidSubject, ErrConsumerBusy, ErrClosed. The caller closes the stream.
func (h *Hub) Open(spec Spec) (*Stream, error) {
	if err := h.check(spec); err != nil {
		return nil, err
	}
	s := &Stream{hub: h, id: spec.ConsumerID, format: spec.Format, limit: spec.Limit, inboxes: spec.Inboxes, call: spec.Wake, consumer: spec.consumer}
	if s.call == nil {
		s.wake = make(chan struct{}, 1)
	}
	s.shared = spec.Shared && spec.Format != nil && spec.Limit == 0 && spec.Ack == nil && len(spec.Places) == 1 && len(spec.Inboxes) == 0
	if spec.Ack != nil {
		s.flights = newFlights(s, *spec.Ack)
	}
	for _, p := range spec.Places {
		from := p.From
		if from == 0 {
			from, _ = h.src.Bounds(p.Namespace)
		}
		s.cursors = append(s.cursors, &cursor{stream: s, feed: h.feed(p.Namespace), patterns: p.Patterns, from: from, pos: from, until: p.Until, owed: spec.owed, picks: picks{seam: p.Seam, only: p.Only, release: p.Release}})
	}
	if err := h.register(s); err != nil {
		return nil, err
	}
	h.inboxes.add(s.inboxes, s)
	return s, nil
}

func (h *Hub) check(spec Spec) error {
	seen := make(map[string]bool, len(spec.Places))
	for _, p := range spec.Places {
		if h.feed(p.Namespace) == nil {
			return bus.ErrUnknownNamespace.With("namespace %q, wanted one of %v", p.Namespace, h.Namespaces())
		}
		if seen[p.Namespace] {
			return bus.ErrInvalidParameter.With("namespace %q stands twice: give all its patterns in one place", p.Namespace)
		}
		seen[p.Namespace] = true
		for _, pattern := range p.Patterns {
			if pattern.Namespace() != p.Namespace {
				return bus.ErrInvalidSubject.With("pattern %q does not belong to namespace %q", pattern, p.Namespace)
			}
		}
	}
	for _, subject := range spec.Inboxes {
		if !bus.IsInbox(subject) {
			return bus.ErrInvalidSubject.With("%q is not an inbox: wanted a subject that begins with %s", subject, bus.InboxNamespace)
		}
	}
	if spec.Limit < 0 {
		return bus.ErrInvalidParameter.With("limit %d: it may not be negative", spec.Limit)
	}
	return checkAck(spec.Ack)
}

func checkAck(a *AckSpec) error {
	if a == nil || a.Redelivery >= 0 && a.Attempts >= 0 && a.Inflight >= 0 {
		return nil
	}
	return bus.ErrInvalidParameter.With("redelivery %v, attempts %d, inflight %d: none may be negative", a.Redelivery, a.Attempts, a.Inflight)
}

// Chunk is what Next returns: as much as there was to send, up to 256 KiB of
// frames or 256 deliveries.
type Chunk struct {
	Frames     []byte     // Count frames; shared: do not change them. From a view they stay valid, from a replay until the next Next
	Count      int        // of Frames
	Deliveries []Delivery // when the stream does not share frames
	Gaps       []Gap      // found before what the chunk carries of that namespace
	Dead       []Delivery // given up after the last attempt; each is said once
}

// Delivery is one event on its way to one consumer. The event is shared.
type Delivery struct {
	Event     *bus.Event
	Attempt   int    // 1 for the first
	Namespace string // bus.InboxNamespace for an inbox
}

// Reasons of a Gap.
const (
	ReasonDamage    = "damage"
	ReasonRetention = "retention"
	ReasonDeleted   = bus.RemovedDeleted // one by one; what was compacted or has expired is no gap
)

// Gap says that the events with indexes From to Next-1 cannot be delivered. Next
// equal to From is damage at the log's end: some were there, nobody knows how
// many, and nothing will follow before the log is repaired.
type Gap struct {
	Namespace  string
	From, Next uint64
	Reason     string
	AtMost     bool      // for repaired damage: not all of them need have been there
	Repaired   time.Time // for damage: when the log was repaired, so that the gap is for good; zero: it was not
	Err        error     // for damage: what was found
}

// Position is a stream's place in a namespace: Next is one past the last index
// below which everything has been handed on (ack=none), or acknowledged or
// given up (manual). A new stream that starts there misses nothing.
type Position struct {
	Namespace string
	Next      uint64
}
