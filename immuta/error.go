package immuta

import (
	"errors"
	"fmt"
)

// What a caller may decide on. They come wrapped: use errors.Is.
var (
	ErrClosed      = errors.New("log is closed")
	ErrReadOnly    = errors.New("log is open for reading only")
	ErrSealed      = errors.New("log is sealed and no key was given: give the secret it was made with")
	ErrPlain       = errors.New("log is not sealed but a key was given: leave the key out, or copy the log into a sealed one")
	ErrTooLarge    = errors.New("too large")
	ErrFull        = errors.New("no index is left in this log: copy what is needed into a new one")
	ErrLocked      = errors.New("locked: it is open for writing elsewhere")
	ErrNoSegment   = errors.New("no closed segment begins there: it may have been deleted, or is still appended to")
	ErrUnsupported = errors.New("made by a newer version: use that version to open it")
)

// A CorruptError says where a log is damaged and which records are lost there.
// It is never returned for an unfinished last commit.
type CorruptError struct {
	Path   string
	Offset int64  // of the first bad block in the file
	Why    string // what was wanted and what was found
	From   uint64 // first index that cannot be read
	Next   uint64 // first index of the next good block; 0: none is known

	Missing bool // the file is not there at all
}

func (e *CorruptError) Error() string {
	where := fmt.Sprintf("%s is damaged at offset %d: %s", e.Path, e.Offset, e.Why)
	if e.Missing {
		where = fmt.Sprintf("%s is missing: %s", e.Path, e.Why)
	}
	switch {
	case e.From == 0:
		return where
	case e.Next == 0:
		return fmt.Sprintf("%s (records from %d on are lost)", where, e.From)
	case e.Next <= e.From:
		return fmt.Sprintf("%s (no record is lost)", where)
	}
	return fmt.Sprintf("%s (records %d to %d are lost)", where, e.From, e.Next-1)
}

// A Notice is a fact that the log's owner may want to log or count. It is not
// an error: the log has dealt with it.
type Notice struct {
	Kind   NoticeKind
	Path   string
	Offset int64  // where in Path
	Bytes  int64  // how many bytes it is about
	Saved  string // TornTail: the file that holds the bytes that were cut; empty when all were zero
	Err    error  // what was met, when there was an error
	Text   string // all of it in a sentence
}

// NoticeKind says what a Notice is about.
type NoticeKind string

const (
	TornTail     NoticeKind = "torn tail"     // an unfinished last commit was cut at open
	Unclosed     NoticeKind = "unclosed"      // zeros behind the last commit were cut at open, of a log that syncs each commit
	Corrupt      NoticeKind = "corrupt"       // damage was found at open; the log takes no appends
	IndexRebuilt NoticeKind = "index rebuilt" // the index was missing or wrong and was made anew
	IndexStopped NoticeKind = "index stopped" // the index cannot be written; the next open takes longer
	NoSpace      NoticeKind = "no space"      // a commit was refused and cut because the disk is full
	Rolled       NoticeKind = "rolled"        // a segment was closed; Path is its name now
	RollFailed   NoticeKind = "roll failed"   // it could not be closed: the log goes on in it
	Failed       NoticeKind = "failed"        // a write or sync failed: no more appends until reopened
)
