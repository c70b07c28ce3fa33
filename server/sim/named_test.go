package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// named is a named consumer: the server keeps its place, several connections
// share its events, and it is acknowledged to from anywhere. What the model knows
// of it is of the consumer as a whole.
type named struct {
	name     string
	ns       string
	patterns []string
	words    []word      // on its settings; the last sure one holds
	next     *settings   // asked for, and not answered yet
	made     []time.Time // when each of the name began
	members  []*member
	tasks    map[uint64]*task // of what was delivered, by index
	since    time.Time        // nothing was due before: it was connected, changed or resumed
	window   int              // the largest it ever had
	letters  map[letterKey]int
	lost     bool   // a power cut may have taken anything back
	unseen   int    // up to here, events may have had their only attempt with one who died
	handed   uint64 // up to here, events may have been on their way to a pull that broke off: they are due since
}

// member is one connection of a named consumer.
type member struct {
	name string
	conn *conn
	here bool      // it was welcomed
	gone time.Time // zero: it is connected
	// leased is one that pulls: what it was given stays out though it has left.
	leased bool
}

// forget makes it one that was never there.
func (n *named) forget() {
	time.Sleep(time.Millisecond) // no two of a name at one time
	n.tasks, n.window, n.unseen, n.made = map[uint64]*task{}, 0, 0, append(n.made, time.Now())
	for _, m := range n.members {
		m.conn.cancel()
	}
	n.members = nil
}

func (w *world) takeNamed(kind string, rng *rand.Rand) {
	if !w.up || w.cut() {
		return
	}
	if len(w.named) == 0 || len(w.named) < 3 && rng.IntN(8) == 0 {
		w.addNamed(rng)
	}
	n := w.named[rng.IntN(len(w.named))]
	if w.attendNamed(n); w.failure != "" {
		return
	}
	switch kind {
	case "member":
		w.joinNamed(n, rng)
	case "part":
		w.partNamed(n, rng)
	case "lease":
		w.lease(n, rng)
	case "verdict":
		w.verdict(n, rng)
	case "change":
		w.change(n, rng)
	case "delete":
		w.remove(n)
	}
}

func (w *world) addNamed(rng *rand.Rand) {
	patterns := [][]string{{"orders.>"}, {"app.>"}, {"orders.created"}, {"app.eu.*", "app.paid"}}[rng.IntN(4)]
	n := &named{name: fmt.Sprintf("n%d", len(w.named)), ns: firstSegment(patterns[0]), patterns: patterns, letters: map[letterKey]int{}}
	n.forget()
	w.named = append(w.named, n)
}

// joinNamed connects one more, which makes the consumer where there is none.
func (w *world) joinNamed(n *named, rng *rand.Rand) {
	s := n.now()
	if len(n.members) > 2 {
		return
	}
	if !s.there {
		s = anySettings(rng)
		if rng.IntN(3) == 0 && !w.makeNamed(n, s) {
			return
		}
	}
	w.connectNamed(n, s)
}

func (w *world) connectNamed(n *named, s settings) {
	m := &member{name: fmt.Sprintf("%s/%d", n.name, len(w.conns))}
	w.tracef("%s joins %v %+v", m.name, n.patterns, s)
	m.conn = w.dial(n.query(s), "text/event-stream", "", false)
	n.members = append(n.members, m)
	status := m.conn.await(w)
	if !n.now().there {
		n.say(s, status == http.StatusOK)
	}
	n.since = time.Now()
	w.attendNamed(n)
}

// await waits for the status: a consumer is made on a disk that takes its time.
func (c *conn) await(w *world) int {
	for range 1000 {
		w.rest()
		if status, ended := c.answered(); status != 0 || ended {
			return status
		}
		time.Sleep(time.Millisecond)
	}
	w.failf("a stream is not answered within a second")
	return 0
}

func (n *named) query(s settings, more ...string) string {
	return subjects(n.patterns, append([]string{"consumer", n.name, "start", "oldest", "redelivery", s.redelivery.String(),
		"redelivery_count", strconv.Itoa(s.count), "inflight", strconv.Itoa(s.inflight)}, more...)...)
}

func (n *named) path() string { return "v1/namespaces/" + n.ns + "/consumers/" + n.name }

// partNamed: one leaves. What it had may go to the others at once.
func (w *world) partNamed(n *named, rng *rand.Rand) {
	if len(n.members) == 0 {
		return
	}
	m := n.members[rng.IntN(len(n.members))]
	m.conn.cancel()
	w.rest()
	w.attendNamed(n)
	w.tracef("%s leaves", m.name)
}

// lease pulls some events, which stay out. Some break off before they are answered:
// what those had is as if it had never been given.
func (w *world) lease(n *named, rng *rand.Rand) {
	s := n.now()
	if !s.there {
		return
	}
	if rng.IntN(2) == 0 { // a job that comes by itself, after the time of what is out
		for len(n.members) > 0 && w.failure == "" {
			w.partNamed(n, rng)
		}
		time.Sleep(s.redelivery + time.Millisecond)
	}
	limit := 1 + rng.IntN(5)
	wait := s.redelivery / time.Duration(2*limit+2) // nothing comes twice meanwhile
	m, begun := &member{name: n.name + "/pull", leased: true, here: true}, time.Now()
	patience := 2 * time.Minute
	breaks := rng.IntN(3) == 0
	if breaks {
		patience = wait/2 + 7 // at no moment at which something comes
	}
	a := requestWithin(patience, w.client, "GET", n.query(s, "limit", strconv.Itoa(limit), "wait", wait.String()), &trickle{}, "Accept: application/json")
	if breaks && a.status == 0 {
		w.tracef("%s breaks off", m.name)
		w.rest()
	}
	if w.attendNamed(n); breaks && a.status == 0 {
		n.handed = uint64(len(w.spaces[n.ns].log))
		return
	}
	var events []*wire
	if err := json.Unmarshal([]byte(a.body), &events); a.status != 200 || err != nil || len(events) > limit {
		w.failf("%s pulls %d: got %d %s", n.name, limit, a.status, a.body)
		return
	}
	w.tracef("%s pulls %d of %d", n.name, len(events), limit)
	for _, e := range events {
		w.saw(w.spaces[n.ns], e)
		w.dueFirst(n, e, begun)
		w.given(n, m, e, begun, time.Now())
	}
}

// dueFirst: a pull is not given what is new before what was due when it began.
func (w *world) dueFirst(n *named, e *wire, begun time.Time) {
	if n.tasks[e.Index] != nil || e.Index <= n.handed {
		return
	}
	s := n.now()
	for i, t := range n.tasks {
		if t.life != w.lifeNow() || t.settled() || t.unsure || t.dying || w.spent(t, s) {
			continue
		}
		if due := n.dueAt(t); due.Before(begun) {
			w.failf("%s pulls %d, which is new, and not %d, which was due %s before", n.name, e.Index, i, begun.Sub(due))
			return
		}
	}
}

// mayFail: what needs the disk fails only when the disk does.
func (w *world) mayFail(what string, a answer) {
	if w.noteFailed(); a.status > 0 && a.status < 500 || !w.ill() {
		w.failf("%s: got %d %s", what, a.status, a.body)
	}
}

// ill reports whether a named consumer may be refused what needs the disk.
func (w *world) ill() bool { return w.namedFailed || w.deadFailed || w.faults.any() || w.cut() }

// connected reports whether somebody takes what comes.
func (n *named) connected() bool {
	return slices.ContainsFunc(n.members, func(m *member) bool { return m.here })
}
