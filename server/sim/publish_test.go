package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
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
	return b + "}"
}

// publish starts one request of a kind with new events.
func (w *world) publish(rng *rand.Rand, kind string) {
	if !w.up {
		return
	}
	ns, count := names[rng.IntN(len(names))], 1
	if kind == "batch" || kind == "lines" {
		count = 2 + rng.IntN(6)
	}
	if kind == "flood" { // more than waits for a stream that does not read
		kind, count = "batch", 300
	}
	o := &op{kind: kind}
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
	if kind == "reply" {
		o.events[0].key, o.events[0].wantsReply = "", true
	}
	w.send(o)
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
		if p.key != "" && !w.jumped && w.up && !p.reused && time.Since(p.last) > dedupWindow+2*time.Minute {
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
		o.answer = request(client, method, query, body, headers...)
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

// collect looks at the operations that have finished.
func (w *world) collect() {
	w.mu.Lock()
	ops := w.ops
	w.ops = nil
	w.mu.Unlock()
	slices.SortFunc(ops, func(a, b *op) int { return a.number - b.number })
	for _, o := range ops {
		w.pending--
		w.tracef("%s n%d: %d", o.kind, o.events[0].n, o.answer.status)
		w.judge(o)
	}
}

// judge takes in an answer.
func (w *world) judge(o *op) {
	status, p := o.answer.status, o.events[0]
	ns := w.spaces[p.ns]
	if o.conflict {
		if status/100 == 2 {
			w.failf("n%d has the key or id of another content, and is answered %d %s", p.n, status, o.answer.body)
		}
		return
	}
	switch {
	case errors.Is(o.answer.err, context.DeadlineExceeded):
		w.failf("%s of n%d never ended", o.kind, p.n)
	case status == 0 || o.answer.err != nil && o.kind != "lines":
		return // nobody knows
	case o.kind == "lines":
		w.judgeLines(o)
	case status == http.StatusAccepted && o.kind == "batch":
		var all []receipt
		if json.Unmarshal([]byte(o.answer.body), &all) != nil || len(all) != len(o.events) {
			w.failf("batch of n%d: got %s", p.n, o.answer.body)
			return
		}
		w.receive(o, all)
	case status == http.StatusOK && o.kind == "reply":
		if !p.replies[o.answer.body] {
			w.failf("n%d is answered with %q, which nobody replied", p.n, o.answer.body)
		}
		w.receive(o, []receipt{o.inHeader()})
	case status == http.StatusAccepted || status == http.StatusGatewayTimeout:
		w.judgeOne(o)
	case status == http.StatusInsufficientStorage || status/100 == 4:
		w.refuse(o, ns)
	}
}

// refuse: 507 and 4xx say that nothing was stored. An earlier request with the
// same event may have stored it all the same.
func (w *world) refuse(o *op, ns *namespace) {
	full := o.answer.status == http.StatusInsufficientStorage
	if !full || !w.filled {
		w.failf("n%d on %s: got %d %s", o.events[0].n, ns.name, o.answer.status, o.answer.body)
	}
	for _, p := range o.events {
		p.refused = p.refused || p.sent == 1
	}
}

func (o *op) inHeader() receipt {
	h := o.answer.header
	r := receipt{ID: h.Get("X-BUS-EVENT-ID"), CreatedAt: h.Get("X-BUS-EVENT-CREATED-AT")}
	fmt.Sscan(h.Get("X-BUS-EVENT-INDEX"), &r.Index)
	return r
}

func (w *world) judgeOne(o *op) {
	p, head := o.events[0], o.inHeader()
	body := head
	if o.answer.status == http.StatusAccepted {
		if body = (receipt{}); json.Unmarshal([]byte(o.answer.body), &body) != nil || body.ID != head.ID || body.Index != head.Index || body.CreatedAt != head.CreatedAt {
			w.failf("n%d: body %s and headers %+v differ", p.n, o.answer.body, head)
		}
	} else if json.Unmarshal([]byte(o.answer.body), &body); o.kind == "confirm" && body.Confirmed >= o.confirm {
		w.failf("n%d: got 504 with %d of %d confirmations", p.n, body.Confirmed, o.confirm)
	}
	if o.kind == "confirm" && (body.Confirmed > len(p.ackers) || o.answer.status == 202 && body.Confirmed < o.confirm) {
		w.failf("n%d: got %d %s, %d of %d consumers had acknowledged", p.n, o.answer.status, o.answer.body, len(p.ackers), o.confirm)
	}
	w.receive(o, []receipt{body})
}

// judgeLines: lines with receipts are stored, in order, whatever ends the rest.
func (w *world) judgeLines(o *op) {
	var all []receipt
	for line := range strings.Lines(o.answer.body) {
		var r receipt
		if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &r) != nil || r.ID == "" {
			break
		}
		all = append(all, r)
	}
	if o.answer.status == 202 && len(all) < len(o.events) && o.answer.err == nil && !strings.Contains(o.answer.body, `"status"`) {
		w.failf("lines of n%d: %d receipts for %d events: %s", o.events[0].n, len(all), len(o.events), o.answer.body)
	}
	w.receive(o, all)
}

// receive takes the receipts of the first events of an operation.
func (w *world) receive(o *op, all []receipt) {
	for i, r := range all {
		p := o.events[i]
		ns := w.spaces[p.ns]
		if o.known && !r.Duplicate {
			w.failf("n%d was there, and is not answered to be a duplicate: %+v", p.n, r)
		}
		if r.Duplicate && p.sent < 2 {
			w.failf("n%d was sent once, and is answered to be a duplicate: %+v", p.n, r)
		}
		if ns.failed > 0 && o.step > ns.failed && !r.Duplicate {
			w.failf("n%d was sent after the disk of %s had failed, and is answered %+v", p.n, ns.name, r)
		}
		w.answer(p, r)
	}
}
