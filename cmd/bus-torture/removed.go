package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// parcel is one event of the check removals: what its publisher wanted, and all that
// clients were told of it since. Times are of this machine's clock, which is the
// server's too.
type parcel struct {
	Token     string        `json:"token"` // in its payload, and in whatever else of it is drawn
	Namespace string        `json:"namespace"`
	Subject   string        `json:"subject"`
	Payload   string        `json:"payload"`
	Keyed     bool          `json:"keyed"` // sent again until it is answered
	Delay     time.Duration `json:"delay"`
	DeliverAt time.Time     `json:"deliver_at"` // as the publisher wants it
	TTL       time.Duration `json:"ttl"`
	ExpiresAt time.Time     `json:"expires_at"` // in the same way

	Sent     time.Time `json:"sent"`     // before the first attempt
	Answered time.Time `json:"answered"` // zero: never, nor seen when all was read
	ID       string    `json:"id"`
	Index    uint64    `json:"index"`
	Due      time.Time `json:"due"`     // as the server says it, zero: it was not put off
	Expires  time.Time `json:"expires"` // in the same way
	Place    uint64    `json:"place"`   // where it was delivered, once somebody has seen that
	Placed   time.Time `json:"placed"`  // when

	Asked time.Time `json:"asked"` // before its deletion was sent for the first time
	Gone  time.Time `json:"gone"`  // when that was answered
	Lacks time.Time `json:"lacks"` // when it was first said to be deleted, answered or not
}

// earliest is before the moment from which on it may be delivered, whatever the
// server says of it.
func (p *parcel) earliest() time.Time {
	if p.Delay > 0 {
		return p.Sent.Add(p.Delay)
	}
	return p.DeliverAt
}

// over is the moment from which on nobody may be given it, and false when it has
// none, or nobody can know. With a key it may be any attempt that was stored: the
// last one was answered.
func (p *parcel) over() (time.Time, bool) {
	switch {
	case !p.Expires.IsZero():
		return p.Expires, true
	case !p.ExpiresAt.IsZero():
		return p.ExpiresAt, true
	case p.TTL == 0 || p.Answered.IsZero():
		return time.Time{}, false
	case !p.Due.IsZero():
		return p.Due.Add(p.TTL), true
	}
	return p.Answered.Add(p.TTL), true
}

// worth says whether it has to be delivered at a moment, as far as its own time
// goes.
func (p *parcel) worth(at time.Time) bool {
	until := p.ExpiresAt
	if p.TTL > 0 {
		until = p.Sent.Add(max(p.Delay, 0) + p.TTL)
	}
	return until.IsZero() || at.Before(until)
}

// waits says whether it is not due at a moment.
func (p *parcel) waits(at time.Time) bool { return p.Place == 0 && p.Due.After(at) }

// book is what all clients of a life know. It is not killed.
type book struct {
	mu      sync.Mutex // guards the rest, and what is in the parcels
	parcels map[string]*parcel
	open    []*parcel // answered, and their deletion is not
	faults  []string
	figures figures
}

// figures show that there was something to be wrong.
type figures struct {
	answered, deleted, delivered, over, compacted, newest, tokens, read int
}

func (f *figures) add(o figures) {
	f.answered += o.answered
	f.deleted += o.deleted
	f.delivered += o.delivered
	f.over += o.over
	f.compacted += o.compacted
	f.newest += o.newest
	f.tokens += o.tokens
	f.read += o.read
}

func newBook() *book { return &book{parcels: make(map[string]*parcel)} }

// wrong notes a fault. The caller holds the lock.
func (b *book) wrong(format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

func (b *book) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong(format, args...)
}

func (b *book) send(all []*parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range all {
		if p.Sent.IsZero() {
			p.Sent = time.Now()
			b.parcels[p.Token] = p
		}
	}
}

// stored is what an answer says, or an event that is there unanswered.
type stored struct {
	ID        string    `json:"id"`
	Index     uint64    `json:"index"`
	DeliverAt time.Time `json:"deliver_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Deleted   bool      `json:"deleted"`
	Already   bool      `json:"already"`
	Duplicate bool      `json:"duplicate"` // without the time of its delivery
	Code      string    `json:"code"`
}

func (b *book) answer(p *parcel, s stored) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take(p, s)
}

// take notes an answer. The caller holds the lock.
func (b *book) take(p *parcel, s stored) {
	switch {
	case !p.Answered.IsZero() && (s.ID != p.ID || s.Index != p.Index):
		b.wrong("%s was answered as %s at %d, and is %s at %d", p.Token, s.ID, s.Index, p.ID, p.Index)
		return
	case !p.Answered.IsZero() || s.Duplicate: // a look will find it
		return
	case s.ID == "" || s.Index == 0:
		b.wrong("%s was answered without an id and an index: %+v", p.Token, s)
		return
	case p.Delay > 0 && s.DeliverAt.Before(p.Sent.Add(p.Delay).Round(0)):
		b.wrong("%s was sent at %s to be delivered in %s, and is to be delivered at %s", p.Token, p.Sent.Round(0), p.Delay, s.DeliverAt)
	case !s.DeliverAt.IsZero() && p.Delay == 0 && !s.DeliverAt.Equal(p.DeliverAt):
		b.wrong("%s is to be delivered at %s, want %s", p.Token, s.DeliverAt, p.DeliverAt)
	}
	p.Answered, p.ID, p.Index, p.Due, p.Expires = time.Now(), s.ID, s.Index, s.DeliverAt, s.ExpiresAt
	b.open = append(b.open, p)
	b.figures.answered++
}

// order is a deletion that is to be sent.
type order struct {
	p     *parcel
	again bool // it may be gone already, or in part
	name  string
}

// doom draws what is to be deleted: often what was published just now, seldom what
// was asked for before. A name is its index, its id, or the index of its delivery.
func (b *book) doom(namespace string, draw func(int) int) (order, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := slices.DeleteFunc(slices.Clone(b.open), func(p *parcel) bool { return p.Namespace != namespace })
	if len(of) == 0 {
		return order{}, false
	}
	n := draw(len(of))
	if draw(3) == 0 {
		n = len(of) - 1 - draw(min(len(of), 4))
	}
	p := of[n]
	o := order{p: p, again: !p.Asked.IsZero(), name: fmt.Sprint(p.Index)}
	switch {
	case p.Place > 0 && draw(2) == 0:
		o.name = fmt.Sprint(p.Place)
	case !o.again && draw(2) == 0:
		o.name = p.ID
	}
	if !o.again {
		p.Asked = time.Now()
	}
	return o, true
}

func (b *book) delete(p *parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.Gone.IsZero() {
		p.Gone = time.Now()
		b.figures.deleted++
	}
	b.open = slices.DeleteFunc(b.open, func(o *parcel) bool { return o == p })
}

// sample returns parcels of which something is certain: some of those that are gone,
// some of those whose deletion nobody has asked for, and all that are in between.
func (b *book) sample(most int, draw func(int) int) (all []*parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var gone, kept []*parcel
	for _, p := range b.parcels {
		switch {
		case p.Answered.IsZero():
		case !p.Gone.IsZero():
			gone = append(gone, p)
		case p.Asked.IsZero():
			kept = append(kept, p)
		default:
			all = append(all, p)
		}
	}
	for _, of := range [][]*parcel{gone, kept} {
		slices.SortFunc(of, func(p, o *parcel) int { return strings.Compare(p.Token, o.Token) })
		for i := range min(most, len(of)) {
			k := i + draw(len(of)-i)
			of[i], of[k] = of[k], of[i]
			all = append(all, of[i])
		}
	}
	return all
}

// judged returns the faults so far as an error.
func (b *book) judged() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d in all:\n%s", errFault, len(b.faults), indent(strings.Join(b.faults[:min(len(b.faults), maxExamples)], "\n")))
}

// save writes the parcels down for a person, one a line.
func (b *book) save(path string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var text []byte
	for _, p := range b.parcels {
		line, err := json.Marshal(p)
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	return os.WriteFile(path, text, 0o600)
}

// goneBy is when a deletion was answered, the zero time when none was.
func (b *book) goneBy(p *parcel) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.Gone
}

// mayBeRemoved says whether an event may be gone without its deletion, with an id
// that its publisher chose.
func (b *book) mayBeRemoved(p *parcel) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.needless(p)
}

// gap notes what a stream said.
func (b *book) gap(namespace string, text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var g gapTold
	if err := json.Unmarshal(text, &g); err != nil {
		b.wrong("%s: a gap %q: %v", namespace, text, err)
		return
	}
	b.judgeGap(namespace, g)
}

// namesOf are the names by which an event can be read: its index, its id, and, of
// one that is gone, where it was delivered.
func (b *book) namesOf(p *parcel) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := []string{fmt.Sprint(p.Index), p.ID}
	if p.Place > 0 && !p.Gone.IsZero() {
		names = append(names, fmt.Sprint(p.Place))
	}
	return names
}
