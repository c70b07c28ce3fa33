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
		switch state := d.known[name]; {
		case state == isDeleting && !slices.Contains(d.atStart, name):
			if err := d.finishDeleting(name); err != nil {
				d.fail(name, err)
			}
		case state == isDeclared:
			if err := d.open(name); err != nil {
				d.fail(name, err)
			}
		}
	}
	d.retainAsBefore()
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

// retain changes how much of a namespace is kept, and remembers it.
func (d *declared) retain(name string, r bus.RetentionInfo) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.server.engine.Retain(name, r); err != nil {
		return err
	}
	if err := d.write(name, declaredEntry{Retention: &r}); err != nil {
		return err
	}
	d.kept[name] = r
	return nil
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

// say writes down what becomes of a namespace, and returns once that is durable.
func (d *declared) say(name string, state declaredState) error {
	if err := d.write(name, declaredEntry{State: state}); err != nil {
		return err
	}
	if d.known[name] = state; state == isDeleted {
		delete(d.kept, name)
	}
	return nil
}

func (d *declared) write(name string, entry declaredEntry) error {
	if err := d.server.engine.Keep(bus.NamespacesNamespace); err != nil {
		return err
	}
	e := bus.Event{Subject: bus.NamespacesNamespace + "." + name, Payload: entryOf(entry)}
	return d.server.engine.Append(context.Background(), bus.NamespacesNamespace, []bus.Event{e})
}

// declare makes a namespace, and remembers it. made is false when it is there
// already. What is said before it is there is found by the next start.
func (d *declared) declare(name string) (made bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.server.engine.Incarnation(name) != 0:
		return false, nil
	case d.known[name] == isDeleting:
		if err := d.finishDeleting(name); err != nil {
			return false, err
		}
	}
	if err := d.open(name); err != nil {
		return false, err
	}
	return true, d.say(name, isDeclared)
}

// open has a namespace served.
func (d *declared) open(name string) error {
	s := d.server
	if err := s.engine.Declare(name); err != nil {
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
// That it is to be deleted is durable before anything goes.
func (d *declared) remove(ctx context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.server
	if slices.Contains(d.atStart, name) {
		return bus.ErrDeclaredAtStart.With("namespace %s is one of --namespaces, and would come back empty at the next start: leave it out there, declare it with PUT, and delete it then", name)
	}
	if s.engine.Incarnation(name) == 0 {
		return s.checkNamespace(name)
	}
	if err := d.say(name, isDeleting); err != nil {
		return err
	}
	gone := bus.ErrUnknownNamespace.With("namespace %s was deleted", name)
	s.schedule.Drop(name)
	s.hub.Drop(name, gone)
	if err := s.named.removeAll(ctx, name); err != nil {
		return err
	}
	s.keys.Delete(name)
	if err := d.finishDeleting(name); err != nil {
		return err
	}
	s.hub.Dedup().Forget(name) // behind it, so that next to no publish that was under way commits its key later
	return nil
}

func (d *declared) finishDeleting(name string) error {
	if err := d.server.engine.Remove(name); err != nil {
		return err
	}
	delete(d.failures, name)
	return d.say(name, isDeleted)
}
