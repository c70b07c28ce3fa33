package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// step is one thing that happens. What it draws comes from its own seed, so
// that leaving out another one changes as little as can be.
type step struct {
	kind string
	seed uint64
}

// kinds are the steps, each as often as it stands here.
var kinds = weighted(map[string]int{
	"publish": 14, "burst": 6, "again": 5, "expired": 1,
	"reader": 4, "permit": 5, "drop": 4, "connect": 5, "pull": 4,
	"consumer": 3, "ack": 10, "up_to": 2, "nak": 4, "term": 1, "wip": 1, "leave": 2, "join": 3,
	"flood": 1, "trickle": 3, "ask": 2, "confirm": 2, "reply": 2, "sleep": 8, "long": 1,
	"kill": 3, "power": 4, "shutdown": 1, "eio": 2, "full": 1, "clock": 1, "rot": 1, "lookup": 2, "beyond": 1,
})

// namedKinds are the steps of named consumers.
var namedKinds = []string{
	"member", "member", "member", "part", "part", "lease", "lease", "verdict", "verdict", "verdict", "verdict", "verdict", "verdict", "verdict",
	"change", "change", "delete",
}

func weighted(weights map[string]int) (all []string) {
	for _, kind := range []string{
		"publish", "burst", "again", "expired", "reader", "permit", "drop", "connect", "pull", "consumer",
		"ack", "up_to", "nak", "term", "wip", "leave", "join", "flood", "trickle", "ask", "confirm", "reply", "sleep", "long",
		"kill", "power", "shutdown", "eio", "full", "clock", "rot", "lookup", "beyond",
	} {
		for range weights[kind] {
			all = append(all, kind)
		}
	}
	return all
}

// lifeOf is the life that a seed stands for.
func lifeOf(seed uint64) life {
	rng := rand.New(rand.NewPCG(seed, 1))
	l := life{seed: seed, sync: []string{"always", "always", "interval=100ms", "os"}[rng.IntN(4)]}
	if l.sync == "interval=100ms" {
		l.every = 100 * time.Millisecond
	}
	l.block = []int{1, 64, 700, 4096}[rng.IntN(4)]
	l.latency = []time.Duration{0, time.Millisecond, 20 * time.Millisecond}[rng.IntN(3)]
	l.age = []time.Duration{0, 0, time.Minute}[rng.IntN(3)]
	l.sealed = rng.IntN(3) == 0
	for range 15 + rng.IntN(60) {
		l.steps = append(l.steps, step{kinds[rng.IntN(len(kinds))], rng.Uint64()})
	}
	if more := rand.New(rand.NewPCG(seed, 6)); more.IntN(2) == 0 { // half of the lives have named consumers
		for range 10 + more.IntN(30) {
			at := more.IntN(len(l.steps) + 1)
			l.steps = slices.Insert(l.steps, at, step{namedKinds[more.IntN(len(namedKinds))], more.Uint64()})
		}
	}
	return l
}

// live runs a life to its end, or to its first failure.
func (w *world) live() {
	first := rand.New(rand.NewPCG(w.life.seed, 2))
	w.boots(first, true)
	for i, s := range w.life.steps {
		if w.failure != "" {
			break
		}
		w.step = i + 1
		w.tracef("-- %s", s.kind)
		w.tick(rand.New(rand.NewPCG(s.seed, 5)))
		w.look() // or a frame of the time before would seem to be of after the step
		w.take(s.kind, rand.New(rand.NewPCG(s.seed, 3)))
		w.look()
	}
	w.step++
	if w.failure == "" {
		w.last(rand.New(rand.NewPCG(w.life.seed, 4)))
	}
	w.die()
	for _, c := range w.conns {
		c.cancel()
	}
	time.Sleep(5 * time.Minute) // whatever has a deadline ends
	synctest.Wait()
}

// look takes in all that has happened up to now.
func (w *world) look() {
	w.rest()
	w.noteFailed()
	w.audit()
}

// noteFailed: a namespace whose log met an EIO takes nothing more.
func (w *world) noteFailed() {
	path := strings.TrimSuffix(w.faults.struck(), ".tmp") // a handle keeps the name of before the rename
	if ownLog := strings.HasPrefix(path, dir+"/_"); ownLog && w.ownFailed.IsZero() {
		w.ownFailed, _ = w.faults.calm()
	}
	w.deadFailed = w.deadFailed || path == dir+"/"+bus.DeadNamespace+".log"
	w.namedFailed = w.namedFailed || path == dir+"/"+bus.ConsumersNamespace+".log"
	for _, name := range names {
		if ns := w.spaces[name]; path == dir+"/"+name+".log" && ns.failed == 0 {
			w.tracef("the disk of %s has failed", name)
			ns.failed = w.step
		}
	}
}

func (w *world) take(kind string, rng *rand.Rand) {
	switch kind {
	case "publish", "burst", "again", "expired", "flood", "trickle", "ask", "confirm", "reply":
		w.takePublish(kind, rng)
	case "reader", "permit", "drop", "connect", "pull":
		w.takeReader(kind, rng)
	case "consumer", "leave", "join":
		w.takeConsumer(kind, rng)
	case "ack", "up_to", "nak", "term", "wip":
		if len(w.consumers) > 0 {
			w.settle(w.consumers[rng.IntN(len(w.consumers))], rng, kind)
		}
	case "member", "part", "lease", "verdict", "change", "delete":
		w.takeNamed(kind, rng)
	case "sleep":
		time.Sleep([]time.Duration{10, 60, 150, 1000, 6000, 31_000}[rng.IntN(6)] * time.Millisecond)
	case "long":
		time.Sleep(time.Duration(rng.IntN(14)) * time.Minute)
	case "lookup":
		if ns := w.spaces[names[rng.IntN(2)]]; w.up && len(ns.log) > 0 {
			w.lookUp(ns, 1+rng.Uint64N(uint64(len(ns.log))))
		}
	default:
		w.takeFault(kind, rng)
	}
}

func (w *world) takePublish(kind string, rng *rand.Rand) {
	forms := []string{"one", "one", "raw", "batch", "lines"}
	switch kind {
	case "publish":
		w.publish(rng, forms[rng.IntN(len(forms))])
	case "burst":
		w.burst(rng)
	case "again":
		w.again(rng)
	case "expired":
		w.expired(rng)
	default:
		w.publish(rng, kind)
		if rng.IntN(3) > 0 {
			w.serve(rng)
		}
	}
}

// serve lets the consumers work until those who wait for them have an answer,
// or nearly.
func (w *world) serve(rng *rand.Rand) {
	for range 6 {
		w.tick(rng)
		w.look()
		for _, c := range w.consumers {
			if w.failure != "" {
				return
			}
			w.join(c)
			w.settle(c, rng, "work")
		}
		for _, n := range w.named {
			w.workNamed(n)
		}
	}
}

// burst starts several publishers at once.
func (w *world) burst(rng *rand.Rand) {
	forms := []string{"one", "one", "raw", "batch", "lines"}
	for range 1 + rng.IntN(6) {
		w.publish(rng, forms[rng.IntN(len(forms))])
	}
}

func (w *world) takeReader(kind string, rng *rand.Rand) {
	if kind == "reader" || len(w.readers) == 0 {
		w.addReader(rng)
		return
	}
	r := w.readers[rng.IntN(len(w.readers))]
	switch {
	case kind == "permit":
		if r.slow && r.conn != nil {
			r.conn.permit(1 + rng.IntN(8))
		}
	case kind == "drop":
		w.disconnect(r)
	case r.inArrays:
		w.pull(r, rng, "")
	case kind == "connect":
		w.connect(r, "")
	}
}

func (w *world) takeConsumer(kind string, rng *rand.Rand) {
	if kind == "consumer" || len(w.consumers) == 0 {
		w.addConsumer(rng)
		return
	}
	c := w.consumers[rng.IntN(len(w.consumers))]
	if kind == "leave" {
		w.leave(c)
	} else {
		w.join(c)
	}
}

// takeFault is what happens to the machine.
func (w *world) takeFault(kind string, rng *rand.Rand) {
	switch kind {
	case "kill", "power":
		w.diedAt = time.Now() // or a moment later: nobody can tell when in the burst the power goes
		if rng.IntN(4) > 0 && w.up {
			w.cutAt = w.fs.Calls() + 1 + rng.IntN(8)
			w.fs.CutAfter(w.cutAt)
			w.burst(rng)
			if len(w.named) > 0 {
				w.verdict(w.named[rng.IntN(len(w.named))], rng)
			}
			w.tick(rng)
			w.rest()
		}
		w.crash(rng, kind == "power")
	case "shutdown":
		if w.up {
			if rng.IntN(2) == 0 {
				w.burst(rng)
			}
			w.shutdown()
			w.boots(rng, false)
		}
	case "eio":
		op := []string{"write", "sync", "sync", "truncate"}[rng.IntN(4)]
		w.faults.set(false, op, rng.IntN(4))
		w.burst(rng)
	case "full":
		w.faults.set(true, "", 0)
		w.filled = true
		w.burst(rng)
		w.tick(rng)
		w.rest()
		if rng.IntN(2) == 0 {
			w.faults.clear()
		}
	case "clock":
		w.ahead.Add(int64([]time.Duration{-time.Hour, time.Hour, -24 * time.Hour, 10 * 365 * 24 * time.Hour}[rng.IntN(4)]))
		w.jumped = true
	case "rot":
		w.rot(rng)
	case "beyond":
		w.beyond(rng)
	}
}

// crash ends the process, and perhaps the machine, and starts it again. Some
// who were connected come back at once.
func (w *world) crash(rng *rand.Rand, power bool) {
	w.die()
	w.noteFailed()
	w.lose(rng, power)
	w.boots(rng, power)
	w.audit()
	for _, r := range w.readers {
		if rng.IntN(2) == 0 && !r.inArrays && w.failure == "" {
			w.connect(r, "")
		}
	}
	for _, c := range w.consumers {
		if rng.IntN(2) == 0 && w.failure == "" {
			w.join(c)
		}
	}
}
