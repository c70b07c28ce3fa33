package bus

import "strings"

// Limits on subjects and patterns. They are the same for publishing and for
// subscribing, so that whatever can be published can be subscribed to.
const (
	MinSegments   = 2   // segments in a subject
	MaxSegments   = 16  // segments in a subject
	MaxSegmentLen = 64  // bytes in a segment
	MaxSubjectLen = 255 // bytes in a subject, dots included
)

// CheckSubject returns nil for a subject that can be published to, and an
// error with the code of ErrInvalidSubject otherwise. Wildcards are refused.
func CheckSubject(subject string) error { return checkSubject(subject, false) }

// checkSubject walks the segments once. It is on the path of every publish, so
// it allocates nothing unless something is wrong.
func checkSubject(subject string, wild bool) error {
	if len(subject) > MaxSubjectLen {
		return ErrInvalidSubject.With("subject has %d bytes, at most %d are allowed", len(subject), MaxSubjectLen)
	}
	segments, rest, more := 0, subject, true
	for more {
		var segment string
		segment, rest, more = strings.Cut(rest, ".")
		segments++
		if err := checkSegment(subject, segment, segments, !more, wild); err != nil {
			return err
		}
	}
	if segments < MinSegments || segments > MaxSegments {
		return ErrInvalidSubject.With("subject %q has %d segments, wanted %d to %d, as in orders.created", subject, segments, MinSegments, MaxSegments)
	}
	return nil
}

func checkSegment(subject, segment string, number int, last, wild bool) error {
	if validSegment(segment) {
		return nil
	}
	if segment != "*" && segment != ">" {
		return ErrInvalidSubject.With("subject %q: segment %d is %.80q, wanted 1 to %d characters of A-Z a-z 0-9 _ -", subject, number, segment, MaxSegmentLen)
	}
	switch {
	case !wild:
		return ErrInvalidSubject.With("subject %q: wildcards are for subscribing, not for publishing", subject)
	case number == 1:
		return ErrInvalidSubject.With("subject %q: the first segment is the namespace and cannot be a wildcard", subject)
	case segment == ">" && !last:
		return ErrInvalidSubject.With("subject %q: %q stands only at the end", subject, ">")
	}
	return nil
}

func validSegment(s string) bool {
	if len(s) == 0 || len(s) > MaxSegmentLen {
		return false
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

// nameByte is the alphabet of segments. It holds nothing that means something
// to a file system, to SSE, to JSON or to a terminal.
func nameByte(c byte) bool { return nameBytes[c] }

// nameBytes is a table because each byte of each subject and id is looked up in
// it, on every publish and every read.
var nameBytes = func() (table [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-" {
		table[c] = true
	}
	return table
}()

// Pattern selects subjects of one namespace. "*" stands for one segment, ">"
// at the end for one or more. The zero Pattern matches nothing.
type Pattern struct {
	text     string
	segments []string
}

// ParsePattern checks a pattern. Inbox subjects match exactly, so they take no
// wildcard.
func ParsePattern(text string) (Pattern, error) {
	if err := checkSubject(text, !IsInbox(text)); err != nil {
		return Pattern{}, err
	}
	return Pattern{text: text, segments: strings.Split(text, ".")}, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Namespace returns the only namespace that the pattern can match.
func (p Pattern) Namespace() string { return Namespace(p.text) }

// Segments returns the parts between the dots. The caller must not change them.
func (p Pattern) Segments() []string { return p.segments }

// Match reports whether the subject is one that the pattern stands for. It
// allocates nothing and may be called from many goroutines.
func (p Pattern) Match(subject string) bool {
	if len(p.segments) == 0 {
		return false
	}
	rest, more := subject, true
	for _, want := range p.segments {
		if !more {
			return false
		}
		if want == ">" {
			return rest != ""
		}
		var have string
		have, rest, more = strings.Cut(rest, ".")
		if want != "*" && want != have {
			return false
		}
	}
	return !more
}
