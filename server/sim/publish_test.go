package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/synctest"
	"time"
)

// receipt is what a publisher is told of an event.
type receipt struct {
	ID        string `json:"id"`
	Index     uint64 `json:"index"`
	CreatedAt string `json:"created_at"`
	Duplicate bool   `json:"duplicate"`
	Confirmed int    `json:"confirmed"`
}

// op is one request of a publisher, answered or not.
type op struct {
	number   int
	kind     string // one, batch, lines, raw, confirm, reply
	events   []*event
	step     int  // in which it began
	known    bool // its event was answered or shown before it began
	conflict bool // it uses the key or id of another content, which stands
	confirm  int
	pause    time.Duration // before each line
	answer   answer
}

// compose makes an event that was never sent before.
func (w *world) compose(rng *rand.Rand, ns string) *event {
	n := len(w.events) + 1
	p := &event{n: n, ns: ns, started: time.Now(), replies: map[string]bool{}, ackers: map[string]bool{}}
	p.subject = ns + "." + []string{"created", "paid", "eu.created", "eu.paid"}[rng.IntN(4)]
	size := []int{0, 10, 100, 600, 3000}[rng.IntN(5)]
	if rng.IntN(40) == 0 {
		size = 20_000
	}
	p.payload = fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", rng.IntN(size+1)))
	switch rng.IntN(8) {
	case 0, 1:
		p.key = fmt.Sprintf("key-%d", n)
	case 2:
		p.id = fmt.Sprintf("mine-%d", n)
	}
	w.events = append(w.events, p)
	w.byTrace[p.trace()] = p
	return p
}

func (p *event) trace() string { return fmt.Sprintf("n%d", p.n) }

// body is the event as JSON.
func (p *event) body() string {
	b := fmt.Sprintf(`{"subject":%q,"trace_id":%q,"payload":%s`, p.subject, p.trace(), p.payload)
	if p.key != "" {
		b += fmt.Sprintf(`,"key":%q`, p.key)
	}
	if p.id != "" {
		b += fmt.Sprintf(`,"id":%q`, p.id)
	}
	if p.inbox != "" {
		b += fmt.Sprintf(`,"response_subject":%q`, p.inbox)
	}
	return b + "}"
}

// publish starts one request of a kind with new events.
func (w *world) publish(rng *rand.Rand, kind string) {
	if !w.up {
		return
	}
	ns, count, pause := names[rng.IntN(len(names))], 1, time.Duration(0)
	if kind == "batch" || kind == "lines" {
		count = 2 + rng.IntN(6)
	}
	if kind == "trickle" {
		kind, count, pause = "lines", 2+rng.IntN(6), time.Duration(1+rng.IntN(30))*time.Millisecond
	}
	if kind == "flood" { // more than waits for a stream that does not read
		kind, count = "batch", 300
	}
	o := &op{kind: kind, pause: pause}
	for range count {
		o.events = append(o.events, w.compose(rng, ns))
	}
	if kind == "raw" && rng.IntN(2) == 0 {
		p := o.events[0]
		p.ctype, p.payload = "text/plain", "n "+p.payload
	}
	if kind == "batch" {
		w.batches = append(w.batches, o)
		for _, p := range o.events {
			p.batched = true
		}
	}
	if kind == "confirm" {
		o.confirm = 1 + rng.IntN(2)
	}
	if kind == "reply" || kind == "ask" {
		o.events[0].key, o.events[0].wantsReply = "", true
	}
	if kind == "ask" {
		w.listen(o.events[0])
	}
	w.send(o)
}

// listen opens an inbox for the replies to an event, as a client does that
// asks by hand.
func (w *world) listen(p *event) {
	p.inbox = fmt.Sprintf("_bus_.inbox-%d", p.n)
	p.conn = w.dial(subjects([]string{p.inbox}), "text/event-stream", "", false)
	synctest.Wait()
}

// checkInbox: each reply has come once, while the inbox was open.
func (w *world) checkInbox(p *event) {
	frames, _, ended := p.conn.take()
	for _, f := range frames {
		var e wire
		if f.event == "msg" && json.Unmarshal([]byte(f.data), &e) == nil {
			p.heard = append(p.heard, string(e.Payload))
		}
	}
	if ended || !w.up {
		p.conn.cancel()
		p.conn = nil
		return
	}
	if !slices.Equal(p.heard, p.told) {
		w.failf("n%d asked on %s and heard %q, replied was %q", p.n, p.inbox, p.heard, p.told)
	}
}

// again sends an event of before once more, as a publisher does that heard
// nothing or does not know.
func (w *world) again(rng *rand.Rand) {
	if !w.up || len(w.events) == 0 {
		return
	}
	p := w.events[len(w.events)-1-rng.IntN(min(len(w.events), 30))]
	fresh := time.Since(p.started) < dedupWindow*8/10 && !w.jumped
	switch {
	case p.id == "" && (p.key == "" || !fresh), p.duplicate, p.batched, p.wantsReply, p.ctype != "":
		return
	}
	if rng.IntN(4) == 0 && p.sure(w) {
		other := w.compose(rng, p.ns)
		other.key, other.id, other.duplicate = p.key, p.id, true
		w.send(&op{kind: "one", events: []*event{other}, conflict: true})
		return
	}
	p.refused = false
	w.send(&op{kind: "one", events: []*event{p}, known: p.sure(w)})
}

// sure: no power cut can take it back, or the same process still knows it.
func (p *event) sure(w *world) bool { return p.index > 0 && w.spaces[p.ns].failed == 0 }

// expired sends new content under a key whose window has passed.
func (w *world) expired(rng *rand.Rand) {
	for _, p := range w.events {
		if p.key != "" && !w.jumped && w.up && !p.reused && !p.duplicate && time.Since(p.last) > dedupWindow+2*time.Minute {
			p.reused = true
			next := w.compose(rng, p.ns)
			next.key, next.id = p.key, ""
			w.send(&op{kind: "one", events: []*event{next}})
			return
		}
	}
}

// send starts the request in a goroutine of its own.
func (w *world) send(o *op) {
	w.sent++
	o.number, o.step = w.sent, w.step
	for _, p := range o.events {
		p.sent, p.last = p.sent+1, time.Now()
	}
	w.pending++
	method, query, body, headers := o.request()
	w.tracef("%s n%d+%d known=%v conflict=%v", o.kind, o.events[0].n, len(o.events)-1, o.known, o.conflict)
	client := w.client
	go func() {
		o.answer = request(client, method, query, &trickle{body, o.pause}, headers...)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ops = append(w.ops, o)
	}()
	synctest.Wait() // one after another: only then a seed is one life
}

func (o *op) request() (method, query, body string, headers []string) {
	p := o.events[0]
	var bodies []string
	for _, one := range o.events {
		bodies = append(bodies, one.body())
	}
	switch o.kind {
	case "batch":
		return "POST", "", "[" + strings.Join(bodies, ",") + "]", nil
	case "lines":
		return "POST", "", strings.Join(bodies, "\n"), []string{"Content-Type: application/x-ndjson"}
	case "raw":
		more := []string{"trace_id", p.trace(), "key", p.key, "id", p.id}
		if p.ctype != "" {
			headers = append(headers, "Content-Type: "+p.ctype)
		}
		return "POST", subjects([]string{p.subject}, more...), p.payload, headers
	case "confirm":
		return "POST", fmt.Sprintf("?confirm=%d&timeout=20s", o.confirm), p.body(), nil
	case "reply":
		return "POST", "?reply=true&timeout=20s", p.body(), nil
	}
	return "POST", "", p.body(), nil
}
