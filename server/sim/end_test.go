package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/bus/immuta/faultfs"
)

// last lets everybody finish, and looks whether all have all.
func (w *world) last(rng *rand.Rand) {
	w.tracef("-- the end")
	w.faults.clear()
	if !w.up || w.anyFailed() || w.cut() {
		w.die()
		w.lose(rng, false)
		w.boots(rng, false)
	}
	time.Sleep(40 * time.Second)
	w.rest()
	w.audit()
	w.finishReaders(rng)
	w.finishConsumers(rng)
	for _, n := range w.named {
		w.finishNamed(n)
	}
	if w.failure != "" {
		return
	}
	w.shutdown()
	if w.pending != 0 {
		w.failf("%d requests never ended", w.pending)
	}
	w.fs = w.fs.After(faultfs.None, nil)
	if w.failure == "" && !w.boot() {
		w.failf("after a clean end the server does not start")
	}
	if w.failure == "" {
		w.reread(false)
	}
}

func (w *world) finishReaders(rng *rand.Rand) {
	for _, r := range w.readers {
		r.slow = false
		for range 20 {
			if r.conn != nil {
				r.conn.hurry()
				w.rest()
			}
			w.audit()
			if r.conn != nil || w.failure != "" || r.inArrays {
				break
			}
			w.connect(r, "")
		}
		for range 2000 {
			before := fmt.Sprint(r.pos, r.resume)
			if r.inArrays && w.failure == "" {
				w.pull(r, rng, "")
				w.checkOrder(r)
			}
			if before == fmt.Sprint(r.pos, r.resume) {
				break
			}
		}
		if w.failure == "" {
			w.checkComplete(r)
		}
	}
}

func (w *world) finishConsumers(rng *rand.Rand) {
	for _, c := range w.consumers {
		for range 5000 {
			w.join(c)
			w.audit()
			if w.failure == "" && len(c.dying) > 0 { // what it gave up has its place until it is a dead letter
				time.Sleep(buryPatience)
				w.rest()
				continue
			}
			if w.failure != "" || c.conn != nil && len(c.out) == 0 {
				break
			}
			w.settle(c, rng, "all")
			w.rest()
		}
		for i, e := range w.spaces[c.ns].log {
			if wants(c.patterns, e.Subject) && !c.done[uint64(i+1)] {
				w.failf("%s never got %d to settle", c.name, i+1)
			}
		}
	}
}
