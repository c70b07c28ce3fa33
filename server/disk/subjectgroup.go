package disk

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/bus"
)

// The derived log of subjects: derived/<namespace>.subjects.log, of kind
// "subjects". Behind its head stand groups (FORMAT.md), the first at record 2:
//
//	group: version 1, kind 2, flags u8, from u64, next u64, commit time i64 of
//	       next-1, hashes u32, hashes of u32, ascending
//
// A group says which subjects stand at the indexes [from, next), and begins
// where the one before it ended.
const (
	groupFixed    = 3 + 3*8 + 4
	groupAnything = 1 << 0 // its events may have any subject

	// maxGroupHashes bounds a group, so that it is a record of at most 64 KiB: one
	// that would need more says anything. It is enough for 4096 events with a
	// subject each, of which four hashes are nobody else's.
	maxGroupHashes = 16 << 10
)

// A subjectGroup says what subjects the events of a span may have. It may say
// too many, never too few.
type subjectGroup struct {
	span
	anything bool
	hashes   []uint32 // sorted, each once; nil when it says anything
}

func appendGroup(dst []byte, g subjectGroup) []byte {
	flags := byte(0)
	if g.anything {
		flags = groupAnything
	}
	dst = append(dst, derivedVersion, derivedKindMore, flags)
	for _, v := range []uint64{g.from, g.next, uint64(g.at.UnixNano())} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(g.hashes)))
	for _, h := range g.hashes {
		dst = binary.LittleEndian.AppendUint32(dst, h)
	}
	return dst
}

// parseGroup refuses what appendGroup does not write. A group whose hashes are
// not in order would hide events.
func parseGroup(data []byte) (g subjectGroup, err error) {
	if len(data) < groupFixed || data[0] != derivedVersion || data[1] != derivedKindMore || data[2]&^groupAnything != 0 {
		return g, fmt.Errorf("wanted a group of at least %d bytes and version %d, found %d bytes beginning % x", groupFixed, derivedVersion, len(data), data[:min(3, len(data))])
	}
	n := binary.LittleEndian.Uint32(data[groupFixed-4:])
	if want := groupFixed + uint64(n)*4; n > maxGroupHashes || uint64(len(data)) != want {
		return g, fmt.Errorf("wanted a group of %d bytes for %d hashes, of which %d are allowed, found %d", want, n, maxGroupHashes, len(data))
	}
	number := func(i int) uint64 { return binary.LittleEndian.Uint64(data[3+8*i:]) }
	g = subjectGroup{span: span{from: number(0), next: number(1), at: time.Unix(0, int64(number(2))).UTC()}, anything: data[2] != 0}
	if g.next <= g.from {
		return g, fmt.Errorf("wanted a group of some events, found one from index %d to %d", g.from, g.next)
	}
	if g.anything != (n == 0) {
		return g, fmt.Errorf("wanted hashes or a group that says anything, found %d hashes and flags %#02x", n, data[2])
	}
	if g.anything {
		return g, nil
	}
	g.hashes = make([]uint32, n)
	for i := range g.hashes {
		g.hashes[i] = binary.LittleEndian.Uint32(data[groupFixed+4*i:])
		if i > 0 && g.hashes[i] <= g.hashes[i-1] {
			return g, fmt.Errorf("wanted ascending hashes, found %08x behind %08x", g.hashes[i], g.hashes[i-1])
		}
	}
	return g, nil
}

// hashSubject returns what a group says of a subject: a hash of all of it, and
// one of each beginning that a pattern may ask for, with the dot that ends it.
// The namespace alone is not asked for: everything begins with it.
func (k hashKey) hashSubject(subject string) []uint32 {
	var hashes []uint32
	first := strings.IndexByte(subject, '.')
	for i := first + 1; i < len(subject); i++ {
		if subject[i] == '.' {
			hashes = append(hashes, uint32(k.hash(subject[:i+1])))
		}
	}
	return append(hashes, uint32(k.hash(subject)))
}

// hashPattern returns a hash that every subject which matches the pattern has
// among its own. ok is false when there is none.
func (k hashKey) hashPattern(p bus.Pattern) (hash uint32, ok bool) {
	segments := p.Segments()
	literal := slices.IndexFunc(segments, func(s string) bool { return s == "*" || s == ">" })
	switch {
	case literal < 0:
		return uint32(k.hash(p.String())), len(segments) > 0
	case literal < 2:
		return 0, false
	}
	return uint32(k.hash(strings.Join(segments[:literal], ".") + ".")), true
}
