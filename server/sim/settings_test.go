package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// settings are what can be changed; not there is none of them.
type settings struct {
	there      bool
	redelivery time.Duration
	count      int // 0: without end
	inflight   int
	paused     bool
}

// word is what was asked for the settings to be, and whether that was answered.
type word struct {
	settings
	at   time.Time
	sure bool
}

func (n *named) now() settings {
	for i := len(n.words) - 1; i >= 0; i-- {
		if n.words[i].sure {
			return n.words[i].settings
		}
	}
	return settings{}
}

// may are the settings that a start may find, when what was answered after a time
// may be lost.
func (n *named) may(after time.Time) (all []settings) {
	for i := len(n.words) - 1; i >= 0; i-- {
		all = append(all, n.words[i].settings)
		if n.words[i].sure && n.words[i].at.Before(after) {
			return all
		}
	}
	return append(all, settings{})
}

// say notes settings that were asked for.
func (n *named) say(s settings, sure bool) {
	n.words = append(n.words, word{s, time.Now(), sure})
	if sure {
		n.window, n.since = max(n.window, s.inflight), time.Now()
	}
}

// anySettings are those of a consumer that is to be made.
func anySettings(rng *rand.Rand) settings {
	return settings{
		there: true, redelivery: []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, time.Minute}[rng.IntN(4)],
		count: rng.IntN(4), inflight: []int{1, 2, 5, 64}[rng.IntN(4)],
	}
}

func (w *world) makeNamed(n *named, s settings) bool {
	body, _ := json.Marshal(map[string]any{"subjects": n.patterns, "start": "oldest", "redelivery": s.redelivery.String(), "redelivery_count": s.count, "inflight": s.inflight})
	a := w.do("PUT", n.path(), string(body))
	w.tracef("%s is made: %d", n.name, a.status)
	if n.say(s, a.status == http.StatusCreated); a.status != http.StatusCreated && !w.ill() {
		w.failf("making %s: got %d %s", n.name, a.status, a.body)
	}
	return a.status == http.StatusCreated
}

// change gives the consumer other settings, or pauses it, or lets it go on.
func (w *world) change(n *named, rng *rand.Rand) {
	s := n.now()
	if !s.there {
		return
	}
	before := s
	switch rng.IntN(4) {
	case 0, 1:
		s.paused = !s.paused
	case 2:
		s.redelivery = []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second}[rng.IntN(3)]
	case 3:
		s.count, s.inflight = rng.IntN(4), s.inflight+rng.IntN(4)
	}
	w.changeTo(n, before, s)
}

func (w *world) changeTo(n *named, before, s settings) {
	body := fmt.Sprintf(`{"redelivery":%q,"redelivery_count":%d,"inflight":%d,"paused":%v}`, s.redelivery, s.count, s.inflight, s.paused)
	n.next, n.window = &s, max(n.window, s.inflight)
	a := w.do("PATCH", n.path(), body)
	w.rest()
	w.attendNamed(n)
	n.next = nil
	w.tracef("%s is changed to %+v: %d", n.name, s, a.status)
	if n.say(s, a.status == 200); a.status != 200 {
		w.mayFail(fmt.Sprintf("changing %s", n.name), a)
		return
	}
	if s.count != before.count {
		w.recount(n, before, s)
	}
}

// recount: what was given up, and is not kept yet, may have another attempt; what
// has had more than are wanted now had its last one.
func (w *world) recount(n *named, before, s settings) {
	for i, t := range n.tasks {
		t.unsure = t.unsure || w.over(n, t, before)
		had := before.count > 0 && t.attempt >= before.count // counted when it was given
		if t.dying = false; !t.settled() && !had && s.count > 0 && t.attempt >= s.count {
			n.letter(i, w.lifeNow())
		}
	}
}

// remove deletes the consumer: its connections end, and one of that name begins anew.
func (w *world) remove(n *named) {
	was := n.now()
	if !was.there {
		return
	}
	a := w.do("DELETE", n.path(), "")
	w.tracef("%s is deleted: %d", n.name, a.status)
	w.rest()
	w.attendNamed(n)
	if n.say(settings{}, a.status == http.StatusNoContent); a.status != http.StatusNoContent {
		w.mayFail("deleting "+n.name, a)
		return
	}
	if len(n.members) > 0 {
		w.failf("%s was deleted, and %s is still connected", n.name, n.members[0].name)
	}
	given := n.tasks
	n.forget()
	for i, t := range given { // what it had given up becomes a dead letter all the same
		if w.spent(t, was) && !t.settled() {
			n.letter(i, w.lifeNow())
		}
	}
}

// recall asks a server that was started what it knows of a consumer: what holds,
// or what may.
func (w *world) recall(n *named, after time.Time) {
	a := w.do("GET", n.path(), "")
	if a.status != http.StatusOK && a.status != http.StatusNotFound {
		w.failf("%s after a start: got %d %s", n.name, a.status, a.body)
		return
	}
	found, ok := settingsOf(a)
	may := n.may(after)
	if !ok || !n.lost && !slices.Contains(may, found) {
		w.failf("%s after a start: got %d %s, want one of %+v", n.name, a.status, a.body, may)
		return
	}
	other := func(s settings) bool { return s.there != found.there } // then it may be one that was deleted
	n.words = []word{{found, time.Time{}, true}}                     // a start makes sure of what it finds
	if n.lost || slices.ContainsFunc(may, other) {
		w.tracef("%s begins anew", n.name)
		if a := w.do("DELETE", n.path(), ""); a.status != http.StatusNoContent && a.status != http.StatusNotFound {
			w.failf("deleting %s after a start: got %d %s", n.name, a.status, a.body)
		}
		n.forget()
		n.say(settings{}, true)
	}
	n.lost, n.window = false, max(n.window, found.inflight)
}

func settingsOf(a answer) (s settings, ok bool) {
	if a.status == http.StatusNotFound {
		return s, true
	}
	var info struct {
		Redelivery string `json:"redelivery"`
		Count      int    `json:"redelivery_count"`
		Inflight   int    `json:"inflight"`
		Paused     bool   `json:"paused"`
	}
	err := json.Unmarshal([]byte(a.body), &info)
	d, bad := time.ParseDuration(info.Redelivery)
	return settings{true, d, info.Count, info.Inflight, info.Paused}, err == nil && bad == nil
}
