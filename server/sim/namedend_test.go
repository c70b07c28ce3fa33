package sim

import (
	"encoding/json"
	"slices"
	"time"
)

// letterKey is an event that was given up, by a life of the server, and by which of
// those that had the name.
type letterKey struct {
	index      uint64
	life, made int
}

// letter counts one that may be kept.
func (n *named) letter(index uint64, life int) {
	n.letters[letterKey{index, life, len(n.made)}]++
}

// restarted is what a start of the server means to a named consumer: what was
// answered holds, unless the power went before it was synced.
func (w *world) restarted(n *named, power bool) {
	lost := power && w.life.every > 0 // what was answered after this may be
	after := w.diedAt
	if !w.ownFailed.IsZero() {
		after = minTime(after, w.ownFailed)
	}
	after = after.Add(-w.grace())
	n.members, n.since = nil, time.Now()
	set := n.now()
	for _, t := range n.tasks {
		switch fresh := lost && t.keptAt().After(after); {
		case !t.acked.IsZero() && !fresh, t.kept && !fresh:
		case t.settled() || t.dying || t.doubt || w.spent(t, set):
			t.claimed = t.claimed || fresh || t.doubt
			t.acked, t.kept, t.unsure = time.Time{}, false, true
		}
		t.latest = maxTime(t.latest, t.longest)
		if t.dying, t.doubt, t.stuck, t.holder = false, false, false, nil; lost {
			t.delayed, t.noted = false, 0
		}
	}
	if n.unseen = 0; set.count == 1 {
		n.unseen = len(w.spaces[n.ns].log)
	}
	n.lost = power && w.life.sync == "os"
	if !lost {
		after = time.Now().Add(time.Hour)
	}
	w.recall(n, after)
}

// keptAt is when what settled an event was durable, at the latest.
func (t *task) keptAt() time.Time {
	if !t.acked.IsZero() {
		return t.acked
	}
	if t.due.IsZero() { // it was not seen to be given up yet
		return time.Now()
	}
	return t.due.Add(buryPatience)
}

// finishNamed has somebody acknowledge all that there is, until nothing comes any
// more, and asks for the rest.
func (w *world) finishNamed(n *named) {
	before := n.now()
	if !before.there {
		return
	}
	s := before
	if s.paused = false; s != before {
		w.changeTo(n, before, s)
	}
	for quiet := 0; quiet < 2 && w.failure == ""; quiet++ {
		if w.look(); !n.connected() {
			w.connectNamed(n, s)
		}
		if open, _ := n.known(); len(open) > 0 {
			quiet = -1
			w.acknowledge(n, open)
		}
		time.Sleep(buryPatience + time.Second)
	}
	if w.look(); w.failure == "" {
		w.checkFinished(n)
	}
}

// acknowledge says ack of many, each for itself.
func (w *world) acknowledge(n *named, open []uint64) {
	var sayings []*saying
	for _, i := range open {
		if t := n.tasks[i]; !t.dying {
			sayings = append(sayings, &saying{n: n, t: t, verdict: "ack"})
		}
	}
	for part := range slices.Chunk(sayings, 20) {
		if w.tell(part, nil); w.failure != "" {
			return
		}
	}
}

// checkFinished: everything that matches was settled, or became a dead letter.
func (w *world) checkFinished(n *named) {
	letters := w.lettersOf(n)
	log := w.spaces[n.ns].log
	for i, e := range log {
		index := uint64(i + 1)
		t := n.tasks[index]
		if wants(n.patterns, e.Subject) && (t == nil || t.acked.IsZero() && !t.claimed) && !letters[index] {
			w.failf("%s never settled %d, and it is no dead letter", n.name, index)
		}
	}
	var state struct {
		Unacked int    `json:"unacked"`
		Behind  uint64 `json:"behind"`
		Floor   uint64 `json:"ack_floor"`
	}
	a := w.do("GET", n.path(), "")
	if json.Unmarshal([]byte(a.body), &state) != nil || a.status != 200 || state.Unacked != 0 || state.Behind != 0 || state.Floor != uint64(len(log)) {
		w.failf("%s has settled all of %d: got %d %s", n.name, len(log), a.status, a.body)
	}
}

// lettersOf returns which events became dead letters since the consumer was made,
// and fails when one did too often.
func (w *world) lettersOf(n *named) map[uint64]bool {
	all := map[uint64]bool{}
	a := w.do("GET", subjects([]string{"_dead_." + n.ns + "." + n.name}, "start", "oldest", "until", "newest"), "", "Accept: application/json")
	var letters []struct {
		Payload struct {
			Index    uint64
			Attempts int
			Reason   string
			At       time.Time
		}
	}
	if err := json.Unmarshal([]byte(a.body), &letters); err != nil || a.status != 200 || a.header.Get("X-BUS-MORE") != "" {
		w.failf("dead letters of %s: got %d %.300s %v", n.name, a.status, a.body, err)
	}
	seen := map[letterKey]int{}
	for _, l := range letters {
		if l.Payload.At.Before(w.undone) {
			continue // of events that a power cut took back
		}
		key := letterKey{l.Payload.Index, countTo(w.started, l.Payload.At), countTo(n.made, l.Payload.At)}
		if seen[key]++; seen[key] > max(1, n.letters[key]) {
			w.failf("%s: %d became %d dead letters in one life of the server, had %d last attempts", n.name, key.index, seen[key], n.letters[key])
		}
		if key.made == len(n.made) {
			all[l.Payload.Index] = true
		}
	}
	return all
}

// countTo is how many of these times there were by then.
func countTo(times []time.Time, then time.Time) (n int) {
	for _, at := range times {
		if !at.After(then) {
			n++
		}
	}
	return n
}
