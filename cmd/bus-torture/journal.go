package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"sort"
	"strings"
	"sync"
)

// journal is what the clients know for certain, in this process, which is not
// killed. An event is written down before it is sent, when it is answered, and
// when a reader sees it.
type journal struct {
	mu       sync.Mutex
	clock    int64 // counts what is noted: answered before sent is an order
	entries  map[string]*entry
	groups   []*group
	seen     map[string]map[uint64]sighting // by namespace and index
	tails    map[string]told                // the highest end that a namespace was said to have
	failed   map[string]int64               // clock, when a namespace said that it takes no more
	refusals map[string]int                 // by code
	refused  map[string]bool                // namespaces that a refusal has named
	mistakes []string                       // answers that no kill and no cut explains
	answers  int
	dark     bool          // the power is off: nobody is told anything any more
	late     int           // what was told all the same
	disk     func() uint64 // how much a disk that is logged has been asked for; nil: none is
	asked    []uint64      // disk, at each tick of the clock from 1 on
}

// entry is one event of a publisher.
type entry struct {
	Name      string `json:"name"` // also what its payload says
	Namespace string `json:"namespace"`
	Keyed     bool   `json:"keyed"`    // sent again with its key until it is answered
	Sent      int64  `json:"sent"`     // clock, before the first attempt
	Tried     int64  `json:"tried"`    // clock, before the last attempt
	Answered  int64  `json:"answered"` // clock, 0: never
	Id        string `json:"id,omitempty"`
	Index     uint64 `json:"index,omitempty"`
	Forgiven  bool   `json:"forgiven,omitempty"` // was answered, but not as durable, and a cut took it
}

// group is what one request carried: a batch, which is whole or absent, or a
// stream, of which a beginning is there.
type group struct {
	whole   bool
	entries []*entry
}

// sighting is an event as a subscriber got it.
type sighting struct {
	id, name string
	at       int64 // clock, of the first time
}

// told is an end that the server has told.
type told struct {
	index uint64
	at    int64
}

// receipt is the server's answer for one event.
type receipt struct {
	Id        string `json:"id"`
	Index     uint64 `json:"index"`
	Code      string `json:"code"` // of a problem in its place
	Detail    string `json:"detail"`
	Duplicate bool   `json:"duplicate"` // it was stored by an earlier attempt
}

func newJournal() *journal {
	return &journal{
		entries: make(map[string]*entry),
		seen:    map[string]map[uint64]sighting{namespaces[0]: {}, namespaces[1]: {}},
		tails:   make(map[string]told),
		failed:  make(map[string]int64), refusals: make(map[string]int), refused: make(map[string]bool),
	}
}

// begin notes what is about to be sent.
func (j *journal) begin(whole bool, all []*entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tick()
	for _, e := range all {
		e.Sent = j.clock
		j.entries[e.Name] = e
	}
	j.groups = append(j.groups, &group{whole: whole, entries: all})
}

func (j *journal) answer(e *entry, r receipt) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dark {
		j.late++
		return
	}
	if since, failed := j.failed[e.Namespace]; failed && e.Tried > since && !r.Duplicate {
		j.mistakes = append(j.mistakes, fmt.Sprintf("%s: was answered %s at %s %d by a log that had failed", e.Name, r.Id, e.Namespace, r.Index))
	}
	j.tick()
	e.Answered, e.Id, e.Index = j.clock, r.Id, r.Index
	j.answers++
}

// again notes that an attempt begins.
func (j *journal) again(all []*entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tick()
	for _, e := range all {
		e.Tried = j.clock
	}
}

// refuse notes a problem. A log that says that it takes no more must not take
// what it is sent afterwards, until it is opened again.
func (j *journal) refuse(r receipt) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refusals[r.Code]++
	for _, namespace := range namespaces {
		if !strings.Contains(r.Detail, "namespace "+namespace+" ") && !strings.Contains(r.Detail, "namespace "+namespace+":") {
			continue
		}
		j.refused[namespace] = true
		if _, known := j.failed[namespace]; !known && r.Code == "storage_failed" {
			j.tick()
			j.failed[namespace] = j.clock
		}
	}
}

// wasRefused says whether a namespace ever took an event not, and said so.
func (j *journal) wasRefused(namespace string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.refused[namespace]
}

// reopen forgets which logs have failed, and returns how many.
func (j *journal) reopen() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.failed)
	clear(j.failed)
	return n
}

// refusalsOf is how often a problem was the answer.
func (j *journal) refusalsOf(code string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.refusals[code]
}

// forget has wasRefused begin anew.
func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.refused)
}

// answered says whether e needs no further attempt.
func (j *journal) answered(e *entry) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return e.Answered != 0
}

func (j *journal) see(namespace string, e event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dark {
		return
	}
	if was, ok := j.seen[namespace][e.Index]; ok {
		if was.id != e.Id {
			j.mistakes = append(j.mistakes, fmt.Sprintf("readers got %s and %s at %s %d", was.id, e.Id, namespace, e.Index))
		}
		return
	}
	j.tick()
	j.seen[namespace][e.Index] = sighting{e.Id, e.name(), j.clock}
}

func (j *journal) seeTail(namespace string, index uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.dark && index > j.tails[namespace].index {
		j.tick()
		j.tails[namespace] = told{index, j.clock}
	}
}

func (j *journal) mistake(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mistakes = append(j.mistakes, fmt.Sprintf(format, args...))
}

// tick is called when something is noted. What the disk is asked for is looked
// up then, after the answer has arrived: it may be more than at the answer, never
// less.
func (j *journal) tick() {
	j.clock++
	if j.disk != nil {
		j.asked = append(j.asked, j.disk())
	}
}

// before is the clock at which a disk had been asked for so much: what was noted
// up to then was noted before the disk was asked for more.
func (j *journal) before(asked uint64) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int64(sort.Search(len(j.asked), func(i int) bool { return j.asked[i] > asked }))
}

// now is the clock: what was answered up to now has to be in what is read later.
func (j *journal) now() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.clock
}

func (j *journal) answersSoFar() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.answers
}

// goDark is called right before the power is cut. Who was told something until
// then can rely on it. What a server says afterwards nobody would get from a
// machine without power, and it is not to be relied on here either: a file
// system that is shut down in the middle of a sync may call it a success.
func (j *journal) goDark(dark bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dark = dark
}

// save writes the entries down for a person, one a line.
func (j *journal) save(path string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, e := range j.entries {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	return f.Close()
}

// payload is made of the name alone, so that a reader can tell whether it got
// what was sent. Most are small; one in sixteen spans several blocks.
func payload(name string) string {
	h := fnv.New32a()
	h.Write([]byte(name))
	n := int(h.Sum32())
	size := n >> 8 % 200
	if n%16 == 0 {
		size = n >> 8 % 12000
	}
	word := fmt.Sprintf("%08x", uint32(n))
	return fmt.Sprintf(`{"name":%q,"pad":%q}`, name, strings.Repeat(word, size/8+1))
}

// seenIn is how many events of a namespace readers have got.
func (j *journal) seenIn(namespace string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.seen[namespace])
}

func (j *journal) isDark() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dark
}
