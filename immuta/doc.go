// Package immuta is an append-only log of opaque records, in one file or, where
// it is asked to, in a row of them of which the oldest may be deleted, and out of
// which records may be taken on purpose. It knows
// nothing of events, subjects, JSON, HTTP or keys: a record is bytes, and what
// seals them is an interface.
//
// # What holds
//
// An answered [Log.Append] is on stable storage (SyncAlways), whole, at the
// indices its receipt names. Indices start at 1 and have no holes. Readers see a
// record only when no power cut can take it back (SyncAlways, SyncInterval).
// A damaged byte is reported as a [CorruptError] with file and offset, never
// served, and never cut away. Only an unfinished last commit, which nobody was
// answered for, is cut at open, and its bytes are kept in a file beside the log.
//
// # What does not
//
// A disk that lies about flushing, or loses what it had flushed, is not survived,
// only noticed, and not even that where it has left nothing but zeros of the last
// commits. A log cut short exactly between two commits cannot be told from
// a log that ended there. Rolling the whole directory back to an older copy is
// not noticed either. One process writes a log at a time (a lock sees to it);
// any number may read it beside that one with Options.ReadOnly.
//
// # How it works
//
// One goroutine a log commits all that is waiting: one buffer, one write, one
// fdatasync. The end of the log is then published through an atomic pointer,
// together with the last few MiB of blocks in the clear, so that readers neither
// wait for the writer nor go to disk for what has just been written. FORMAT.md
// has the bytes; judge.go alone decides what a crash may leave of a commit, and
// rolled.go what it may leave of a roll. No file is written to behind its end: a
// repair, and a rewrite that takes records out of a closed segment, make a new one
// that is read back before it takes the name.
package immuta
