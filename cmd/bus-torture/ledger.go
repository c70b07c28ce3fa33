package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// ledger is what the workers of a named consumer know.
type ledger struct {
	mu        sync.Mutex // guards all of it
	delivered map[string]int
	said      map[string]bool      // an acknowledgement was sent, answered or not
	acked     map[string]time.Time // when it was answered
	termed    map[string]bool      // it was answered that it is a dead letter
	faults    []string
}

func newLedger() *ledger {
	return &ledger{delivered: make(map[string]int), said: make(map[string]bool), acked: make(map[string]time.Time), termed: make(map[string]bool)}
}

func (l *ledger) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// deliver notes a delivery on a connection that was opened then. What was
// answered before that must not come on it; on one that was open before, it may
// have been on its way.
func (l *ledger) deliver(id string, opened time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delivered[id]++
	if at, ok := l.acked[id]; ok && at.Before(opened) {
		l.faults = append(l.faults, fmt.Sprintf("%s came on a connection that was opened %s after its acknowledgement was answered", id, opened.Sub(at)))
	}
}

func (l *ledger) say(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.said[id] = true
	}
}

func (l *ledger) answer(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.acked[id].IsZero() {
			l.acked[id] = time.Now()
		}
	}
}

func (l *ledger) giveUp(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.termed[id] = true
	if l.acked[id].IsZero() {
		l.acked[id] = time.Now() // it must not come again either
	}
}

// obituary is the payload of a dead letter, as far as it is judged.
type obituary struct {
	EventID  string    `json:"event_id"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// accounts are the figures at the end.
type accounts struct{ events, deliveries, acked, dead, twiceDead int }

// judge holds what is in the logs against what the workers know. Every event was
// delivered, and acknowledged or became a dead letter; none became one behind its
// acknowledgement; of each there is at most one more than servers were killed.
func (l *ledger) judge(events, dead []event, kills int) (accounts, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum accounts
	letters := make(map[string][]obituary)
	for _, e := range dead {
		var o obituary
		if err := json.Unmarshal(e.Payload, &o); err != nil {
			return sum, fmt.Errorf("%w: the dead letter %s: %w", errFault, e.Payload, err)
		}
		letters[o.EventID] = append(letters[o.EventID], o)
	}
	for _, e := range events {
		sum.events++
		sum.deliveries += l.delivered[e.Id]
		if !l.acked[e.Id].IsZero() && !l.termed[e.Id] {
			sum.acked++
		}
		sum.dead += min(1, len(letters[e.Id]))
		sum.twiceDead += max(0, len(letters[e.Id])-1)
		if what := l.wrong(e.Id, letters[e.Id], kills); what != "" {
			l.faults = append(l.faults, fmt.Sprintf("%s (index %d) %s", e.Id, e.Index, what))
		}
	}
	if len(l.faults) > 0 {
		return sum, fmt.Errorf("%w: %d in all:\n%s", errFault, len(l.faults), indent(strings.Join(l.faults[:min(len(l.faults), 20)], "\n")))
	}
	return sum, nil
}

// wrong says what is wrong with an event, "" when nothing is.
func (l *ledger) wrong(id string, letters []obituary, kills int) string {
	switch {
	case l.delivered[id] == 0:
		return "was never delivered"
	case !l.said[id] && len(letters) == 0:
		return "is settled, and nobody has acknowledged it and there is no dead letter"
	case l.termed[id] && len(letters) == 0:
		return "was given up by a worker, and there is no dead letter"
	case len(letters) > kills+1:
		return fmt.Sprintf("has %d dead letters after %d kills", len(letters), kills)
	}
	for _, o := range letters {
		switch acked := l.acked[id]; {
		case o.Reason == "attempts" && o.Attempts != workAttempts:
			return fmt.Sprintf("was given up after %d attempts, want %d", o.Attempts, workAttempts)
		case !acked.IsZero() && o.At.After(acked):
			return fmt.Sprintf("became a dead letter %s behind its answered acknowledgement", o.At.Sub(acked))
		case o.Reason != "attempts" && o.Reason != "term":
			return fmt.Sprintf("became a dead letter for the reason %q", o.Reason)
		}
	}
	return ""
}
