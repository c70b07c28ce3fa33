package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

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
