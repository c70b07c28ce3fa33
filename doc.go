// Package bus is the vocabulary that both ends of the bus speak: what an event
// is, what a subject and a pattern look like, how an event id resumes a stream,
// and the errors that travel on the wire. It knows no network, no disk and no
// clock.
//
// # What the bus promises
//
//  1. Accepted means durable. A 2xx answer to a publish means that the event is
//     on stable storage, once, at the index that the answer names.
//  2. Ordered. Within a namespace everybody sees the same order, the index
//     order: 1, 2, 3, with no holes.
//  3. Nobody sees what a power cut could take back. Subscribers get an event
//     after it is durable.
//  4. Nothing is dropped for a slow reader. A subscriber is a cursor on the
//     log, not a queue: its memory is bounded, and it never slows others.
//  5. Damage is reported, never served, and never repaired by throwing away
//     good events.
//  6. A gap is said in the stream, with numbers, and the stream goes on.
//  7. At least once to consumers that acknowledge, and never again after a
//     durable acknowledgement.
//  8. Sealed means sealed: with a key no content is on disk in the clear, and a
//     changed, moved, swapped or inserted block is refused.
//  9. A mistake is answered, not guessed at.
//
// # Names
//
// The first segment of a subject is its namespace; every namespace is a log of
// its own with an order of its own. An index counts the events of a namespace
// from 1. An id is opaque to clients; one that the bus made says which
// incarnation of which log it belongs to, and where.
package bus
