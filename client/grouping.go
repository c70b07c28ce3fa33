package client

import (
	"context"
	"sync"
	"time"

	"example.com/bus"
)

const (
	// DefaultAckGrouping is how long AckAsync, and with WithAckGrouping Ack, gathers.
	DefaultAckGrouping = time.Millisecond
	// MaxAckGrouping is the longest time WithAckGrouping can be set to. A server redelivers
	// after 5 seconds unless told otherwise.
	MaxAckGrouping = time.Second

	// ackTime ends a request that nobody answers: it has the context of no caller, since
	// the end of one must not lose the acknowledgements of others.
	ackTime = 30 * time.Second
	// maxPendingAcks bounds what a server that does not answer can make a program hold.
	maxPendingAcks = 8192
	// maxAckURL is what RFC 9110 wants every proxy to take of a URL, in bytes. A request
	// with some 190 ids is as cheap for each of them as one with a thousand.
	maxAckURL = 8000
	// What a server has unless told, by HTTP_API.md.
	defaultRedelivery = 5 * time.Second
	defaultInflight   = 64
)

// WithAckGrouping makes each Ack that says nothing but that an event is done wait up to d for
// others, so that they leave in one request for each consumer. It is for programs that
// acknowledge from many goroutines, and saves requests: n goroutines settle at most n events in
// each d, which is faster where a request takes longer than d or the server has much to do, and
// slower beside an idle one. A loop that acknowledges each event before it takes the
// next is made slower by d an event; it uses AckAsync, which gathers without this option too,
// and takes its d from here. 0 or less is [DefaultAckGrouping], more than [MaxAckGrouping] is
// that.
//
// They leave earlier when they would fill a URL of 8000 bytes (some 190 events), when they are
// half of what the stream lets out at once ([WithInflight]: the server would wait for them), or
// when half of an event's time for redelivery is over ([WithDelivery]). For a named consumer
// whose WithDelivery is left to the server they wait a millisecond at most.
func WithAckGrouping(d time.Duration) ClientOption {
	if d <= 0 {
		d = DefaultAckGrouping
	}
	return func(c *Client) { c.acks.always, c.acks.wait = true, min(d, MaxAckGrouping) }
}

// terms are what a stream demands of those who acknowledge its events.
type terms struct {
	redelivery time.Duration
	inflight   int
	untold     bool // a named consumer has its own, which a Get need not know
}

// origin says when an event came and by what stream's terms, which are nil when none are
// known or nothing comes again.
type origin struct {
	terms    *terms
	received time.Time
}

// most is how many acknowledgements may wait for others. A stream whose events are all out
// stands still, so that half of them leave while the other half are worked on.
func (o origin) most() int {
	if o.terms == nil {
		return MaxAckBatch
	}
	return max(1, o.terms.inflight/2)
}

// wait is how long an acknowledgement may wait of the time it would.
func (o origin) wait(now time.Time, most time.Duration) time.Duration {
	if o.terms == nil {
		return most
	}
	if o.terms.untold {
		return min(most, DefaultAckGrouping)
	}
	return min(most, o.received.Add(o.terms.redelivery/2).Sub(now))
}

// grouping gathers the acknowledgements of a client into requests. It has a goroutine for each
// request on its way, and none besides.
type grouping struct {
	client *Client
	wait   time.Duration
	always bool          // Ack gathers, too
	places chan struct{} // one is taken by each acknowledgement without an answer

	mu    sync.Mutex // guards what follows, and the groups in open
	open  map[groupKey]*group
	sent  map[*group]struct{}
	first error // of AckAsync, until Flush tells it
}

// groupKey is what the acknowledgements of one request have in common.
type groupKey struct {
	to      ackTo
	timeout time.Duration
}

// group is one request: open while it gathers, then sent. Whoever takes it out of open sends
// it.
type group struct {
	key     groupKey
	request *ackRequest
	acks    []*AckResult
	room    int // bytes left in the URL
	most    int
	due     time.Time
	timer   *time.Timer
	done    chan struct{}
}

func newGrouping(c *Client) *grouping {
	return &grouping{
		client: c, wait: DefaultAckGrouping, places: make(chan struct{}, maxPendingAcks),
		open: make(map[groupKey]*group), sent: make(map[*group]struct{}),
	}
}

// add has an acknowledgement sent. It blocks while too many wait for an answer; the end of ctx
// is its only error, and nothing is sent then.
func (g *grouping) add(ctx context.Context, to ackTo, r *ackRequest, a *AckResult, from origin) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case g.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := groupKey{to, r.timeout}
	if !r.plain() || bus.CheckID(a.id) != nil { // an id that the server refuses without saying which
		alone := g.begin(key, r)
		alone.take(a)
		g.depart(alone)
		return nil
	}
	b := g.open[key]
	if b != nil && b.room < cost(a.id) {
		g.depart(b)
		b = nil
	}
	if b == nil {
		b = g.begin(key, r)
		g.open[key] = b
	}
	b.take(a)
	g.schedule(b, from)
	return nil
}

func (g *grouping) begin(key groupKey, r *ackRequest) *group {
	b := &group{key: key, request: r, most: MaxAckBatch, done: make(chan struct{})}
	b.room = maxAckURL - len("?") - len(key.to.query().Encode())
	if g.client.base != nil {
		b.room -= len(g.client.base.String())
	}
	return b
}

// cost is what an id adds to a URL. CheckID has none that would be escaped.
func cost(id string) int { return len("&event_id=") + len(id) }

func (b *group) take(a *AckResult) {
	a.done = b.done
	b.acks = append(b.acks, a)
	b.room -= cost(a.id)
}

// schedule sends a group if it is time for it, and otherwise when it will be. The caller holds
// g.mu.
func (g *grouping) schedule(b *group, from origin) {
	b.most = min(b.most, from.most())
	now := time.Now()
	wait := from.wait(now, g.wait)
	switch {
	case len(b.acks) >= b.most:
		g.depart(b)
	case b.timer == nil:
		b.due, b.timer = now.Add(wait), time.AfterFunc(wait, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.open[b.key] == b {
				g.depart(b)
			}
		})
	case now.Add(wait).Before(b.due):
		b.due = now.Add(wait)
		b.timer.Reset(wait)
	}
}

// depart sends a group: nothing can join it any more. The caller holds g.mu.
func (g *grouping) depart(b *group) {
	if g.open[b.key] == b {
		delete(g.open, b.key)
	}
	if b.timer != nil {
		b.timer.Stop()
	}
	g.sent[b] = struct{}{}
	go g.carry(b)
}

// departAll sends what is gathered for a consumer, or with none for all, and returns what is on
// its way.
func (g *grouping) departAll(to ackTo) (sent []*group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, b := range g.open {
		if to.none() || key.to == to {
			g.depart(b)
		}
	}
	for b := range g.sent {
		if to.none() || b.key.to == to {
			sent = append(sent, b)
		}
	}
	return sent
}

// flush waits for the answers to all that was added for a consumer, or with none for all.
func (g *grouping) flush(ctx context.Context, to ackTo) error {
	for _, b := range g.departAll(to) {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (g *grouping) failed(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first == nil {
		g.first = err
	}
}

func (g *grouping) firstError() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.first
	g.first = nil
	return err
}
