package server

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"example.com/bus"
)

// maxOpenDead is how many open dead letters of a namespace are kept in mind: the
// oldest ones. Those behind them are looked for once half of these are done with.
const maxOpenDead = 100_000

// openLetters are the dead letters that nobody has retried or dropped, as the log
// of dead letters says. They are read once, when they are asked for, and then as
// far as the log has grown since; of each only its place is kept.
type openLetters struct {
	server *Server
	most   int // of a namespace

	mu     sync.Mutex // guards the rest, and is held while the log is read
	next   uint64     // all in front of it was read; 0: nothing was
	of     map[string]*openList
	claims map[uint64]struct{} // somebody is at it
	done   map[uint64]struct{} // resolved here, by an entry that was not read yet
}

// openList is what is open of one namespace, in the order of the log.
type openList struct {
	letters []openLetter
	beyond  int // open as well, and not in mind
}

// openLetter is the place of one.
type openLetter struct {
	index    uint64
	consumer string // as its subject says; one string for all that have the same
}

// letterEntry is what there is to know of an event in the log of dead letters.
type letterEntry struct {
	Resolved string `json:"resolved"`
}

// catchUp reads what the log has more. The caller holds o.mu.
func (o *openLetters) catchUp() error {
	engine := o.server.engine
	if err := engine.Keep(bus.DeadNamespace); err != nil {
		return err
	}
	for _, list := range o.of {
		if list.beyond > 0 && len(list.letters) <= o.most/2 {
			o.next, o.of = 0, nil // there is room for those that were beyond
			break
		}
	}
	first, next := engine.Bounds(bus.DeadNamespace)
	at := max(o.next, first)
	if o.next == 0 {
		o.of = make(map[string]*openList)
	}
	if at < next {
		if err := o.read(at, next); err != nil {
			o.next, o.of = 0, nil
			return err
		}
	}
	o.next = max(next, at)
	for _, list := range o.of {
		if over := len(list.letters) - o.most; over > 0 {
			list.beyond += over
			list.letters = slices.Clone(list.letters[:o.most])
		}
	}
	return nil
}

// read takes in the entries from at to next.
func (o *openLetters) read(at, next uint64) error {
	r := o.server.engine.Reader(bus.DeadNamespace, at)
	defer r.Close()
	names := make(map[string]string)
	for at < next {
		if o.server.drained.Err() != nil {
			return bus.ErrUnavailable.With("the server is stopping")
		}
		events, err := r.Next()
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && damage.Next > at {
			o.server.log.Error("dead letters are lost to damage", "from", damage.From, "next", damage.Next, "error", damage)
			at = damage.Next
			r.Seek(at)
			continue
		}
		if removed, ok := bus.AsRemoved(err); ok {
			at = removed.Next
			r.Seek(at)
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range events {
			o.take(&events[i], names)
		}
		at = events[len(events)-1].Index + 1
	}
	return nil
}

// take notes one entry. names has each consumer's name once.
func (o *openLetters) take(e *bus.Event, names map[string]string) {
	namespace, consumer, ok := parseDeadSubject(e.Subject)
	var entry letterEntry
	if !ok || json.Unmarshal(e.Payload, &entry) != nil {
		o.server.log.Error("an entry of the log of dead letters cannot be read", "index", e.Index, "subject", e.Subject)
		return
	}
	list := o.list(namespace)
	if entry.Resolved != "" {
		if p, ok := bus.ParseEventID(entry.Resolved); ok {
			list.remove(p.Index)
			delete(o.done, p.Index)
		}
		return
	}
	if _, done := o.done[e.Index]; done {
		return
	}
	if _, there := list.find(e.Index); there {
		return
	}
	if names[consumer] == "" {
		names[consumer] = strings.Clone(consumer)
	}
	list.letters = append(list.letters, openLetter{e.Index, names[consumer]})
}

// parseDeadSubject takes apart _dead_.<namespace>.<consumer>.
func parseDeadSubject(subject string) (namespace, consumer string, ok bool) {
	parts := strings.Split(subject, ".")
	if len(parts) != 3 {
		return "", "", false
	}
	return strings.Clone(parts[1]), parts[2], true
}

// list returns that of a namespace. The caller holds o.mu.
func (o *openLetters) list(namespace string) *openList {
	list := o.of[namespace]
	if list == nil {
		list = &openList{}
		o.of[namespace] = list
	}
	return list
}

func (l *openList) find(index uint64) (int, bool) {
	return slices.BinarySearchFunc(l.letters, index, func(a openLetter, index uint64) int {
		switch {
		case a.index < index:
			return -1
		case a.index > index:
			return 1
		}
		return 0
	})
}

// remove takes one out. One that is not in mind was one of those beyond.
func (l *openList) remove(index uint64) {
	if i, ok := l.find(index); ok {
		l.letters = slices.Delete(l.letters, i, i+1)
	}
}

// page returns the first letters of a namespace behind an index, of one consumer
// or, with "", of all, how many are open, and how many of those are not in mind.
func (o *openLetters) page(namespace, consumer string, after uint64, limit int) (page []openLetter, open, beyond int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.catchUp(); err != nil {
		return nil, 0, 0, err
	}
	list := o.list(namespace)
	i, there := list.find(after)
	if there {
		i++
	}
	for ; i < len(list.letters) && len(page) < limit; i++ {
		if one := list.letters[i]; consumer == "" || one.consumer == consumer {
			page = append(page, one)
		}
	}
	return page, len(list.letters) + list.beyond, list.beyond, nil
}

// count returns how many are open by namespace, false when that is not known
// without reading much.
func (o *openLetters) count() (map[string]int, bool) {
	if !o.mu.TryLock() { // somebody reads the log: who looks at the metrics does not wait
		return nil, false
	}
	defer o.mu.Unlock()
	counts := make(map[string]int)
	if o.next == 0 {
		return counts, o.server.engine.Incarnation(bus.DeadNamespace) == 0
	}
	if o.catchUp() != nil {
		return nil, false
	}
	for namespace, list := range o.of {
		counts[namespace] = len(list.letters) + list.beyond
	}
	return counts, true
}

// begin reads what there is when the server starts, for the metrics.
func (o *openLetters) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.catchUp(); err != nil {
		o.server.log.Error("dead letters cannot be listed yet", "error", err)
	}
}
