package bus

import (
	"crypto/rand"
	"strings"
)

// Limits on ids. MaxIDLen keeps an id within what a browser sends as
// Last-Event-ID to another origin without asking first.
const (
	MaxIDLen         = 64
	MaxIndex         = 1<<48 - 1 // highest index of a namespace
	IncarnationBits  = 36        // bits of a log's identity that ids carry
	incarnationChars = 6
	indexChars       = 8
)

// idDigits are the digits of positions in ids, 6 bits each.
const idDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdefghijklmnopqrstuvwxyz_"

// Position is a place in a log: the event at Index of the log whose identity,
// cut to IncarnationBits, is Incarnation. In a resume point it means that
// everything up to and including Index has been seen; Index 0 is before the
// first event.
type Position struct {
	Incarnation uint64
	Index       uint64
}

// FormatID returns the id that says these positions: one for an event, one for
// each namespace for the resume point of a stream. Up to four
// positions the result has at most MaxIDLen bytes.
func FormatID(positions ...Position) string {
	return string(AppendID(make([]byte, 0, MaxIDLen), positions...))
}

// AppendID appends what FormatID returns.
func AppendID(dst []byte, positions ...Position) []byte {
	dst = append(dst, 'e', '_')
	for i, p := range positions {
		if i > 0 {
			dst = append(dst, '.')
		}
		for shift := (incarnationChars - 1) * 6; shift >= 0; shift -= 6 {
			dst = append(dst, idDigits[p.Incarnation>>shift&63])
		}
		dst = appendIndex(dst, p.Index)
	}
	return dst
}

func appendIndex(dst []byte, index uint64) []byte {
	shift := 0
	for shift < (indexChars-1)*6 && index>>(shift+6) != 0 {
		shift += 6
	}
	for ; shift >= 0; shift -= 6 {
		dst = append(dst, idDigits[index>>shift&63])
	}
	return dst
}

// ParseID returns the positions that an id made by FormatID says, and false
// for any other id. False is no mistake of the id: publishers may choose their
// own.
func ParseID(id string) ([]Position, bool) {
	rest, ok := strings.CutPrefix(id, "e_")
	if !ok {
		return nil, false
	}
	var positions []Position
	for part := range strings.SplitSeq(rest, ".") {
		p, ok := parsePosition(part)
		if !ok {
			return nil, false
		}
		positions = append(positions, p)
	}
	return positions, true
}

// delayedDigits are those of a delayed event's id that are random: it has more of
// them than a position has digits, so that it says none.
const delayedDigits = 16

// DelayedID returns the id of an event whose delivery is put off: which log gave it,
// and no index. Such an event stands at two, where it was published and where it
// came due, and an id that said one of them could not be told from a resume point.
func DelayedID(incarnation uint64, random [delayedDigits]byte) string {
	id := AppendID(make([]byte, 0, MaxIDLen), Position{Incarnation: incarnation})
	id = id[:len(id)-1] // without the digit of index 0
	for _, b := range random {
		id = append(id, idDigits[b&63])
	}
	return string(id)
}

// IsDelayedID reports whether an id looks as if the log had given it to an event
// whose delivery was put off.
func IsDelayedID(id string, incarnation uint64) bool {
	given := DelayedID(incarnation, [delayedDigits]byte{})
	return len(id) == len(given) && id[:len(given)-delayedDigits] == given[:len(given)-delayedDigits]
}

// ParseEventID is ParseID for the id of one event.
func ParseEventID(id string) (Position, bool) {
	rest, ok := strings.CutPrefix(id, "e_")
	if !ok {
		return Position{}, false
	}
	p, ok := parsePosition(rest)
	return p, ok && p.Index > 0
}

// parsePosition accepts the one spelling that FormatID makes, so that an event
// has exactly one id.
func parsePosition(s string) (Position, bool) {
	if len(s) <= incarnationChars || len(s) > incarnationChars+indexChars {
		return Position{}, false
	}
	if s[incarnationChars] == idDigits[0] && len(s) > incarnationChars+1 {
		return Position{}, false
	}
	var p Position
	for i := range len(s) {
		digit := strings.IndexByte(idDigits, s[i])
		if digit < 0 {
			return Position{}, false
		}
		if i < incarnationChars {
			p.Incarnation = p.Incarnation<<6 | uint64(digit)
		} else {
			p.Index = p.Index<<6 | uint64(digit)
		}
	}
	return p, true
}

// CheckID returns nil for an id that may name an event or consumer: 1 to
// MaxIDLen bytes of A-Z a-z 0-9 _ . - and nothing that could end a line of SSE or be
// cleaned out of a path.
func CheckID(id string) error {
	if len(id) == 0 || len(id) > MaxIDLen {
		return ErrInvalidID.With("id has %d bytes, wanted 1 to %d", len(id), MaxIDLen)
	}
	if id == "." || id == ".." { // every URL with one is cleaned of it, so that its event could not be named
		return ErrInvalidID.With("id %q stands for a folder in a path: wanted any other of A-Z a-z 0-9 _ . -", id)
	}
	for i := range len(id) {
		if !nameByte(id[i]) && id[i] != '.' {
			return ErrInvalidID.With("id %q has %q at byte %d, wanted only A-Z a-z 0-9 _ . -", id, id[i], i+1)
		}
	}
	return nil
}

// NewConsumerID returns a fresh id for an anonymous consumer. It is random
// enough that a stranger cannot guess it and acknowledge for somebody else.
func NewConsumerID() string { return "c_" + strings.ToLower(rand.Text()) }

// NewInbox returns a fresh inbox subject.
func NewInbox() string { return InboxNamespace + "." + strings.ToLower(rand.Text()) }
