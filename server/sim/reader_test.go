package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"example.com/bus"
)

// reader is one that does not acknowledge. It keeps what a browser would: the
// last id it was told.
type reader struct {
	name     string
	patterns []string
	spaces   []string
	lines    bool // NDJSON
	slow     bool
	inArrays bool // it pulls
	conn     *conn
	resume   string
	pos      map[string]uint64 // last index that was passed, by namespace
	least    map[string]uint64 // where the end was when it asked for the newest; nil once it has been told
	frames   []frame           // read, and not yet checked
}

var patternSets = [][]string{
	{"orders.>"}, {"app.>"}, {"orders.*"}, {"app.created"}, {"orders.eu.*"},
	{"orders.>", "app.>"}, {"orders.created", "orders.eu.>"}, {"app.*", "orders.eu.paid"},
}

func spacesOf(patterns []string) (spaces []string) {
	for _, name := range names {
		if slices.ContainsFunc(patterns, func(p string) bool { return firstSegment(p) == name }) {
			spaces = append(spaces, name)
		}
	}
	return spaces
}

// wants reports whether one of the patterns matches.
func wants(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, subject) })
}

// addReader opens a reader from the oldest event, from the end, or from an index.
func (w *world) addReader(rng *rand.Rand) {
	if !w.up || len(w.readers) > 7 {
		return
	}
	r := &reader{name: fmt.Sprintf("r%d", len(w.readers)), patterns: patternSets[rng.IntN(len(patternSets))], pos: map[string]uint64{}}
	r.spaces = spacesOf(r.patterns)
	r.lines = len(r.spaces) == 1 && rng.IntN(3) == 0
	r.inArrays = !r.lines && rng.IntN(4) == 0
	r.slow = !r.inArrays && rng.IntN(3) == 0
	w.readers = append(w.readers, r)
	start := "oldest"
	switch shortest := w.shortest(r.spaces); rng.IntN(3) {
	case 0:
		if !r.lines && !r.inArrays {
			start, r.least = "newest", map[string]uint64{}
			for _, name := range r.spaces {
				r.least[name] = uint64(len(w.spaces[name].log))
			}
		}
	case 1:
		if shortest > 0 {
			index := 1 + rng.Uint64N(shortest)
			start = "#" + strconv.FormatUint(index, 10)
			for _, name := range r.spaces {
				r.pos[name] = index - 1
			}
		}
	}
	w.tracef("%s reads %v from %s slow=%v lines=%v arrays=%v", r.name, r.patterns, start, r.slow, r.lines, r.inArrays)
	if r.inArrays {
		w.pull(r, rng, start)
		return
	}
	w.connect(r, start)
}

// shortest is how many events the shortest of some namespaces has.
func (w *world) shortest(spaces []string) uint64 {
	n := len(w.spaces[spaces[0]].log)
	for _, name := range spaces {
		n = min(n, len(w.spaces[name].log))
	}
	return uint64(n)
}

func (w *world) connect(r *reader, start string) {
	if !w.up || r.conn != nil || len(r.frames) > 0 {
		return
	}
	if r.resume == "" && start == "" {
		start, r.least = "oldest", nil
		clear(r.pos)
	}
	accept := "text/event-stream"
	if r.lines {
		accept = "application/x-ndjson"
	}
	w.tracef("%s connects, resume %s", r.name, r.resume)
	r.conn = w.dial(subjects(r.patterns, "start", start), accept, r.resume, r.slow)
	w.rest()
}

func (w *world) disconnect(r *reader) {
	if r.conn == nil {
		return
	}
	r.conn.cancel()
	w.rest()
	w.takeFrames(r)
	r.conn = nil
}

// takeFrames notes what a reader was shown, and what it would resume with.
func (w *world) takeFrames(r *reader) {
	frames, status, ended := r.conn.take()
	if status != 0 && status != 200 {
		w.failf("%s: the stream is refused with %d", r.name, status)
	}
	for i := range frames {
		f := &frames[i]
		if f.id != "" {
			w.placed(r, f.id)
			r.resume = f.id
		}
		if e := w.sight(r.name, r.patterns, f); e != nil && r.lines {
			r.resume = e.ID
		}
	}
	r.frames = append(r.frames, frames...)
	if ended {
		w.tracef("%s: ended", r.name)
		r.conn = nil
	}
}

// placed: the first frame of a stream says where newest was.
func (w *world) placed(r *reader, id string) {
	if r.least == nil {
		return
	}
	at, ok := bus.ParseID(id)
	if !ok || len(at) != len(r.spaces) {
		w.failf("%s: hello says %q", r.name, id)
		return
	}
	for i, name := range r.spaces {
		if at[i].Index < r.least[name] {
			w.failf("%s asked for the newest of %s, which was behind %d, and begins at %d", r.name, name, r.least[name], at[i].Index+1)
		}
		r.pos[name] = at[i].Index
	}
	r.least = nil
}

// sight checks one frame for itself.
func (w *world) sight(who string, patterns []string, f *frame) *wire {
	switch f.event {
	case "gap":
		w.failf("%s is told of a gap: %s", who, f.data)
	case "problem":
		w.tracef("%s: %s", who, f.data)
	case "msg":
		e := new(wire)
		if err := json.Unmarshal([]byte(f.data), e); err != nil {
			w.failf("%s got %q: %v", who, f.data, err)
			return nil
		}
		ns := w.spaces[firstSegment(e.Subject)]
		if ns == nil || !wants(patterns, e.Subject) {
			w.failf("%s reads %v and got %s", who, patterns, e.sum())
			return nil
		}
		w.saw(ns, e)
		f.e = e
		return e
	}
	return nil
}

func firstSegment(subject string) string {
	for i := range subject {
		if subject[i] == '.' {
			return subject[:i]
		}
	}
	return subject
}

// watch takes what all have read, and checks its order.
func (w *world) watch() {
	for _, r := range w.readers {
		if r.conn != nil {
			w.takeFrames(r)
		}
		w.checkOrder(r)
	}
	for _, c := range w.consumers {
		w.attend(c)
	}
	for _, n := range w.named {
		w.attendNamed(n)
	}
}

// checkOrder: every event that matches, once, in order. What the model does not
// know yet waits.
func (w *world) checkOrder(r *reader) {
	for len(r.frames) > 0 {
		f := r.frames[0]
		if e := f.e; e != nil {
			ns := w.spaces[firstSegment(e.Subject)]
			if e.Index > uint64(len(ns.log)) {
				return
			}
			if e.Index <= r.pos[ns.name] {
				w.failf("%s got %s %d behind %d: again", r.name, ns.name, e.Index, r.pos[ns.name])
			}
			w.passed(r.name, r.patterns, ns, r.pos[ns.name]+1, e.Index)
			r.pos[ns.name] = e.Index
		}
		r.frames = r.frames[1:]
	}
}

// passed fails when an event between two indexes should have been there.
func (w *world) passed(who string, patterns []string, ns *namespace, from, next uint64) {
	for i := from; i < next; i++ {
		if e := ns.log[i-1]; wants(patterns, e.Subject) {
			w.failf("%s goes on at %s %d and was never shown %d (%s)", who, ns.name, next, i, e.Subject)
			return
		}
	}
}

// checkComplete: a reader that is connected and reads has all there is.
func (w *world) checkComplete(r *reader) {
	for _, name := range r.spaces {
		ns := w.spaces[name]
		w.passed(r.name+" at rest", r.patterns, ns, r.pos[name]+1, uint64(len(ns.log)+1))
		if w.failure != "" {
			return
		}
	}
}

// resetReaders is for a power cut that may take back what they saw: they begin
// again.
func (w *world) resetReaders() {
	for _, r := range w.readers {
		r.conn, r.resume, r.frames, r.least = nil, "", nil, nil
		clear(r.pos)
	}
	for _, c := range w.consumers {
		c.conn = nil
		c.restart()
	}
}
