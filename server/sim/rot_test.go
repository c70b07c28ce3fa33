package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"example.com/bus"
	"example.com/bus/immuta/faultfs"
	"example.com/bus/server/disk"
)

// rot turns one bit of a copy of the disk, and reads all that a server on it
// would serve: each event is the one that was there, or said to be lost.
func (w *world) rot(rng *rand.Rand) {
	if !w.up || w.cut() || w.anyFailed() || w.faults.any() || w.life.sync == "os" {
		return
	}
	w.own = nil // as they are now: the server goes on while a copy is read
	for _, name := range []string{bus.DeadNamespace, bus.ConsumersNamespace} {
		if w.engine.Incarnation(name) != 0 {
			w.own = append(w.own, w.whole(name))
		}
	}
	files := w.fs.After(faultfs.All, nil)
	var paths []string
	for _, path := range files.Names() {
		if b, _ := files.ReadFile(path); len(b) > 0 && !strings.HasSuffix(path, "lock") {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return
	}
	path := paths[rng.IntN(len(paths))]
	b, _ := files.ReadFile(path)
	bit := rng.IntN(len(b) * 8)
	b[bit/8] ^= 1 << (bit % 8)
	files.WriteFile(path, b)
	w.tracef("bit %d of %s turns", bit, path)
	engine, err := w.open(files)
	if err != nil {
		if !strings.HasSuffix(path, ".log") {
			w.failf("bit %d of %s, which can be made anew, keeps the server from starting: %v", bit, path, err)
		}
		return
	}
	what := fmt.Sprintf("bit %d of %s", bit, path)
	w.readRotten(engine, what)
	engine.Close() // a damaged log was not written to
	w.repair(files, what+", repaired")
}

func (w *world) readRotten(engine *disk.Engine, what string) {
	for _, name := range names {
		reader := engine.Reader(name, 1)
		w.checkRotten(w.spaces[name], reader, what)
		reader.Close()
	}
	for _, own := range w.own {
		if engine.Keep(own.name) != nil {
			continue // its header has rotted: that is said to who needs it
		}
		reader := engine.Reader(own.name, 1)
		w.checkRotten(own, reader, what)
		reader.Close()
	}
}

// whole is what a log of the bus's own holds on the disk that has not rotted.
func (w *world) whole(own string) *namespace {
	ns, reader := newNamespace(own), w.engine.Reader(own, 1)
	defer reader.Close()
	for {
		events, err := reader.Next()
		if err != nil {
			return ns
		}
		for i := range events {
			e, b := new(wire), []byte(nil)
			if b, err = events[i].MarshalJSON(); err == nil {
				err = json.Unmarshal(b, e)
			}
			if err != nil {
				w.failf("%s %d: %v", own, events[i].Index, err)
			}
			ns.log = append(ns.log, e)
		}
	}
}

// repair sets aside what has rotted: what is left is served as before, and the
// namespaces take events, at indexes that were never given.
func (w *world) repair(files *faultfs.FS, what string) {
	o := disk.Options{FS: files, Now: w.now}
	if w.life.sealed {
		o.Sealing = w.ring
	}
	for _, name := range names {
		for _, again := range []bool{false, true} {
			did, err := disk.Repair(dir, name, o, true)
			if err != nil || again && did.Done {
				w.failf("%s: repair of %s (again: %v): got %+v and %v", what, name, again, did, err)
				return
			}
			if did.Done {
				w.tracef("%s: %s has the gaps %v", what, name, did.Gaps)
			}
		}
	}
	engine, err := w.open(files)
	if err != nil {
		w.failf("%s: open: %v", what, err)
		return
	}
	defer engine.Close()
	w.readRotten(engine, what)
	for _, name := range names {
		more := []bus.Event{{Subject: name + ".behind", Payload: []byte("1")}}
		if err := engine.Append(context.Background(), name, more); err != nil || more[0].Index <= uint64(len(w.spaces[name].log)) {
			w.failf("%s: %s takes an event at %d with %v, want it behind %d", what, name, more[0].Index, err, len(w.spaces[name].log))
		}
	}
}

// checkRotten reads a namespace to its end, over what is said to be damaged.
func (w *world) checkRotten(ns *namespace, reader interface {
	Next() ([]bus.Event, error)
	Seek(uint64)
}, what string) {
	next := uint64(1)
	for {
		events, err := reader.Next()
		var damage *bus.DamageError
		switch {
		case err == io.EOF:
			if next <= uint64(len(ns.log)) {
				w.failf("%s: %s ends before %d of %d, and no damage is said", what, ns.name, next, len(ns.log))
			}
			return
		case errors.As(err, &damage) && damage.Next == 0:
			return
		case errors.As(err, &damage):
			if damage.From > next {
				w.failf("%s: damage of %s is said from %d on, read was up to %d", what, ns.name, damage.From, next)
			}
			next = damage.Next
			reader.Seek(next)
			continue
		case err != nil:
			w.failf("%s: reading %s: %v", what, ns.name, err)
			return
		}
		for i := range events {
			e := &events[i]
			if e.Index != next {
				w.failf("%s: %s goes on at %d, want %d", what, ns.name, e.Index, next)
				return
			}
			next++
			if e.Index > uint64(len(ns.log)) {
				continue // answered and not synced yet
			}
			var got wire
			b, _ := e.MarshalJSON()
			if json.Unmarshal(b, &got) != nil || got.sum() != ns.log[e.Index-1].sum() {
				w.failf("%s: %s %d is served as %s, want %s", what, ns.name, e.Index, got.sum(), ns.log[e.Index-1].sum())
			}
		}
	}
}

// beyond asks for what is not there: the gap is said, with numbers.
func (w *world) beyond(rng *rand.Rand) {
	if !w.up || w.cut() || w.life.every > 0 {
		return
	}
	ns, ahead := w.spaces[names[rng.IntN(2)]], uint64(1+rng.IntN(9))
	tail := uint64(len(ns.log))
	a := w.do("GET", subjects([]string{ns.name + ".>"}, "until", "newest", "start", fmt.Sprintf("#%d", tail+1+ahead)), "", "Accept: application/json")
	want := fmt.Sprintf(`[{"namespace":%q,"requested":"#%d","resumed_index":%d,"lost":%d,"reason":"ahead"}]`, ns.name, tail+1+ahead, tail+1, ahead)
	if got := a.header.Get("X-BUS-GAP"); a.status != 200 || got != want {
		w.failf("reading %s from %d with %d events: got %d, gap %s, want %s", ns.name, tail+1+ahead, tail, a.status, got, want)
	}
}
