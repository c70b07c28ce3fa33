package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/bus"
	"example.com/bus/server/disk"
)

// known tells which events a namespace of a directory has already. To look up
// an id costs a read from the disk. Events come in the order in which an
// earlier run stored them, so that after one hit the next is expected right
// behind it: reading on there costs next to nothing. It is for one goroutine.
type known struct {
	engine    *disk.Engine
	namespace string
	reader    disk.Reader
	block     []bus.Event // what was read last
	expected  uint64      // where the next event would be; 0: no idea
}

// newKnown expects nothing yet. The caller must close it.
func newKnown(e *disk.Engine, namespace string) *known {
	return &known{engine: e, namespace: namespace, reader: e.Reader(namespace, 1)}
}

func (k *known) close() { k.reader.Close() }

// has tells whether the event is there. Another event with its id is a clash:
// skipping it would lose this one.
func (k *known) has(ctx context.Context, e *bus.Event) (bool, error) {
	have, err := k.find(ctx, e.Id)
	if isRemoved(err) { // it is not to come back
		return true, nil
	}
	if have == nil || err != nil {
		return false, err
	}
	k.expected = have.Index + 1
	if !sameStored(have, e) {
		return false, fmt.Errorf("the id %s is that of another event, at index %d of %s; write into another directory", e.Id, have.Index, k.namespace)
	}
	return true, nil
}

// sameEvent compares what a publisher has said of an event.
func sameEvent(a, b *bus.Event) bool {
	return a.Subject == b.Subject && a.ContentType == b.ContentType && bytes.Equal(a.Payload, b.Payload)
}

// sameStored compares two events that have one id as the logs have them. An id that a
// log gave says a place in it: a log that was put back from an older copy gives it
// once more, to an event that may say the same, but not of the same moment.
func sameStored(a, b *bus.Event) bool {
	return sameEvent(a, b) && sameMoment(a.Id, a.CreatedAt, b.CreatedAt)
}

func sameMoment(id string, a, b time.Time) bool {
	_, given := bus.ParseEventID(id)
	return !given || a.IsZero() || b.IsZero() || a.Equal(b)
}

// find returns the event with an id, nil when there is none.
func (k *known) find(ctx context.Context, id string) (*bus.Event, error) {
	if k.expected > 0 {
		if e, err := k.at(k.expected); err == nil && e.Id == id {
			return e, nil
		}
		k.expected = 0
	}
	index, err := k.engine.Find(ctx, k.namespace, id)
	if errors.Is(err, bus.ErrUnknownEvent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return k.at(index)
}

// at reads one event. Its neighbours come with it, and are kept for the next.
func (k *known) at(index uint64) (*bus.Event, error) {
	if n := len(k.block); n == 0 || index < k.block[0].Index || index > k.block[n-1].Index {
		k.reader.Seek(index)
		var err error
		if k.block, err = k.reader.Next(); err != nil {
			return nil, err
		}
	}
	return &k.block[index-k.block[0].Index], nil
}
