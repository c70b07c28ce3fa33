package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"example.com/bus"
)

// How many dead letters one answer lists.
const (
	defaultDeadPage = 100
	maxDeadPage     = 1000
)

var (
	deadParams  = []string{"consumer", "limit", "after"}
	retryParams = []string{"publish"}
)

// letterInfo is what /v1 says of a dead letter.
type letterInfo struct {
	ID         string          `json:"id"`
	Index      uint64          `json:"index"`    // of the letter, as the id
	Consumer   string          `json:"consumer"` // a name, or the id of one without
	Named      bool            `json:"named"`
	EventID    string          `json:"event_id"`
	EventIndex uint64          `json:"event_index"`
	Subject    string          `json:"subject,omitempty"` // of the event; absent when the letter has no copy of it
	Attempts   int             `json:"attempts"`
	Reason     string          `json:"reason"`
	At         time.Time       `json:"at"`
	Open       *bool           `json:"open,omitempty"`  // of one that is shown
	Event      json.RawMessage `json:"event,omitempty"` // as well
}

// letter is a dead letter as the log has it.
type letter struct {
	id, subject, trace string
	index              uint64
	named              bool
	deadLetterPayload
	raw json.RawMessage // the event; nil when it was too large
}

// readLetter makes a letter of an event of the log, and reports false for what is
// none of the namespace.
func readLetter(namespace string, e *bus.Event) (*letter, bool) {
	var payload struct {
		letterEntry
		deadLetterPayload
		Event json.RawMessage `json:"event"`
	}
	of, consumer, ok := parseDeadSubject(e.Subject)
	if !ok || of != namespace || json.Unmarshal(e.Payload, &payload) != nil || payload.Resolved != "" {
		return nil, false
	}
	l := &letter{id: e.Id, subject: e.Subject, trace: e.TraceId, index: e.Index, named: consumer != anonymous, deadLetterPayload: payload.deadLetterPayload}
	if string(payload.Event) != "null" {
		l.raw = payload.Event
	}
	return l, true
}

func (l *letter) info() letterInfo {
	info := letterInfo{
		ID: l.id, Index: l.index, Consumer: l.Consumer, Named: l.named, EventID: l.EventID, EventIndex: l.deadLetterPayload.Index,
		Attempts: l.Attempts, Reason: l.Reason, At: l.At,
	}
	var event struct{ Subject string }
	if json.Unmarshal(l.raw, &event) == nil {
		info.Subject = event.Subject
	}
	return info
}

// listDead answers with the open dead letters of a namespace, the oldest first.
func (s *Server) listDead(w http.ResponseWriter, r *http.Request) {
	s.gate.isFull(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.methodNotAllowed(w, r, "GET, HEAD, OPTIONS")
		return
	}
	answer, err := s.pageOfDead(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, http.StatusOK, answer)
}

// deadPage is one answer of a list. Beyond are open letters that cannot be listed
// before some of those in front of them are done with.
type deadPage struct {
	Dead   []letterInfo `json:"dead"`
	Open   int          `json:"open"`
	Beyond int          `json:"beyond,omitempty"`
	After  string       `json:"after,omitempty"` // for the next page; absent at the end
}

func (s *Server) pageOfDead(r *http.Request) (*deadPage, error) {
	namespace := r.PathValue("namespace")
	if err := s.checkNamespace(namespace); err != nil {
		return nil, err
	}
	p, err := parseParams(r.URL.RawQuery, deadParams)
	if err != nil {
		return nil, err
	}
	consumer, after, limit := p.text("consumer"), p.text("after"), p.number("limit", defaultDeadPage, 1, maxDeadPage)
	if p.err != nil {
		return nil, p.err
	}
	if consumer != "" && consumer != anonymous {
		if err := checkConsumerName(consumer); err != nil {
			return nil, err
		}
	}
	behind := uint64(0)
	if after != "" {
		place, ok := bus.ParseEventID(after)
		if !ok {
			return nil, bus.ErrInvalidParameter.With("after is %.80q, wanted the id of a dead letter", after)
		}
		behind = place.Index
	}
	found, open, beyond, err := s.letters.page(namespace, consumer, behind, limit+1)
	if err != nil {
		return nil, err
	}
	page := &deadPage{Dead: []letterInfo{}, Open: open, Beyond: beyond}
	for i, one := range found {
		if i == limit {
			page.After = page.Dead[i-1].ID
			break
		}
		info, err := s.letterAt(namespace, one)
		if err != nil {
			return nil, err
		}
		page.Dead = append(page.Dead, info)
	}
	return page, nil
}

// letterAt reads what is in mind of one. Of one that was lost or deleted since it
// was read only the place is left; the next start of the server passes it by.
func (s *Server) letterAt(namespace string, one openLetter) (letterInfo, error) {
	lost := letterInfo{Index: one.index, Consumer: one.consumer, Named: one.consumer != anonymous, Reason: "lost",
		ID: bus.FormatID(bus.Position{Incarnation: s.engine.Incarnation(bus.DeadNamespace), Index: one.index})}
	e, err := s.readOne(bus.DeadNamespace, one.index)
	if isGone(err) {
		return lost, nil
	}
	if err != nil {
		return lost, err
	}
	l, ok := readLetter(namespace, e)
	if !ok {
		return lost, nil
	}
	return l.info(), nil
}

// deadLetter shows one, or drops it.
func (s *Server) deadLetter(w http.ResponseWriter, r *http.Request) {
	s.gate.isFull(w, r)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.showDead(w, r)
	case http.MethodDelete:
		if err := s.dropDead(r); err != nil {
			s.fail(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		s.methodNotAllowed(w, r, "GET, HEAD, DELETE, OPTIONS")
	}
}

func (s *Server) showDead(w http.ResponseWriter, r *http.Request) {
	l, err := s.findLetter(r, nil)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	open, err := s.letters.isOpen(l)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	info := l.info()
	info.Open, info.Event = &open, l.raw
	held := s.budget.lease()
	defer held.end()
	body := encode(info)
	if err := held.cover(min(len(l.raw)+cap(body), s.config.MaxBuffered)); err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeBody(w, http.StatusOK, body)
}

// findLetter finds what the path names, and refuses parameters that are not
// among the allowed ones.
func (s *Server) findLetter(r *http.Request, allowed []string) (*letter, error) {
	namespace, id := r.PathValue("namespace"), r.PathValue("id")
	if err := s.checkNamespace(namespace); err != nil {
		return nil, err
	}
	if len(allowed) == 0 && r.URL.RawQuery != "" {
		return nil, bus.ErrUnknownParameter.With("%s takes none, found %.80q", r.URL.Path, r.URL.RawQuery)
	}
	if err := bus.CheckID(id); err != nil {
		return nil, err
	}
	if err := s.engine.Keep(bus.DeadNamespace); err != nil {
		return nil, err
	}
	e, err := s.findEvent(r, bus.DeadNamespace, id)
	if err != nil && !errors.Is(err, bus.ErrUnknownEvent) {
		return nil, err
	}
	if err == nil {
		if l, ok := readLetter(namespace, e); ok {
			return l, nil
		}
	}
	return nil, bus.ErrUnknownEvent.With("namespace %s has no dead letter %.80q; GET /v1/namespaces/%s/dead lists them", namespace, id, namespace)
}
