package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// read pulls all of a namespace from an index on.
func (w *world) read(ns *namespace, from uint64) (events []*wire, ok bool) {
	for {
		a := w.do("GET", subjects([]string{ns.name + ".>"}, "start", "#"+strconv.FormatUint(from, 10), "until", "newest"), "", "Accept: application/json")
		if a.status != 200 || a.err != nil {
			w.failf("reading %s from %d: %d %v %s", ns.name, from, a.status, a.err, a.body)
			return nil, false
		}
		if gap := a.header.Get("X-BUS-GAP"); gap != "" {
			w.failf("reading %s from %d: gap %s", ns.name, from, gap)
			return nil, false
		}
		var part []*wire
		if err := json.Unmarshal([]byte(a.body), &part); err != nil {
			w.failf("reading %s from %d: %v in %.300q, headers %v", ns.name, from, err, a.body, a.header)
			return nil, false
		}
		events = append(events, part...)
		if a.header.Get("X-BUS-MORE") == "" {
			return events, true
		}
		from = events[len(events)-1].Index + 1
	}
}

// audit takes in what the bus shows since the last time, and then looks at
// what was answered and what everybody saw.
func (w *world) audit() {
	if !w.up || w.failure != "" || w.cut() {
		return
	}
	for _, name := range names {
		ns := w.spaces[name]
		events, ok := w.read(ns, uint64(len(ns.log)+1))
		if !ok {
			return
		}
		for _, e := range events {
			w.show(ns, e)
		}
	}
	w.watch()
	for _, name := range names {
		w.checkAnswered(w.spaces[name])
	}
	w.checkBatches()
	if w.up && w.failure == "" {
		w.checkAtRest()
	}
}

// cut reports whether the disk has lost power under the running server.
func (w *world) cut() bool { return w.cutAt > 0 && w.fs.Calls() >= w.cutAt }

// reread takes in the whole log after a start, and checks that nothing that
// had to stay is gone.
func (w *world) reread(power bool) {
	w.watch() // what readers were shown before the end counts
	for _, name := range names {
		old := w.spaces[name]
		fresh := newNamespace(name)
		events, ok := w.read(old, 1)
		if !ok {
			return
		}
		w.checkKept(old, events, power)
		for index, p := range old.receipts {
			if index > uint64(len(events)) {
				p.forget()
				continue
			}
			fresh.receipts[index] = p
		}
		for _, e := range old.log[min(len(events), len(old.log)):] {
			w.byTrace[e.TraceID].forget()
		}
		for i, e := range old.log[:min(len(events), len(old.log))] {
			if events[i].sum() != e.sum() {
				w.failf("%s %d was %s and is %s", name, i+1, e.sum(), events[i].sum())
			}
		}
		for index, sum := range old.sightOf {
			if index <= uint64(len(events)) {
				fresh.sightOf[index] = sum
			}
		}
		w.spaces[name] = fresh
		for _, e := range events {
			w.show(fresh, e)
		}
		w.checkAnswered(fresh)
	}
	w.checkBatches()
	if power && w.life.sync == "os" {
		w.undone = time.Now()
		w.resetReaders()
	}
	if len(w.named) > 0 {
		time.Sleep(time.Millisecond) // no two processes at one time
	}
	w.started = append(w.started, time.Now())
	for _, n := range w.named {
		w.restarted(n, power)
	}
	w.ownFailed = time.Time{}
}

// forget: a power cut took the event back, as the mode allows.
func (p *event) forget() {
	p.index, p.givenID, p.createdAt, p.answered = 0, "", "", time.Time{}
}

// checkKept compares what there is with what there must be.
func (w *world) checkKept(old *namespace, events []*wire, power bool) {
	have := uint64(len(events))
	if power && w.life.sync == "os" {
		return // whatever is there is looked at by the caller
	}
	if have < uint64(len(old.log)) {
		w.failf("%s has %d events, and %d were shown", old.name, have, len(old.log))
	}
	for index := range old.sightOf {
		if index > have {
			w.failf("%s has %d events, and a reader was shown %d", old.name, have, index)
		}
	}
	for index, p := range old.receipts {
		pardoned := power && w.life.every > 0 && (old.failed > 0 || w.diedAt.Sub(p.answered) <= w.grace())
		if index > have && !pardoned {
			w.failf("%s has %d events, and n%d was answered to be at %d", old.name, have, p.n, index)
		}
	}
}

// lookUp asks for single events, by index and by id.
func (w *world) lookUp(ns *namespace, index uint64) {
	e := ns.log[index-1]
	for _, name := range []string{fmt.Sprint(index), e.ID} {
		a := w.do("GET", "v1/namespaces/"+ns.name+"/events/"+name, "")
		var got wire
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.sum() != e.sum() {
			w.failf("%s event %s: got %d %s, want %s", ns.name, name, a.status, a.body, e.sum())
		}
	}
}

// checkAtRest looks at all that are connected once nothing moves.
func (w *world) checkAtRest() {
	for _, r := range w.readers {
		if r.conn != nil && !r.slow {
			w.checkComplete(r)
		}
	}
	for _, c := range w.consumers {
		w.checkConsumer(c)
	}
	for _, n := range w.named {
		w.checkNamed(n)
	}
	for _, p := range w.events {
		if p.conn != nil {
			w.checkInbox(p)
		}
	}
}
