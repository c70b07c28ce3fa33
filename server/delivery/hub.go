package delivery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bus"
)

// Errors that a stream ends with, and that Open refuses with. Refusals that
// travel on the wire are those of package bus.
var (
	ErrClosed       = errors.New("delivery is closed")
	ErrSlowInbox    = errors.New("the stream fell too far behind on its inbox: wanted at most 256 events and 4 MiB waiting; read faster or open more inboxes")
	ErrConsumerBusy = errors.New("a consumer with this id is connected")
)

// Source is what delivery needs of the engine that keeps events. All methods
// may be called from many goroutines.
type Source interface {
	// Bounds returns the first index kept and one past the last readable. It
	// must not wait: it is asked with a feed locked.
	Bounds(namespace string) (first, next uint64)
	// Wait returns nil once next > from, or the error of ctx or of the source.
	Wait(ctx context.Context, namespace string, from uint64) error
	// Reader reads events from an index on.
	Reader(namespace string, from uint64) Reader
	// Skip returns where, at from or behind it, an event that matches one of the
	// patterns may stand: none does between from and at. There is no use in asking
	// for a place between at and until. A source that knows nothing returns from,
	// and until when it may know more. at is not behind the readable end, and not
	// behind events that are lost, or dropped, and could have matched: a Reader
	// has to say so. It must not wait.
	Skip(namespace string, from uint64, patterns []bus.Pattern) (at, until uint64)
}

// Reader reads one namespace. It is not for concurrent use. Next returns events
// in index order, at least one, which may begin later than was asked for when
// that is no longer kept, or io.EOF at the visible end, after which it
// may be called again, or *DamageError, or *RemovedError. Events are immutable and may be kept.
type Reader = interface {
	Next() ([]bus.Event, error)
	Seek(index uint64)
	Close()
}

// DamageError says which indexes cannot be read: because of damage, or, when
// its Repaired is set, because they are lost for good and the log is repaired.
// A Reader says either again until Seek leaves it behind. At the readable end,
// or behind it, one whose Next is 0 says that the end itself is damaged.
type DamageError = bus.DamageError

// RemovedError says which indexes, the one that is due and more behind it, have no
// event any more because it was removed on purpose. A Reader says it again until Seek
// leaves it behind: a run of a million is passed over by one step.
type RemovedError = bus.RemovedError

// Format is how events become bytes. Encode appends one frame to dst; it must
// be pure and must not call back into the hub, for it runs with a feed locked.
// Two equal pointers are one format.
type Format struct {
	Name   string
	Encode func(dst []byte, e *bus.Event) []byte
}

// Options of a Hub. The zero value of each field means its default.
type Options struct {
	RingBytes   int           // decoded events kept a namespace while somebody listens; 4 MiB
	SlabBytes   int           // ready frames in one buffer; 256 KiB
	ViewBytes   int           // ready frames kept a namespace, over all views; 32 MiB
	FlightBytes int           // unacknowledged events kept over all streams; 256 MiB
	DedupWindow time.Duration // how long a key is remembered; 10 min
	DedupKeys   int           // how many at most in a namespace; 1,000,000

	// Lookup finds a stored event by id, for acknowledgements of what is no
	// longer in flight. A bus.Error of the 4xx kind means that there is none,
	// any other error is Settle's. It is called without a lock. nil: nothing is
	// found.
	Lookup func(namespace, id string) (*bus.Event, error)

	// Journal keeps what named consumers have come to. nil: there can be none.
	Journal Journal
	// Bury keeps a dead letter of a named consumer, and returns once it is durable.
	// It is called without a lock. It may be called twice for one event, when a
	// crash came in between.
	Bury func(DeadLetter) error
}

// Hub hands committed events to streams. All methods may be called from many
// goroutines.
type Hub struct {
	src       Source
	feeds     atomic.Pointer[map[string]*feed] // one a namespace; each is not changed
	ringBytes int
	slabBytes int
	viewBytes int
	lookup    func(namespace, id string) (*bus.Event, error)
	dedup     *Dedup
	flown     flown // over all streams
	confirms  confirms
	journal   Journal
	bury      func(DeadLetter) error
	inboxes   inboxes
	expired   atomic.Uint64

	ctx    context.Context // of the feeds' goroutines
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex // guards the rest; no other lock is taken under it
	closed    bool
	streams   map[*Stream]struct{}
	consumers map[string]*Stream
	members   map[string]*Member
	named     map[consumerKey]*Consumer
}

// NewHub returns a hub for the declared namespaces. It starts nothing: the
// first live stream of a namespace does.
func NewHub(src Source, namespaces []string, o Options) *Hub {
	h := &Hub{
		src:       src,
		ringBytes: orDefault(o.RingBytes, 4<<20),
		viewBytes: orDefault(o.ViewBytes, 32<<20),
		lookup:    o.Lookup,
		dedup:     NewDedup(o.DedupWindow, o.DedupKeys),
		flown:     flown{most: int64(orDefault(o.FlightBytes, 256<<20)), waiting: make(map[*Stream]struct{})},
		streams:   make(map[*Stream]struct{}),
		consumers: make(map[string]*Stream),
		members:   make(map[string]*Member),
		named:     make(map[consumerKey]*Consumer),
		journal:   o.Journal,
		bury:      o.Bury,
	}
	// A slab counts whole, so one must not be the budget.
	h.slabBytes = max(firstSlab, min(orDefault(o.SlabBytes, 256<<10), h.viewBytes/4))
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.feeds.Store(&map[string]*feed{})
	for _, namespace := range namespaces {
		h.Add(namespace)
	}
	return h
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// Dedup returns the memory of idempotency keys.
func (h *Hub) Dedup() *Dedup { return h.dedup }

// Close ends every stream: Next hands on what the live feed has already given
// it and returns ErrClosed after that. Close waits for the hub's goroutines,
// not for the callers of Next. A second call does nothing more.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	streams := make([]*Stream, 0, len(h.streams))
	for s := range h.streams {
		streams = append(streams, s)
	}
	h.mu.Unlock()
	h.cancel()
	h.work.Wait() // before the streams end, so that nothing is handed out behind their end
	for _, f := range *h.feeds.Load() {
		f.quiet()
	}
	for _, s := range streams {
		s.finish(ErrClosed)
	}
	h.inboxes.close()
}

// enter counts a goroutine in, unless the hub is closed.
func (h *Hub) enter() (context.Context, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, false
	}
	h.work.Add(1)
	return h.ctx, true
}

func (h *Hub) leave() { h.work.Done() }

// register makes the stream known, to Settle and to Close.
func (h *Hub) register(s *Stream) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if s.id != "" {
		if _, busy := h.consumers[s.id]; busy {
			return ErrConsumerBusy
		}
		h.consumers[s.id] = s
	}
	h.streams[s] = struct{}{}
	return nil
}

func (h *Hub) unregister(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, s)
	if h.consumers[s.id] == s {
		delete(h.consumers, s.id)
	}
}

// Namespaces returns the namespaces that streams can be opened on, sorted.
func (h *Hub) Namespaces() []string {
	feeds := *h.feeds.Load()
	names := make([]string, 0, len(feeds))
	for name := range feeds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// MostInflight returns how many unacknowledged events the consumer with the most
// of them has.
func (h *Hub) MostInflight() int {
	h.mu.Lock()
	acking := make([]*Stream, 0, len(h.streams))
	for s := range h.streams {
		if s.flights != nil {
			acking = append(acking, s)
		}
	}
	h.mu.Unlock()
	most := 0
	for _, s := range acking {
		s.mu.Lock()
		most = max(most, s.flights.count())
		s.mu.Unlock()
	}
	return most
}

// InflightBytes returns what the unacknowledged events of all streams hold, and
// how much that may be.
func (h *Hub) InflightBytes() (used, most int64) { return h.flown.bytes.Load(), h.flown.most }

// Streams returns how many open streams carry events of the namespace.
func (h *Hub) Streams(namespace string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for s := range h.streams {
		for _, c := range s.cursors {
			if s.consumer == nil && c.feed.namespace == namespace {
				n++
			}
		}
	}
	for _, m := range h.members {
		if m.consumer.spec.Namespace == namespace {
			n++
		}
	}
	return n
}
