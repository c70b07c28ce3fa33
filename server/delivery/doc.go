// Package delivery hands committed events to those who subscribed: consumers,
// their cursors, what they have in flight, deadlines and attempts, idempotency
// keys, confirmations and inboxes. It knows no HTTP, no SSE, no disk and no file
// offset; what keeps events is a Source, what they look like is a Format, and
// time is package time, so that a testing/synctest bubble owns it.
//
// # How an event gets to a subscriber
//
// A Stream is a cursor on the log, not a queue. One that is behind reads the log
// by its own Reader, or the feed's ring of recent batches, at its own pace. Once
// it has caught up it is attached to the feed of its namespace: one goroutine
// that reads each committed batch once, looks its subjects up in a trie of
// patterns, and wakes only who matches. Streams that can share frames share a
// view, an append-only sequence of slabs of ready frames, and take everything
// published since their last Next as one slice, with no copy and no allocation.
// The others get pointers to events into a small queue.
//
// A stream that does not keep up finds its slab gone or its queue full. It loses
// nothing: it goes back to reading the log. So the memory of a subscriber is
// bounded, and does not depend on how far behind it is, and nobody waits for it.
//
// A stream that reads the log asks the Source what it may skip, once for each
// part of it that the answer is good for: what does not match is passed over as
// if it had been read, and the position is behind it.
//
// # The seam
//
// A cursor is attached under the feed's lock, in the same step in which it takes
// what the ring has from its position to the feed's end, and no batch can be
// handed out while that lock is held. So every event is either in what it took
// or in what the feed gives it, never in both.
//
// # Who takes an event out
//
// With acknowledgement, a flight is an event that is out or waits to go out
// again. Acknowledgement, the last time-out and Close find it under the stream's
// lock; who removes it acts on it, the others find nothing. Deadlines are looked
// at by Next, so a stream needs no goroutine of the hub's.
//
// # Named consumers
//
// A Consumer is a Stream with acknowledgement that several members take from in
// turns, while somebody is connected; while nobody is, it is its Progress. What
// is said of its events is written to the Journal before it is acted on, one note
// at a time, so that what is read back is what was answered. A stream that goes
// on from a Progress passes over what is settled, and takes what was out before
// as flights that wait: a restart and a reconnect are one and the same thing.
//
// # Locks
//
// From left to right; never the other way, and none twice:
//
//	Consumer.turn → Consumer.mu → feed.mu → Stream.mu → view.mu
//	Stream.mu → queue.mu
//	inboxes.mu → Stream.mu, Inbox.mu
//	Consumer.turn → notes.mu
//	anything → Hub.mu
//
// Consumer.turn is a channel: it is held while a named consumer is deleted, moved
// or has an event reopened, which waits for the Journal. feed.mu is held while a batch is handed out: in it run Format.Encode and
// Source.Bounds, which must not wait or call back. Stream.mu, too, is held over
// Encode, by a stream that replays. No lock is held while a Reader reads, while
// anybody waits, and while a caller's code runs otherwise. Dedup.mu and
// confirms.mu stand alone; under flown.mu nothing else is locked.
package delivery
