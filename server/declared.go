package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"example.com/bus"
)

// declared remembers the namespaces that were declared and deleted while the
// server ran: in a log of the bus's own, _namespaces_, a subject for each. It is
// made by the first that is.
type declared struct {
	server *Server

	mu       patient  // guards the rest, and is held while one is declared or deleted
	atStart  []string // by whoever started the server: those stay
	known    map[string]declaredState
	kept     map[string]bus.RetentionInfo
	failures map[string]string // of those that could not be opened again
}

// declaredState is what the log says of a namespace last.
type declaredState string

const (
	isDeclared declaredState = "declared"
	isDeleting declaredState = "deleting" // it was begun; the next start goes on with it
	isDeleted  declaredState = "deleted"
)

// declaredEntry is one event of the log: what becomes of a namespace, or how much
// of it is kept from there on.
type declaredEntry struct {
	State     declaredState      `json:"state,omitempty"`
	Retention *bus.RetentionInfo `json:"retention,omitempty"`
}

// begin declares what was declared before, and finishes what was being deleted.
// One that cannot be opened is said, in the log and at /readyz: the others are not
// to wait for it.
func (d *declared) begin() {
	d.mu = make(patient, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.server
	d.atStart = slices.Clone(s.engine.Namespaces())
	d.known, d.failures = make(map[string]declaredState), make(map[string]string)
	d.kept = make(map[string]bus.RetentionInfo)
	if s.engine.Incarnation(bus.NamespacesNamespace) == 0 {
		return
	}
	if err := d.read(); err != nil {
		d.fail(bus.NamespacesNamespace, err)
	}
	for _, name := range slices.Sorted(maps.Keys(d.known)) {
		if d.known[name] != isDeclared {
			continue
		}
		if err := d.open(name, nil); err != nil {
			d.fail(name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.known)) { // behind the others, whose consumers wake up with it
		if d.known[name] != isDeleting {
			continue
		}
		if slices.Contains(d.atStart, name) {
			d.keep(name)
		} else if err := d.finishDeleting(name); err != nil {
			d.fail(name, err)
		}
	}
	d.retainAsBefore()
}

// keep ends a deletion that was not finished of a namespace that somebody has started
// the server with since: what is published there now must not go with a later start
// without it.
func (d *declared) keep(name string) {
	if err := d.say(name, declaredEntry{State: isDeleted}); err != nil {
		d.server.log.Error("a namespace of --namespaces is still noted as one that is to be deleted; do not leave it out at the next start", "namespace", name, "error", err)
	}
}

// retainAsBefore keeps as much as was said while the server ran last, but for
// namespaces of which whoever has started it says how much.
func (d *declared) retainAsBefore() {
	for _, name := range slices.Sorted(maps.Keys(d.kept)) {
		if d.server.engine.Incarnation(name) == 0 || d.server.engine.Inspect(name).Retention != nil {
			continue
		}
		if err := d.server.engine.Retain(name, d.kept[name]); err != nil {
			d.fail(name, err)
		}
	}
}

func (d *declared) fail(name string, err error) {
	d.failures[name] = err.Error()
	d.server.log.Error("a namespace that was declared at run time is not there", "namespace", name, "error", err)
}

// problems are why namespaces that should be there are not. Who asks whether the
// server is ready does not wait for a disk.
func (d *declared) problems() map[string]string {
	select {
	case d.mu <- struct{}{}:
	default:
		return nil
	}
	defer d.mu.Unlock()
	return maps.Clone(d.failures)
}

func (d *declared) read() error {
	first, next := d.server.engine.Bounds(bus.NamespacesNamespace)
	r := d.server.engine.Reader(bus.NamespacesNamespace, first)
	defer r.Close()
	for at := first; at < next; {
		events, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range events {
			if err := d.note(&events[i]); err != nil {
				return err
			}
		}
		at = events[len(events)-1].Index + 1
	}
	return nil
}

func (d *declared) note(e *bus.Event) error {
	name := strings.TrimPrefix(e.Subject, bus.NamespacesNamespace+".")
	if err := bus.CheckNamespace(name); err != nil {
		return err
	}
	var entry declaredEntry
	decoder := json.NewDecoder(bytes.NewReader(e.Payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&entry); err != nil {
		return err
	}
	if entry.State != "" {
		d.known[name] = entry.State
	}
	if entry.Retention != nil {
		d.kept[name] = *entry.Retention
	}
	if entry.State == isDeleted {
		delete(d.kept, name)
	}
	return nil
}

// say writes down what becomes of a namespace, and how much of it is kept, and
// returns once that is durable. Nothing of it may take effect before: what is refused
// is not to happen, and the next start would not know of it.
func (d *declared) say(name string, entry declaredEntry) error {
	e := bus.Event{Subject: bus.NamespacesNamespace + "." + name, Payload: entryOf(entry)}
	if err := d.server.engine.Append(context.Background(), bus.NamespacesNamespace, []bus.Event{e}); err != nil {
		return err
	}
	return d.note(&e)
}

// declare makes a namespace, says how much of it is kept unless retention is nil, and
// remembers both. made is false when it is there already. With an error nothing is
// changed.
func (d *declared) declare(name string, retention *bus.RetentionInfo) (made bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	made = d.server.engine.Incarnation(name) == 0
	if !made && retention == nil {
		return false, nil
	}
	if err := d.server.engine.Keep(bus.NamespacesNamespace); err != nil {
		return false, err
	}
	if made && d.known[name] == isDeleting {
		if err := d.finishDeleting(name); err != nil {
			return false, err
		}
	}
	if made {
		err = d.open(name, func() error { return d.say(name, declaredEntry{State: isDeclared, Retention: retention}) })
	} else {
		err = d.say(name, declaredEntry{Retention: retention})
	}
	if err == nil && retention != nil {
		err = d.server.engine.Retain(name, *retention)
	}
	return made && err == nil, err
}

// open has a namespace served, once that is remembered.
func (d *declared) open(name string, remember func() error) error {
	s := d.server
	if err := s.engine.Declare(name, remember); err != nil {
		return err
	}
	delete(d.failures, name)
	s.loadKeys([]string{name})
	s.named.began(name)
	s.hub.Add(name)
	s.expectDelayed([]string{name})
	return nil
}

// remove deletes a namespace, its named consumers, and all that was made from it.
// That it is to be deleted is durable before anything goes: with an error of that
// nothing is changed. Behind it there is no way back: what cannot be done now is done
// by the next declaration of the name, or by the next start.
func (d *declared) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.server
	if slices.Contains(d.atStart, name) {
		return bus.ErrDeclaredAtStart.With("namespace %s is one of --namespaces, and would come back empty at the next start: leave it out there, declare it with PUT, and delete it then", name)
	}
	if s.engine.Incarnation(name) == 0 {
		return s.checkNamespace(name)
	}
	if err := s.engine.Keep(bus.NamespacesNamespace); err != nil {
		return err
	}
	if err := d.say(name, declaredEntry{State: isDeleting}); err != nil {
		return err
	}
	gone := bus.ErrUnknownNamespace.With("namespace %s was deleted", name)
	s.schedule.Drop(name)
	s.hub.Drop(name, gone)
	s.keys.Delete(name)
	if err := d.finishDeleting(name); err != nil {
		s.log.Error("a namespace is deleted, and something of it is left: the next start finishes that, or the next declaration of the name", "namespace", name, "error", err)
	}
	s.hub.Dedup().Forget(name) // behind it, so that next to no publish that was under way commits its key later
	return nil
}

// finishDeleting deletes what there is of a namespace that is to be deleted. The
// consumers come first: one that is left would be one of the next of the name.
func (d *declared) finishDeleting(name string) error {
	noConsumers := d.server.named.removeAll(context.Background(), name)
	if err := errors.Join(d.server.engine.Remove(name), noConsumers); err != nil {
		return err
	}
	delete(d.failures, name)
	return d.say(name, declaredEntry{State: isDeleted})
}
