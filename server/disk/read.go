package disk

import (
	"context"
	"errors"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Reader reads the events of a namespace in index order, each once. It is for
// one goroutine; there may be many readers, and none waits for a writer.
type Reader = interface {
	// Next returns the next events that are readable, at least one. They are
	// immutable and may be kept. io.EOF at the readable end: call again later.
	// *bus.DamageError for events that cannot be read: again and again, until
	// Seek leaves them behind.
	Next() ([]bus.Event, error)
	// Seek makes index the next one to be read.
	Seek(index uint64)
	// Close gives the reader's memory back. A second call does nothing.
	Close()
}

// Bounds returns the first index kept and one past the last readable, and
// zeros for an unknown namespace.
func (e *Engine) Bounds(namespace string) (first, next uint64) {
	if n := e.log(namespace); n != nil {
		return n.log.Bounds()
	}
	return 0, 0
}

// Wait returns nil once an event at from or later is readable, ctx's error, or
// bus.ErrUnavailable when the engine is closed.
func (e *Engine) Wait(ctx context.Context, namespace string, from uint64) error {
	n, err := e.namespace(namespace)
	if err != nil {
		return err
	}
	return n.waitError(n.log.Wait(ctx, from))
}

// Reader reads from an index on. The caller must Close it.
func (e *Engine) Reader(namespace string, from uint64) Reader {
	n, err := e.namespace(namespace)
	if err != nil {
		return unknownReader{err}
	}
	return n.reader(from)
}

// reader is a Reader of one log.
type reader struct {
	n       *namespace
	blocks  *immuta.Reader
	decoder decoder
	due     uint64 // index that Next starts with
	damage  error  // what Next says until Seek: a record that is no event, or what was deleted
}

func (n *namespace) reader(from uint64) *reader {
	return &reader{n: n, blocks: n.log.Reader(from), decoder: decoder{namespace: n.name, incarnation: n.incarnation}, due: from}
}

func (r *reader) Next() ([]bus.Event, error) {
	if r.damage != nil {
		return nil, r.damage
	}
	b, err := r.blocks.Next()
	if err != nil {
		err = r.n.readError(err, r.due)
		if removed, ok := bus.AsRemoved(err); ok && removed.Reason == bus.RemovedDeleted {
			r.join(removed)
			r.damage = removed
		}
		return nil, err
	}
	events, err := r.decoder.events(b.First, b.Time, b.Records)
	if err != nil {
		bad := b.First + uint64(len(events))
		r.damage = &bus.DamageError{Namespace: r.n.name, From: bad, Next: bad + 1, Err: err}
	}
	if len(events) == 0 {
		return nil, r.damage
	}
	r.due = b.First + uint64(len(events))
	return events, nil
}

// join adds what was deleted right behind, so that it is told as one: in another file it
// is a removal of its own. What was compacted nobody is told of, so that it is not
// worth the second look.
func (r *reader) join(removed *bus.RemovedError) {
	for {
		r.blocks.Seek(removed.Next)
		_, err := r.blocks.Next()
		more, ok := errors.AsType[*immuta.RemovedError](err)
		if !ok || more.From != removed.Next || reasonName(more.Reason) != removed.Reason {
			return
		}
		removed.Next, removed.At = more.Next, more.Time
	}
}

func (r *reader) Seek(index uint64) {
	r.damage, r.due = nil, index
	r.blocks.Seek(index)
}

func (r *reader) Close() { r.blocks.Close() }

// unknownReader is what there is to read in a namespace that does not exist.
type unknownReader struct{ err error }

func (r unknownReader) Next() ([]bus.Event, error) { return nil, r.err }
func (r unknownReader) Seek(uint64)                {}
func (r unknownReader) Close()                     {}

// IndexAt returns the index of the first event committed at t or later, one
// past the last readable when there is none.
func (e *Engine) IndexAt(_ context.Context, namespace string, t time.Time) (uint64, error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return 0, err
	}
	index, err := n.log.IndexAt(t)
	if err != nil {
		return 0, n.readError(err, 0)
	}
	return index, nil
}
