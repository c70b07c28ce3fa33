package main

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// deletedBefore is what is said of what should be gone.
const deletedBefore = "after its deletion was answered"

// witness is one connection, or one look, that is shown events of a namespace.
type witness struct {
	namespace string
	// from is before the moment at which what comes next is handed over: when it was
	// asked for, or when something was sent that came in front of it. What was over or
	// deleted by then must not come.
	from   time.Time
	repeat bool // a consumer is given events again
	seen   map[uint64]bool
}

func newWitness(namespace string) *witness {
	return &witness{namespace: namespace, from: time.Now(), seen: make(map[uint64]bool)}
}

// see judges one event as it arrives.
func (b *book) see(w *witness, e event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.known(w.namespace, e); p != nil {
		b.judgeDelivery(w, p, e)
	}
}

// known finds whose event it is. The caller holds the lock, here and below.
func (b *book) known(namespace string, e event) *parcel {
	p := b.of(e)
	switch {
	case p == nil || p.Namespace != namespace:
		b.wrong("%s %d: got %.100s, which nobody sent there", namespace, e.Index, e.Payload)
		return nil
	case string(e.Payload) != p.Payload || e.Subject != p.Subject:
		b.wrong("%s %d: got %.100s of %s, which is not what %s was", namespace, e.Index, e.Payload, e.Subject, p.Token)
	case !p.Answered.IsZero() && (e.Id != p.ID || e.Index != p.Index):
		b.wrong("%s: got %s at %s %d, was answered %s at %d", p.Token, e.Id, namespace, e.Index, p.ID, p.Index)
	case p.TTL > 0 && e.ExpiresAt.IsZero() || p.Delay > 0 && e.DeliverAt.IsZero():
		b.wrong("%s: got it at %s %d without its times", p.Token, namespace, e.Index)
	}
	return p
}

// of finds it without a word.
func (b *book) of(e event) *parcel {
	var said struct{ T string }
	json.Unmarshal(e.Payload, &said) // what is none of ours says nothing
	return b.parcels[said.T]
}

func (b *book) judgeDelivery(w *witness, p *parcel, e event) {
	b.figures.read++
	due, now := e.DeliverAt, time.Now()
	if early := p.earliest(); early.After(due) && e.DeliveredIndex > 0 {
		due = early
	}
	if over, has := p.over(); has && over.Before(w.from) || !e.ExpiresAt.IsZero() && e.ExpiresAt.Before(w.from) {
		b.wrong("%s: was delivered at %s %d, asked for or behind what was sent %s after its time", p.Token, w.namespace, e.Index, w.from.Round(0).Sub(cmp.Or(e.ExpiresAt, over)))
	}
	switch {
	case due.After(now):
		b.wrong("%s: was delivered at %s %d, %s before it is due", p.Token, w.namespace, e.Index, due.Sub(now))
	case !p.Gone.IsZero() && p.Gone.Before(w.from):
		b.wrong("%s: was delivered at %s %d, asked for or behind what was sent %s %s", p.Token, w.namespace, e.Index, w.from.Sub(p.Gone), deletedBefore)
	case w.seen[e.Index] && !w.repeat:
		b.wrong("%s: was delivered twice at %s %d", p.Token, w.namespace, e.Index)
	case p.Delay > 0 && e.DeliveredIndex <= e.Index || p.Place > 0 && e.DeliveredIndex != p.Place:
		b.wrong("%s: was delivered at %d of %s, put off at %d, and delivered at %d before", p.Token, e.DeliveredIndex, w.namespace, e.Index, p.Place)
	}
	w.seen[e.Index] = true
	if e.DeliveredIndex > 0 && p.Place == 0 {
		p.Place, p.Placed = e.DeliveredIndex, time.Now()
		b.figures.delivered++
	}
	if p.Sent.After(w.from) {
		w.from = p.Sent
	}
}

// look is all that can be read at one time. Each event was judged as it arrived.
type look struct {
	since   time.Time          // what was answered by then has to be there
	due     time.Time          // what was due by then was delivered, as far as it could be waited for
	began   time.Time          // before anything was asked
	ended   time.Time          // behind all answers
	all     map[string][]event // what was delivered so far, by namespace
	gaps    map[string][]gapTold
	waiting map[string][]event // read behind all
	newest  []event            // of compacting namespaces, read behind all
}

// gapTold is what a stream says of what is not there.
type gapTold struct {
	Reason  string  `json:"reason"`
	Resumed uint64  `json:"resumed_index"`
	Lost    *uint64 `json:"lost"`
}

// judge holds a look against what is known.
func (b *book) judge(l *look) {
	b.mu.Lock()
	defer b.mu.Unlock()
	there := make(map[string]bool)
	for namespace, all := range l.all {
		b.judgeAll(namespace, all, there)
		for _, g := range l.gaps[namespace] {
			b.judgeGap(namespace, g)
		}
	}
	for namespace, all := range l.waiting {
		for _, e := range all {
			b.judgeWaiting(l, namespace, e, there)
		}
	}
	last := make(map[string]bool)
	for _, e := range l.newest {
		if p := b.of(e); p != nil {
			last[p.Token] = true
		}
	}
	subjects := b.bySubject()
	b.figures.over, b.figures.compacted = 0, 0
	for _, p := range b.parcels {
		if over, has := p.over(); has && over.Before(l.began) {
			b.figures.over++
		} else if p.Asked.IsZero() && !p.Answered.IsZero() && !there[p.Token] {
			b.figures.compacted++ // or that is told below
		}
		if !b.required(l, p, subjects[p.Subject]) {
			continue
		}
		if !there[p.Token] {
			b.wrong("%s: was answered as %s at %s %d, nobody has deleted it, and it is gone", p.Token, p.ID, p.Namespace, p.Index)
		}
		if compacting[p.Namespace] && !p.waits(l.ended) {
			if b.figures.newest++; !last[p.Token] {
				b.wrong("%s: is the newest of %s, at %d, and start=last does not have it", p.Token, p.Subject, p.Index)
			}
		}
	}
}

// judgeAll: places go up, and what is there unanswered counts as answered from now on.
func (b *book) judgeAll(namespace string, all []event, there map[string]bool) {
	place := uint64(0)
	for _, e := range all {
		p := b.of(e)
		if p == nil {
			continue // told by who has read it
		}
		if at := cmp.Or(e.DeliveredIndex, e.Index); at <= place {
			b.wrong("%s: stands at %d of %s, behind %d", p.Token, at, namespace, place)
		} else {
			place = at
		}
		there[p.Token] = true
		b.take(p, stored{ID: e.Id, Index: e.Index, DeliverAt: e.DeliverAt, ExpiresAt: e.ExpiresAt})
	}
}

// judgeWaiting: what waits was not delivered by the time that all was read, nor
// deleted.
func (b *book) judgeWaiting(l *look, namespace string, e event, there map[string]bool) {
	p := b.known(namespace, e)
	switch {
	case p == nil:
		return
	case !p.Gone.IsZero() && p.Gone.Before(l.began):
		b.wrong("%s: waits at %s %d, asked for %s %s", p.Token, namespace, e.Index, l.began.Sub(p.Gone), deletedBefore)
	case there[p.Token] || l.place(p) > 0:
		b.wrong("%s: waits at %s %d, and was delivered at %d", p.Token, namespace, e.Index, p.Place)
	}
	there[p.Token] = true
	b.take(p, stored{ID: e.Id, Index: e.Index, DeliverAt: e.DeliverAt, ExpiresAt: e.ExpiresAt})
}

// judgeGap: only what somebody wanted to have deleted is said to be.
func (b *book) judgeGap(namespace string, g gapTold) {
	if g.Reason != "deleted" || g.Lost == nil {
		b.wrong("%s: a stream said a gap %+v in a log of which nothing but single events was deleted", namespace, g)
		return
	}
	for _, p := range b.parcels {
		for _, at := range []uint64{p.Index, p.Place} {
			if p.Namespace == namespace && at > 0 && at < g.Resumed && at+*g.Lost >= g.Resumed && p.Asked.IsZero() {
				b.wrong("%s: stands at %s %d, which is said to be deleted, and nobody has asked for that", p.Token, namespace, at)
			}
		}
	}
}

func (b *book) bySubject() map[string][]*parcel {
	all := make(map[string][]*parcel)
	for _, p := range b.parcels {
		all[p.Subject] = append(all[p.Subject], p)
	}
	return all
}

// required says whether an event has to be there, delivered or waiting. What came due
// while all was read may be on its way.
func (b *book) required(l *look, p *parcel, subject []*parcel) bool {
	switch {
	case p.Answered.IsZero() || !p.Answered.Before(l.since) || !p.Asked.IsZero():
		return false
	case p.waits(l.ended):
		return true
	case !p.worth(l.ended), p.Due.After(l.due) && l.place(p) == 0:
		return false
	}
	return !compacting[p.Namespace] || !newer(p, cmp.Or(l.place(p), p.Index), subject, l.ended)
}

// place is where an event had been delivered, as was known before the look.
func (l *look) place(p *parcel) uint64 {
	if p.Placed.After(l.began) {
		return 0
	}
	return p.Place
}

// newer says whether there may be a newer event of the same subject than p, at its
// place, which is needless then. One that waits makes no other needless before it is
// due.
func newer(p *parcel, mine uint64, subject []*parcel, at time.Time) bool {
	return slices.ContainsFunc(subject, func(o *parcel) bool {
		switch {
		case o == p || !o.Answered.IsZero() && o.waits(at):
			return false
		case o.Answered.IsZero(), !o.Due.IsZero() && o.Place == 0:
			return true // nobody knows
		}
		return max(o.Index, o.Place) > mine
	})
}

// needless says whether an event may be gone though nobody has deleted it.
func (b *book) needless(p *parcel) bool {
	return compacting[p.Namespace] && (p.TTL > 0 || !p.ExpiresAt.IsZero() || !p.Due.IsZero() || newer(p, p.Index, b.bySubject()[p.Subject], time.Now()))
}

// overdue is how many events have come due and were not delivered to anybody.
func (b *book) overdue(at time.Time) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	subjects := b.bySubject()
	for _, p := range b.parcels {
		if !p.Due.IsZero() && p.Place == 0 && !p.Due.After(at) && b.required(&look{since: at, due: at, began: at, ended: at}, p, subjects[p.Subject]) {
			n++
		}
	}
	return n
}

// judgeFiles holds the tokens that are in the files of a directory without a server
// against what is known.
func (b *book) judgeFiles(found map[string]string, sealed bool, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.figures.tokens += len(found)
	subjects := b.bySubject()
	for _, p := range b.parcels {
		file, is := found[p.Token]
		switch {
		case is && sealed:
			b.wrong("%s: is in the clear in %s", p.Token, file)
		case is && !p.Gone.IsZero():
			b.wrong("%s: is in %s %s", p.Token, file, deletedBefore)
		case !is && !sealed && b.required(&look{since: since, began: since, ended: time.Now()}, p, subjects[p.Subject]):
			b.wrong("%s: was answered as %s at %s %d, and is in no file", p.Token, p.ID, p.Namespace, p.Index)
		}
	}
}

// one is what was answered for a single event.
type one struct {
	status int
	stored
	Payload json.RawMessage `json:"payload"`
}

// judgeOne holds reading a single event against what is known. since is as in a look.
func (b *book) judgeOne(p *parcel, name string, o one, began, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// A chosen id goes with its event, and that of one that was put off.
	removed := o.status == 410 && (o.Code == "event_deleted" || o.Code == "event_removed" && compacting[p.Namespace]) || o.status == 404 && name == p.ID
	switch {
	case !p.Gone.IsZero() && p.Gone.Before(began):
		if !removed {
			b.wrong("%s: reading %s of %s got %d %s %s", p.Token, name, p.Namespace, o.status, o.Code, deletedBefore)
		}
	case !p.Asked.IsZero() && removed:
		if p.Lacks.IsZero() && name != p.ID {
			p.Lacks = time.Now()
		}
	case !p.Lacks.IsZero() && p.Lacks.Before(began) && name != p.ID: // an id may lead to the other place of one that was put off
		b.wrong("%s: reading %s of %s got %d, after it was said to be deleted", p.Token, name, p.Namespace, o.status)
	case !p.Asked.IsZero() || !p.Answered.Before(since):
	case o.status == 200 && o.ID == p.ID && o.Index == p.Index && string(o.Payload) == p.Payload:
	case removed && o.Code != "event_deleted" && b.needless(p):
	default:
		b.wrong("%s: reading %s of %s got %d %s, %s at %d, want %s at %d", p.Token, name, p.Namespace, o.status, o.Code, o.ID, o.Index, p.ID, p.Index)
	}
}
