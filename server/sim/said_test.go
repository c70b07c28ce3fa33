package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing/synctest"
	"time"
)

// say is one thing that is said of an event, by the name of its consumer or by
// the id of a connection.
type saying struct {
	n       *named
	t       *task
	verdict string
	delay   time.Duration
	body    string
	answer  answer
	about   []*task // with up_to all that were given before, and t
	left    bool    // who had it was gone before
}

// known are the indexes of a named consumer's events, those that are not settled
// first.
func (n *named) known() (open, all []uint64) {
	for i, t := range n.tasks {
		if all = append(all, i); !t.settled() {
			open = append(open, i)
		}
	}
	slices.Sort(open)
	slices.Sort(all)
	return open, all
}

// verdict says something of one event, or of several at the same time.
func (w *world) verdict(n *named, rng *rand.Rand) {
	w.attendNamed(n)
	open, all := n.known()
	if !n.now().there || len(all) == 0 {
		return
	}
	if len(open) == 0 || rng.IntN(12) == 0 {
		open = all
	}
	var sayings []*saying
	for range 1 + rng.IntN(2)*rng.IntN(4) {
		i := open[rng.IntN(len(open))]
		open = slices.DeleteFunc(open, func(other uint64) bool { return other == i })
		s := sayingOf(n, n.tasks[i], rng)
		if len(sayings) > 0 && s.verdict == "up_to" { // which would be about the others too
			break
		}
		if sayings = append(sayings, s); len(open) == 0 || s.verdict == "up_to" {
			break
		}
	}
	var leaves *member
	if h := sayings[0].t.holder; rng.IntN(3) == 0 && slices.Contains(n.members, h) {
		leaves = h // who says so often leaves at once
	}
	w.tell(sayings, leaves)
}

// workNamed acknowledges what somebody waits for, or all there is.
func (w *world) workNamed(n *named) {
	w.attendNamed(n)
	open, _ := n.known()
	if len(open) == 0 || !w.up || w.cut() || w.failure != "" || !n.connected() {
		return
	}
	s := &saying{n: n, t: n.tasks[open[len(open)-1]], verdict: "up_to"}
	for _, i := range open {
		if t := n.tasks[i]; t.e.ResponseSubject != "" {
			s.t, s.verdict = t, "ack"
		}
	}
	w.tell([]*saying{s}, nil)
}

func sayingOf(n *named, t *task, rng *rand.Rand) *saying {
	s := &saying{n: n, t: t, verdict: []string{"ack", "ack", "ack", "ack", "up_to", "nak", "nak", "term", "wip"}[rng.IntN(9)]}
	if s.verdict == "nak" && rng.IntN(2) == 0 {
		s.delay = []time.Duration{time.Millisecond, 300 * time.Millisecond, 10 * time.Second}[rng.IntN(3)]
	}
	return s
}

// tell sends what is said, all of it at the same time, and takes the answers in.
// Meanwhile a connection may leave.
func (w *world) tell(sayings []*saying, leaves *member) {
	asked := time.Now()
	var done sync.WaitGroup
	for _, s := range sayings {
		w.prepare(s)
		client, query := w.client, s.query()
		done.Go(func() { s.answer = request(client, "PUT", query, &trickle{text: s.body}) })
	}
	if leaves != nil {
		synctest.Wait()
		leaves.conn.cancel()
		w.tracef("%s leaves", leaves.name)
	}
	done.Wait()
	w.rest()
	w.noteFailed()
	w.attendNamed(sayings[0].n) // what took longer than its redelivery went out again
	for _, s := range sayings {
		w.tracef("%s says %s of %d: %d", s.n.name, s.verdict, s.t.e.Index, s.answer.status)
		if s.heard(w, asked); w.failure != "" {
			return
		}
		for _, t := range s.about {
			t = s.n.tasks[t.e.Index]
			t.said, t.guarded = false, false
		}
	}
}

func (s *saying) query() string {
	q := url.Values{"consumer": {s.n.name}, "event_id": {s.t.e.ID}, "verdict": {s.verdict}}
	if s.verdict == "up_to" {
		q.Set("verdict", "ack")
		q.Set("up_to", "true")
	}
	if s.delay > 0 {
		q.Set("delay", s.delay.String())
	}
	return "?" + q.Encode()
}

// prepare notes what is said of which events, and what may come of it as soon as
// it is sent.
func (w *world) prepare(s *saying) {
	now := time.Now()
	s.left = s.t.holder != nil && !s.t.holder.gone.IsZero()
	for i, t := range s.n.tasks {
		if i != s.t.e.Index && (s.verdict != "up_to" || i > s.t.e.Index) {
			continue
		}
		s.about, t.said = append(s.about, t), true
		if set := s.n.now(); t.life != w.lifeNow() || t.settled() || t.unsure || !s.n.connected() || w.over(s.n, t, set) {
			t.earliest = minTime(t.earliest, now)
		} else if s.verdict != "nak" && s.verdict != "wip" { // nobody else gets it while that is written down
			t.earliest, t.guarded = now.Add(set.redelivery), true
		}
		if s.verdict == "ack" || s.verdict == "up_to" {
			w.byTrace[t.e.TraceID].ackers[s.n.name] = true
		}
	}
	if s.verdict == "nak" { // it may go out again before that is answered
		s.t.earliest = minTime(s.t.earliest, now.Add(s.delay))
	}
	if p := w.byTrace[s.t.e.TraceID]; s.verdict == "ack" && s.t.e.ResponseSubject != "" && s.t.acked.IsZero() && !s.t.unsure {
		s.body = fmt.Sprintf(`{"re":%d,"from":%q}`, s.t.e.Index, s.n.name)
		p.replies[s.body] = true
	}
}

// heard takes an answer in.
func (s *saying) heard(w *world, asked time.Time) {
	was, t, status := s.t, s.n.tasks[s.t.e.Index], s.answer.status
	set := s.n.now()
	late := was.settled() || was.unsure || w.over(s.n, was, set) || w.over(s.n, t, set)
	var answer struct{ Already any } // true, or a count for several
	switch {
	case status == http.StatusNotFound && late && was.acked.IsZero():
		t.unsure, t.dying, t.due = false, true, asked // it was given up
		return
	case status == 0 || status >= 500:
		w.mayFail(fmt.Sprintf("%s says %s of %d", s.n.name, s.verdict, t.e.Index), s.answer)
		s.failed(asked, set)
		return
	case status != http.StatusAccepted || json.Unmarshal([]byte(s.answer.body), &answer) != nil:
		w.failf("%s says %s of %d, which it was given: got %d %s", s.n.name, s.verdict, t.e.Index, status, s.answer.body)
		return
	case answer.Already == true || answer.Already != nil && late:
		if t.acked.IsZero() {
			t.kept, t.due = true, asked
		}
		if !late && !was.doubt && was.life == w.lifeNow() {
			w.failf("%s says %s of %d, which it was given and has not settled: got %s", s.n.name, s.verdict, t.e.Index, s.answer.body)
		}
	default:
		if p := w.byTrace[t.e.TraceID]; s.body != "" && p.conn != nil {
			p.told = append(p.told, s.body)
		}
		t.unsure = t.unsure || late && s.verdict != "ack" && s.verdict != "up_to" // a dead letter may be under way
		s.taken(w, t, asked, set)
	}
	if s.verdict == "up_to" {
		s.takenBelow(w, set)
	}
}

// failed: nothing has changed, but for the time it took; a restart may find that
// it was kept all the same.
func (s *saying) failed(asked time.Time, set settings) {
	for _, t := range s.about {
		t = s.n.tasks[t.e.Index]
		t.stuck = t.stuck || s.verdict != "wip"
		t.doubt, t.delayed, t.noted = t.doubt || t.stuck, false, 0
		t.earliest = minTime(t.earliest, asked)
		t.latest = maxTime(t.latest, time.Now().Add(max(set.redelivery, s.delay)))
		if t.dying { // it could not be kept either, and has its time once more
			t.due = maxTime(t.due, t.latest)
		}
	}
	if s.verdict == "term" {
		s.n.letter(s.t.e.Index, s.t.life)
	}
}

// taken is what a verdict that was not said before has done.
func (s *saying) taken(w *world, t *task, asked time.Time, set settings) {
	now := time.Now()
	switch {
	case s.verdict == "ack" || s.verdict == "up_to":
		t.acked = now
	case s.verdict == "term":
		t.acked = now
		s.n.letter(t.e.Index, w.lifeNow())
	case t != s.t: // it went out again meanwhile
	case s.verdict == "wip" && t.holder != nil && !t.holder.gone.IsZero() && !s.left && !t.holder.gone.Before(asked): // it left behind it
	case s.verdict == "wip":
		s.prolonged(t, asked, set)
	case s.verdict == "nak":
		t.longest = maxTime(t.longest, t.latest)
		t.delayed, t.holder, t.noted = true, nil, 1
		if t.life == w.lifeNow() {
			t.noted = t.attempt
		}
		t.earliest, t.latest = asked.Add(s.delay), now.Add(max(s.delay, time.Second))
		if w.spent(t, set) {
			t.delayed, t.noted, t.earliest, t.latest = false, 0, asked, now
		}
	}
}

// prolonged: who has it has more time. Where nobody has it, nobody gets it meanwhile.
func (s *saying) prolonged(t *task, asked time.Time, set settings) {
	t.longest = maxTime(t.longest, t.latest)
	t.earliest, t.latest = asked.Add(set.redelivery), time.Now().Add(set.redelivery)
	switch h := t.holder; {
	case !s.n.connected():
		t.holder, t.delayed = nil, true
	case h == nil, !h.leased && !h.gone.IsZero(), t.delayed:
		t.holder, t.delayed = &member{name: "nobody", leased: true}, false
	}
}

// takenBelow: what was given before and not settled is acknowledged too. Of what
// an earlier server gave it is not known how much this one knows.
func (s *saying) takenBelow(w *world, set settings) {
	for _, was := range s.about {
		t := s.n.tasks[was.e.Index]
		switch {
		case was == s.t || t.settled():
		case was.life != w.lifeNow() || was.unsure || w.over(s.n, was, set) || w.over(s.n, t, set):
			t.unsure, t.claimed = true, true
		default:
			t.acked = time.Now()
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
