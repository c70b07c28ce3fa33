package sim

import (
	"cmp"
	"slices"
	"time"
)

// task is an event that a named consumer was given.
type task struct {
	e        *wire
	attempt  int
	noted    int     // as many attempts are durable
	life     int     // of the server, in which it was given last
	holder   *member // who has it
	sent     time.Time
	earliest time.Time // before which it may go to nobody else, unless its holder leaves
	latest   time.Time // until which it must have
	longest  time.Time // that of any delivery before: a start may know of that one only
	delayed  bool      // by a nak that was answered

	acked   time.Time // or termed; zero: it is not. What is answered is durable
	doubt   bool      // a verdict on it was not taken, and may be found to have been after a restart
	stuck   bool      // that was of this delivery: it is out until it is due, who had it has left or not
	unsure  bool      // it may be settled, or not,
	claimed bool      // and not as a dead letter
	said    bool      // something is being said of it
	guarded bool      // and nobody gets it meanwhile
	before  time.Time // what earliest was before that
	dying   bool      // it has had its last attempt
	due     time.Time // since when
	kept    bool      // and must be a dead letter by now
}

// settled reports whether it may not come again.
func (t *task) settled() bool { return !t.acked.IsZero() || t.kept }

// attendNamed takes what the connections of a named consumer were sent, in the
// order in which it was read.
func (w *world) attendNamed(n *named) {
	type got struct {
		m *member
		f frame
	}
	var all []got
	for _, m := range n.members {
		frames, status, ended := m.conn.take()
		if status != 0 && status != 200 {
			w.refusedNamed(n, m, status)
		}
		for _, f := range frames {
			if m.here = m.here || f.event == "hello"; w.sight(m.name, n.patterns, &f) != nil {
				all = append(all, got{m, f})
			}
		}
		if ended {
			m.gone = m.conn.last
			w.tracef("%s: ended", m.name)
		}
	}
	slices.SortStableFunc(all, func(a, b got) int { return cmp.Or(a.f.at.Compare(b.f.at), a.f.e.Attempt-b.f.e.Attempt) })
	for _, one := range all {
		w.given(n, one.m, one.f.e, one.f.at, one.f.at)
	}
	n.members = slices.DeleteFunc(n.members, func(m *member) bool { return !m.gone.IsZero() })
}

// refusedNamed: joining fails only when the consumer had to be made and the disk
// does not take that.
func (w *world) refusedNamed(n *named, m *member, status int) {
	if w.noteFailed(); n.now().there || !w.ill() {
		w.failf("%s: refused with %d", m.name, status)
	}
}

// given checks one delivery, which was between two moments.
func (w *world) given(n *named, m *member, e *wire, from, at time.Time) {
	s, attempt := n.now(), max(e.Attempt, 1)
	or := s
	if n.next != nil {
		or = *n.next
	}
	w.tracef("%s gets %d attempt %d", m.name, e.Index, attempt)
	t := n.tasks[e.Index]
	if t == nil {
		t = &task{e: e, life: w.lifeNow()}
		if n.made[len(n.made)-1].Before(w.started[len(w.started)-1]) { // it may have been given to one who died with it
			t.life = 0
		}
	}
	out := t.holder != nil && (t.holder.leased || t.holder.gone.IsZero() || at.Before(t.holder.gone))
	again, most := t.life == w.lifeNow(), t.attempt+1
	if !again {
		most++ // one may have died before it was read
	}
	switch {
	case !t.acked.IsZero():
		w.failf("%s got %d, which was settled for %s before", m.name, e.Index, n.name)
	case t.kept:
		w.failf("%s got %d, which %s had given up", m.name, e.Index, n.name)
	case again && !t.unsure && attempt != most, attempt > most, attempt < t.noted+1:
		w.failf("%s got attempt %d of %d after attempt %d (%d are noted)", m.name, attempt, e.Index, t.attempt, t.noted)
	case s.count > 0 && or.count > 0 && attempt > max(s.count, or.count):
		w.failf("%s got attempt %d of %d, at most %d are wanted", m.name, attempt, e.Index, s.count)
	case (out || t.delayed || t.guarded) && at.Before(t.earliest):
		w.failf("%s got %d %s before anybody but %s may have it", m.name, e.Index, t.earliest.Sub(at), t.who())
	case s.paused && or.paused && from.After(n.since):
		w.failf("%s got %d, and %s is paused", m.name, e.Index, n.name)
	}
	n.tasks[e.Index] = &task{e: e, attempt: attempt, noted: t.noted, life: w.lifeNow(), holder: m, sent: at, earliest: from.Add(min(s.redelivery, or.redelivery)), latest: at.Add(max(s.redelivery, or.redelivery)), longest: maxTime(t.longest, t.latest), doubt: t.doubt, said: t.said}
	if attempt == s.count || attempt == or.count {
		n.letter(e.Index, w.lifeNow())
	}
	if busy := n.out(at); busy > n.window {
		w.failf("%s has %d events out at once, want at most %d", n.name, busy, n.window)
	}
}

func (t *task) who() string {
	if t.holder == nil {
		return "nobody"
	}
	return t.holder.name
}

// out is how many events somebody has at a moment.
func (n *named) out(at time.Time) (busy int) {
	for _, t := range n.tasks {
		if !t.settled() && !t.unsure && !t.said && t.holder != nil && (t.holder.leased || t.holder.gone.IsZero()) && !t.sent.After(at) && at.Before(t.earliest) {
			busy++
		}
	}
	return busy
}

// dueAt is when an event that is out has to go to somebody else.
func (n *named) dueAt(t *task) time.Time {
	due := t.latest
	if h := t.holder; h != nil && !h.leased && !h.gone.IsZero() && !t.stuck && h.gone.Before(due) {
		due = h.gone
	}
	if due.Before(n.since) {
		due = n.since
	}
	return due
}

// spent reports whether the event has had all its attempts, as far as it was seen.
func (w *world) spent(t *task, s settings) bool {
	unread := 0
	if t.life != w.lifeNow() {
		unread = 1
	}
	return s.count > 0 && t.attempt+unread >= s.count
}

// over reports whether an event may have been given up.
func (w *world) over(n *named, t *task, s settings) bool {
	due := n.dueAt(t)
	if t.earliest.Before(t.latest) { // nobody can tell when between them it was due
		due = minTime(due, t.earliest)
	}
	return t.dying || w.spent(t, s) && !time.Now().Before(due)
}

// checkNamed looks at rest that all that is due has come, and all there is room for.
func (w *world) checkNamed(n *named) {
	s, now := n.now(), time.Now()
	if !n.connected() || s.paused {
		return
	}
	busy, owed := 0, uint64(0)
	for i, t := range n.tasks {
		due, here, spent := n.dueAt(t), t.life == w.lifeNow(), w.spent(t, s)
		if here && spent && !t.dying && !t.unsure && !t.settled() && !now.Before(due) {
			t.dying, t.due = true, due
		}
		switch t.kept = t.kept || t.dying && !w.namedFailed && w.mustBeKept(t.due); {
		case t.settled():
		case here && !t.dying && !t.unsure && now.After(due):
			w.failf("%s does not get %d again: attempt %d was due %s ago", n.name, i, t.attempt+1, now.Sub(due))
		case !here && !t.dying && !t.unsure && !spent && now.After(due):
			owed = i
		default:
			busy++
		}
	}
	if busy >= s.inflight {
		return
	}
	if owed > 0 {
		w.failf("%s has room, was given %d before the server was started, has not settled it, and does not get it again; the server says %s", n.name, owed, w.do("GET", n.path(), "").body)
	}
	for i, e := range w.spaces[n.ns].log[min(n.unseen, len(w.spaces[n.ns].log)):] {
		if index := uint64(n.unseen + i + 1); n.tasks[index] == nil && wants(n.patterns, e.Subject) {
			w.failf("%s has room, and was not given %d (%s)", n.name, index, e.Subject)
			return
		}
	}
}
