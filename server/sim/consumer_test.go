package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"example.com/bus"
)

// consumer acknowledges what it reads, of one namespace, from the oldest event.
type consumer struct {
	name       string
	ns         string
	patterns   []string
	redelivery time.Duration
	attempts   int // 0: without end
	inflight   int
	conn       *conn
	id         string // of this connection
	resume     string
	frames     []frame         // read, and not yet checked
	proved     uint64          // up to here all that matches is done
	done       map[uint64]bool // acknowledged or given up, on any connection

	// Of this connection.
	out   map[uint64]*flight
	dying map[uint64]time.Time // given up, and perhaps not yet kept as a dead letter: until then it is in flight
	acked map[uint64]bool
	last  uint64 // highest index delivered
	from  uint64 // index it began at
}

// flight is an event that the consumer has, and has not settled.
type flight struct {
	e        *wire
	attempt  int
	earliest time.Time // before which it may not come again
	latest   time.Time // until which it must have
}

func (w *world) addConsumer(rng *rand.Rand) {
	if !w.up || len(w.consumers) > 4 {
		return
	}
	patterns := [][]string{{"orders.>"}, {"app.>"}, {"orders.created"}, {"app.eu.*", "app.paid"}}[rng.IntN(4)]
	c := &consumer{
		name: fmt.Sprintf("c%d", len(w.consumers)), ns: firstSegment(patterns[0]), patterns: patterns,
		redelivery: []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, time.Minute}[rng.IntN(4)],
		attempts:   rng.IntN(5), inflight: []int{1, 2, 5, 64}[rng.IntN(4)],
	}
	c.restart()
	w.consumers = append(w.consumers, c)
	w.join(c)
}

// restart forgets everything.
func (c *consumer) restart() {
	c.resume, c.frames, c.proved, c.done = "", nil, 0, map[uint64]bool{}
	c.begin()
}

// begin forgets what belongs to a connection.
func (c *consumer) begin() {
	c.id, c.out, c.acked, c.last, c.from = "", map[uint64]*flight{}, map[uint64]bool{}, 0, 0
	c.dying = map[uint64]time.Time{}
}

// join connects a consumer, from its resume point if it has one.
func (w *world) join(c *consumer) {
	if !w.up || c.conn != nil || len(c.frames) > 0 {
		return
	}
	c.begin()
	if c.resume != "" {
		p, ok := bus.ParseEventID(c.resume)
		if at, okay := bus.ParseID(c.resume); !ok && okay && len(at) == 1 { // before the first event
			p, ok = at[0], true
		}
		if !ok {
			w.failf("%s: the resume point %q cannot be read", c.name, c.resume)
		}
		c.last, c.from = p.Index, p.Index
	}
	query := subjects(c.patterns, "start", "oldest", "ack", "manual", "redelivery", c.redelivery.String(),
		"redelivery_count", strconv.Itoa(c.attempts), "inflight", strconv.Itoa(c.inflight))
	w.tracef("%s joins %v redelivery=%s count=%d inflight=%d resume=%s(%d)", c.name, c.patterns, c.redelivery, c.attempts, c.inflight, c.resume, c.from)
	c.conn = w.dial(query, "text/event-stream", c.resume, false)
	w.rest()
}

func (w *world) leave(c *consumer) {
	if c.conn == nil {
		return
	}
	c.conn.cancel()
	w.rest()
	w.attend(c)
	c.conn = nil
}

// attend takes what the consumer was sent.
func (w *world) attend(c *consumer) {
	if c.conn != nil {
		frames, status, ended := c.conn.take()
		if status != 0 && status != 200 {
			w.failf("%s: refused with %d", c.name, status)
		}
		for i := range frames {
			w.sight(c.name, c.patterns, &frames[i])
		}
		c.frames = append(c.frames, frames...)
		if ended {
			w.tracef("%s: ended", c.name)
			c.conn = nil
		}
	}
	for len(c.frames) > 0 && w.handle(c, c.frames[0]) {
		c.frames = c.frames[1:]
	}
}

// handle checks one frame; false: the model has yet to learn of the event.
func (w *world) handle(c *consumer, f frame) bool {
	ns := w.spaces[c.ns]
	switch f.event {
	case "hello":
		var hello struct {
			ConsumerID string `json:"consumer_id"`
		}
		if json.Unmarshal([]byte(f.data), &hello) != nil || hello.ConsumerID == "" {
			w.failf("%s: hello %s", c.name, f.data)
		}
		c.id = hello.ConsumerID
	case "msg":
		e := f.e
		if e == nil {
			return true // said already
		}
		if e.Index > uint64(len(ns.log)) {
			return false
		}
		c.expire(f.at)
		w.delivered(c, e, f)
	}
	if f.id != "" {
		w.floor(c, f)
	}
	return true
}

// floor: below a resume point all must be settled, or a reconnect loses it.
func (w *world) floor(c *consumer, f frame) {
	at, ok := bus.ParseID(f.id)
	if !ok || len(at) != 1 {
		w.failf("%s: resume point %q", c.name, f.id)
		return
	}
	c.expire(f.at)
	log := w.spaces[c.ns].log
	for i := c.proved + 1; i <= min(at[0].Index, uint64(len(log))); i++ {
		if wants(c.patterns, log[i-1].Subject) && !c.done[i] {
			w.failf("%s: resume point %d is said, and %d is not settled", c.name, at[0].Index, i)
			return
		}
		c.proved = i
	}
	c.resume = f.id
}

// expire gives up what has had its last attempt.
func (c *consumer) expire(now time.Time) {
	for i, fl := range c.out {
		if c.attempts > 0 && fl.attempt >= c.attempts && !now.Before(fl.earliest) {
			c.done[i] = true
			c.dying[i] = now
			delete(c.out, i)
		}
	}
}

func (w *world) delivered(c *consumer, e *wire, f frame) {
	attempt := max(e.Attempt, 1)
	w.tracef("%s gets %d attempt %d", c.name, e.Index, attempt)
	fl := c.out[e.Index]
	switch {
	case c.acked[e.Index]:
		w.failf("%s acknowledged %d, and got it again", c.name, e.Index)
	case fl == nil && e.Index <= c.last:
		w.failf("%s got %d again, which it had settled or given up", c.name, e.Index)
	case fl == nil && attempt != 1:
		w.failf("%s got %d for the first time, as attempt %d", c.name, e.Index, attempt)
	case fl == nil:
		w.passed(c.name, c.patterns, w.spaces[c.ns], c.last+1, e.Index)
		c.last = e.Index
		fl = &flight{e: e}
		c.out[e.Index] = fl
	case attempt != fl.attempt+1:
		w.failf("%s got attempt %d of %d after attempt %d", c.name, attempt, e.Index, fl.attempt)
	case f.at.Before(fl.earliest):
		w.failf("%s got %d again %s too early", c.name, e.Index, fl.earliest.Sub(f.at))
	}
	if c.attempts > 0 && attempt > c.attempts {
		w.failf("%s got attempt %d of %d, at most %d were wanted", c.name, attempt, e.Index, c.attempts)
	}
	for i := range c.dying {
		if len(c.out)+len(c.dying) > c.inflight { // one of them was kept, and made room
			delete(c.dying, i)
		}
	}
	if len(c.out) > c.inflight {
		w.failf("%s has %d in flight, want at most %d", c.name, len(c.out), c.inflight)
	}
	if fl != nil {
		fl.attempt, fl.earliest = attempt, f.at.Add(c.redelivery)
		fl.latest = fl.earliest
	}
}

// buryPatience is how long a dead letter may take to be kept on a disk that works:
// what could not be kept is tried again after 5 s, one after the other.
const buryPatience = 8 * time.Second

// mustBeKept reports whether what was given up at a time is a dead letter by now.
func (w *world) mustBeKept(since time.Time) bool {
	calm, ok := w.faults.calm()
	if calm.After(since) {
		since = calm
	}
	return ok && !w.deadFailed && time.Since(since) > buryPatience
}

// checkConsumer looks at rest that everything that is due has come.
func (w *world) checkConsumer(c *consumer) {
	if c.conn == nil || c.id == "" {
		return
	}
	now := time.Now()
	c.expire(now)
	for i, fl := range c.out {
		if now.After(fl.latest) {
			w.failf("%s did not get %d again, attempt %d was due %s ago", c.name, i, fl.attempt+1, now.Sub(fl.latest))
		}
	}
	for i, since := range c.dying {
		if w.mustBeKept(since) {
			delete(c.dying, i)
		}
	}
	if len(c.out)+len(c.dying) < c.inflight {
		ns := w.spaces[c.ns]
		w.passed(c.name+" at rest", c.patterns, ns, c.last+1, uint64(len(ns.log)+1))
	}
}
