package server

import (
	"context"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// Engine keeps events. What it promises is what the bus promises: an event is
// appended once, at the index given, and readable only when it is durable.
// Two implementations are judged by one suite, server/enginetest. All methods
// may be called from many goroutines; a namespace that was not declared is a
// mistake of the caller and answers bus.ErrUnknownNamespace where an error can
// be returned, zero values elsewhere.
type Engine interface {
	// Namespaces returns the declared ones, sorted.
	Namespaces() []string

	// Declare opens a namespace, and makes it when it is not there. One that is open
	// is left alone. It is not remembered: whoever opens the engine again declares it
	// again. remember, unless nil, is called before anybody can find the namespace;
	// with its error, or any other, there is none, as before.
	Declare(name string, remember func() error) error

	// Remove closes a namespace and deletes all of it. What a crash has left of it is
	// deleted by a second call.
	Remove(name string) error

	// Keep sees to it that a log of the bus's own is open, and makes it when it is
	// not there. Its name begins with an underscore; it is no namespace that
	// Namespaces lists, but everything else works with it. A second call does
	// nothing.
	Keep(name string) error

	// Durability names what a returned Append means: "always", "interval=100ms" or "os".
	Durability() string

	// Incarnation is the identity of the namespace's log, cut to
	// bus.IncarnationBits. Another log of the same name has another one.
	Incarnation(namespace string) uint64

	// Append stores the events as one commit, all or none, and fills Index, and
	// Id and CreatedAt where they are empty. It returns when they are as durable
	// as Durability says. ctx bounds only the wait for a place in the queue: an
	// event that was taken is stored, whatever becomes of ctx. Errors:
	// bus.ErrInsufficientSpace (later appends may work; also at a limit of a policy
	// that refuses what is new), bus.ErrTooLarge,
	// bus.ErrStorage (none will until the log is opened again), ctx's.
	//
	// An event that Waits is stored at its index at once, and gets an id that says no
	// index when it brings none. It is delivered by Release. There may be only so many of
	// them: bus.ErrTooManyDelayed, and nothing is stored. bus.ErrInvalidEvent when a
	// policy would delete it before it is due.
	Append(ctx context.Context, namespace string, events []bus.Event) error

	// Release appends the events that wait and have come due by now once more: in the
	// order in which they came due, those of one moment in the order of their indexes, at
	// most most of them, as one commit. They have the id, created_at and all else of the
	// one that waited, and its index as Timing.Published. It returns when those that it
	// has delivered were due, and when the next is: the zero time when none waits. Each
	// is delivered once, whatever crashes, and one that is gone is passed over and
	// counted. With an error nothing was delivered, and the next call tries again. It may
	// wait for the log to be read, as long as ctx lets it.
	Release(ctx context.Context, namespace string, now time.Time, most int) (released []time.Time, next time.Time, err error)

	// Delayed returns the indexes behind after, sorted and at most most of them, at which
	// events wait. It may wait for the log to be read, as long as ctx lets it.
	Delayed(ctx context.Context, namespace string, after uint64, most int) (indexes []uint64, err error)

	// AppendIf is Append on a condition, which is looked at in the same step in
	// which the events get their indexes: no other Append comes between, of this
	// process or any. What does not hold is bus.ErrWrongIndex with the actual index,
	// that of the namespace before that of the subject, and nothing is stored; a
	// condition that does not fit the events is bus.ErrInvalidParameter. The first
	// condition on a subject may wait for the log to be read, as long as ctx lets
	// it. bus.ErrTooManySubjects: there are more than the engine knows by heart.
	AppendIf(ctx context.Context, namespace string, events []bus.Event, when bus.Condition) error

	// Newest returns the indexes, sorted, of the newest event below next of each
	// subject that matches one of the patterns, without those that wait; next is one past the last readable
	// at one moment during the call. It may wait for the log to be read, or for
	// what is stored to be readable, as long as ctx lets it. Events that are lost to
	// damage, and may have been the newest, are in lost, in order. More than most
	// indexes, or more subjects than the engine knows by heart, are
	// bus.ErrTooManySubjects.
	Newest(ctx context.Context, namespace string, patterns []bus.Pattern, most int) (indexes []uint64, next uint64, lost []bus.DamageError, err error)

	// Retain changes how much of a namespace is kept, from now on: limits that are
	// zero are none, and MaxAge is as time.ParseDuration reads it. With Compact,
	// events that are not the newest of their subject are removed, when it pays, and
	// Readers say so. It is not remembered. bus.ErrInvalidParameter for what cannot be
	// meant.
	Retain(namespace string, r bus.RetentionInfo) error

	// CheckRetention refuses what Retain would refuse of any namespace.
	CheckRetention(r bus.RetentionInfo) error

	// Delete removes events so that what was in them is nowhere in what the engine
	// keeps, durably when it returns; their indexes stay, and are never given again.
	// One that was put off stands at two, both of which are taken; where it still waits
	// it is not delivered. all are the indexes of which the events are gone, sorted.
	// Readers say a *bus.RemovedError there. already are those of the indexes whose
	// events were removed before, for whatever reason; about these it is as sure as
	// about the others, so that a second call finishes what a crash has cut short.
	// Events must be readable. It is for the bus's own logs, too. Errors:
	// bus.ErrUnknownEvent for an index that is not kept, bus.ErrEventLost or
	// a *bus.DamageError for one that was lost, bus.ErrCorrupt when damage near
	// it is in the way, bus.ErrInsufficientSpace, bus.ErrStorage, ctx's. Behind an
	// error some of several events may be removed.
	Delete(ctx context.Context, namespace string, indexes []uint64) (all, already []uint64, err error)

	// Purge deletes the events of a namespace below an index, as far as the engine
	// can: some of them may stay. It is for the bus's own logs, too.
	Purge(ctx context.Context, namespace string, before uint64) error

	// Bounds returns the first index kept and one past the last readable; they are
	// the same when nothing is kept. The first moves when old events are deleted,
	// which an engine may do at any time by a policy of its own. Lost events between
	// them count: their indexes are never given again, nor are those of deleted ones. Events that
	// were behind next and are damaged do not; see Reader.
	Bounds(namespace string) (first, next uint64)

	// Wait returns nil once next > from, or ctx's error, or an error when the
	// engine is closed.
	Wait(ctx context.Context, namespace string, from uint64) error

	// Reader reads events from an index on, in index order; from the first that
	// is kept when that is later. See delivery.Reader for what Next returns. Of
	// an unknown namespace it reads nothing. The events of one Next have indexes in a
	// row, and where an event was removed it says so, whichever index one begins at.
	//
	// When the last events that a namespace had cannot be read, and nobody knows
	// how many there were, a Reader at the end of Bounds or behind it returns a
	// *bus.DamageError whose Next is 0, again and again, where it would return
	// io.EOF otherwise. Such a namespace has a Problem, and takes no events until
	// the engine is opened anew on a log that was repaired: its end never moves.
	Reader(namespace string, from uint64) delivery.Reader

	// Skip returns where, at from or behind it, an event that matches one of the
	// patterns may stand, and until where there is no use in asking again; see
	// delivery.Source. It is allowed to know nothing, and never hides an event.
	Skip(namespace string, from uint64, patterns []bus.Pattern) (at, until uint64)

	// Find returns the index of the event with this id without scanning the log:
	// an id that the namespace gave, or one that came with a restored or copied
	// event. Of one that was put off it is the index at which it was delivered, and
	// until then that at which it waits. bus.ErrUnknownEvent when there is none. Of an event that is lost to
	// damage, the index is known by an id that the namespace gave, so that a
	// reader can go on behind it; by another id it is unknown. It is the same for
	// one that was removed.
	Find(ctx context.Context, namespace, id string) (uint64, error)

	// Delivered returns the index at which an event stands that waited at published and
	// was delivered, when published itself is not kept any more: a retention or a purge
	// has taken it. bus.ErrUnknownEvent when there is none. It may read a large part of
	// the log, as long as ctx lets it.
	Delivered(ctx context.Context, namespace string, published uint64) (uint64, error)

	// IndexAt returns the index of the first event committed at t or later, one
	// past the last when there is none.
	IndexAt(ctx context.Context, namespace string, t time.Time) (uint64, error)

	// Inspect returns what there is to say about a namespace. It is asked by
	// every look at /metrics, so it must not read the log.
	Inspect(namespace string) bus.NamespaceInfo

	// Close makes everything durable and lets the directory go. A second call
	// returns what the first did.
	Close() error
}
