package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// wire is an event as it travels. The model reads it with its own eyes rather
// than with the product's parser.
type wire struct {
	ID              string          `json:"id"`
	Subject         string          `json:"subject"`
	Index           uint64          `json:"index"`
	CreatedAt       string          `json:"created_at"`
	TraceID         string          `json:"trace_id"`
	Key             string          `json:"key"`
	ResponseSubject string          `json:"response_subject"`
	ContentType     string          `json:"content_type"`
	Payload         json.RawMessage `json:"payload"`
	Base64          []byte          `json:"payload_base64"`
	Attempt         int             `json:"attempt"`

	whole string // what sum returns
}

// sum is all of it that may never change.
func (e *wire) sum() string {
	if e.whole == "" {
		e.whole = strings.Join([]string{e.ID, e.Subject, strconv.FormatUint(e.Index, 10), e.CreatedAt, e.TraceID, e.Key, e.ResponseSubject, e.ContentType, string(e.Payload), string(e.Base64)}, "|")
	}
	return e.whole
}

// event is one that a publisher sent, with what became of it.
type event struct {
	n                                    int // its trace id is n<n>, by which it is known again
	ns, subject, payload, ctype, key, id string
	wantsReply                           bool
	started, last                        time.Time // of the first and the last request with it
	sent                                 int       // requests with it
	batched                              bool      // it is part of a batch
	reused                               bool      // its key went to another event after the window

	answered  time.Time // zero: never with a 2xx
	index     uint64    // 0: not known
	givenID   string
	createdAt string
	refused   bool // by a status that says that it is not stored
	duplicate bool // it repeats another, so it must not be stored itself

	inbox       string   // response subject of one who asks by hand
	conn        *conn    // of the inbox
	told, heard []string // replies that were taken, and those that came in the inbox

	replies map[string]bool // bodies that consumers sent
	ackers  map[string]bool // consumer ids with a 2xx
}

// namespace is what the model knows of one log.
type namespace struct {
	name     string
	log      []*wire           // by index - 1, as the bus has shown it
	sightOf  map[uint64]string // what readers saw beyond log, by index
	byTrace  map[string]uint64 // where each event is
	receipts map[uint64]*event // answered, by index
	failed   int               // the step in which its disk failed, 0: it did not
}

func newNamespace(name string) *namespace {
	return &namespace{name: name, byTrace: map[string]uint64{}, receipts: map[uint64]*event{}, sightOf: map[uint64]string{}}
}

// show adds what the bus shows at the end of the log.
func (w *world) show(ns *namespace, e *wire) {
	if want := uint64(len(ns.log) + 1); e.Index != want {
		w.failf("hole: %s goes on at index %d, want %d", ns.name, e.Index, want)
		return
	}
	ns.log = append(ns.log, e)
	if seen, ok := ns.sightOf[e.Index]; ok && seen != e.sum() {
		w.failf("%s %d is %s, a reader was shown %s", ns.name, e.Index, e.sum(), seen)
	}
	delete(ns.sightOf, e.Index)
	if at, twice := ns.byTrace[e.TraceID]; twice {
		w.failf("%s %s is stored twice, at %d and %d", ns.name, e.TraceID, at, e.Index)
	}
	ns.byTrace[e.TraceID] = e.Index
	p := w.byTrace[e.TraceID]
	if p == nil {
		w.failf("%s %d is an event that nobody sent: %s", ns.name, e.Index, e.sum())
		return
	}
	if r := ns.receipts[e.Index]; r != nil && r != p {
		w.failf("%s %d was answered to be n%d, and is %s", ns.name, e.Index, r.n, e.TraceID)
	}
	if why := p.differs(e); why != "" {
		w.failf("%s %d is not what was sent: %s", ns.name, e.Index, why)
	}
	p.index, p.givenID, p.createdAt = e.Index, e.ID, e.CreatedAt
}

// differs compares what was sent and answered with what is shown.
func (p *event) differs(e *wire) string {
	payload := string(e.Payload)
	if p.ctype != "" {
		payload = string(e.Base64)
	}
	switch {
	case p.refused:
		return fmt.Sprintf("n%d was refused", p.n)
	case p.duplicate:
		return fmt.Sprintf("n%d was answered to be a duplicate", p.n)
	case e.Subject != p.subject, e.Key != p.key, e.ContentType != p.ctype, p.id != "" && e.ID != p.id:
		return fmt.Sprintf("got %s, sent %s key %q id %q type %q", e.sum(), p.subject, p.key, p.id, p.ctype)
	case payload != p.payload:
		return fmt.Sprintf("got payload %.100q, sent %.100q", payload, p.payload)
	case (e.ResponseSubject != "") != p.wantsReply:
		return fmt.Sprintf("got response subject %q", e.ResponseSubject)
	case p.givenID != "" && p.givenID != e.ID:
		return fmt.Sprintf("got id %s, answered was %s", e.ID, p.givenID)
	case p.createdAt != "" && p.createdAt != e.CreatedAt:
		return fmt.Sprintf("got created_at %s, answered was %s", e.CreatedAt, p.createdAt)
	case p.index != 0 && p.index != e.Index:
		return fmt.Sprintf("it is at %d, answered was %d", e.Index, p.index)
	}
	return ""
}

// saw notes what a reader was shown.
func (w *world) saw(ns *namespace, e *wire) {
	sum := e.sum()
	if e.Index == 0 {
		w.failf("%s: an event without an index: %s", ns.name, sum)
		return
	}
	want := ns.sightOf[e.Index]
	if e.Index <= uint64(len(ns.log)) {
		want = ns.log[e.Index-1].sum()
	}
	switch {
	case want == "":
		ns.sightOf[e.Index] = sum
	case want != sum:
		w.failf("%s %d was shown as %s and as %s", ns.name, e.Index, want, sum)
	}
}

// answer notes a receipt. A repeat gets what the first one got.
func (w *world) answer(p *event, r receipt) {
	ns := w.spaces[p.ns]
	w.tracef("n%d answered: %s %d dup=%v", p.n, p.ns, r.Index, r.Duplicate)
	switch {
	case r.Index == 0 || r.ID == "" || r.CreatedAt == "":
		w.failf("n%d: receipt %+v is not whole", p.n, r)
		return
	case p.index != 0 && (p.index != r.Index || p.givenID != "" && p.givenID != r.ID || p.createdAt != "" && p.createdAt != r.CreatedAt):
		w.failf("n%d was at %d as %s, %s, and is answered as %+v", p.n, p.index, p.givenID, p.createdAt, r)
	case p.id != "" && r.ID != p.id:
		w.failf("n%d was sent with id %s, answered %s", p.n, p.id, r.ID)
	}
	if other := ns.receipts[r.Index]; other != nil && other != p {
		w.failf("%s %d was answered to n%d and to n%d", p.ns, r.Index, other.n, p.n)
	}
	p.index, p.givenID, p.createdAt = r.Index, r.ID, r.CreatedAt
	if p.answered.IsZero() {
		p.answered = time.Now()
	}
	ns.receipts[r.Index] = p
	if r.Index <= uint64(len(ns.log)) {
		if why := p.differs(ns.log[r.Index-1]); why != "" {
			w.failf("%s %d: %s", p.ns, r.Index, why)
		}
	}
}

// checkAnswered looks at rest whether what was answered can be read.
func (w *world) checkAnswered(ns *namespace) {
	for index, p := range ns.receipts {
		if index <= uint64(len(ns.log)) {
			if e := ns.log[index-1]; e.TraceID != fmt.Sprintf("n%d", p.n) {
				w.failf("%s %d was answered to be n%d, and is %s", ns.name, index, p.n, e.TraceID)
			}
			continue
		}
		late := w.life.every > 0 && (ns.failed > 0 || time.Since(p.answered) <= w.grace())
		if !late {
			w.failf("n%d was answered at %s %d, and only %d can be read", p.n, ns.name, index, len(ns.log))
		}
	}
	for index := range ns.sightOf {
		w.failf("a reader was shown %s %d, and only %d can be read", ns.name, index, len(ns.log))
	}
}

// checkBatches: all of a batch or nothing, side by side.
func (w *world) checkBatches() {
	for _, o := range w.batches {
		there, last := 0, uint64(0)
		for _, p := range o.events {
			at, ok := w.spaces[p.ns].byTrace[fmt.Sprintf("n%d", p.n)]
			if !ok {
				continue
			}
			if there > 0 && at != last+1 {
				w.failf("batch of n%d: n%d is at %d, the one before at %d", o.events[0].n, p.n, at, last)
			}
			there, last = there+1, at
		}
		if there > 0 && there < len(o.events) {
			w.failf("batch of n%d: %d of %d are stored", o.events[0].n, there, len(o.events))
		}
	}
}

// matches is a pattern match of the model's own: "*" one segment, ">" the rest.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i := range p {
		switch {
		case p[i] == ">":
			return len(s) > i
		case i >= len(s) || p[i] != "*" && p[i] != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}
