package immuta

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// A gap block stands where damaged bytes stood and covers exactly as many, so
// that every good block keeps its offset, to which its checksum and its seal are
// bound. Its header has the fields of other blocks, but for these:
//
//	count   indexes that are lost, 0 or more
//	first   the first of them
//	commit  when it was written, Unix nanoseconds: it belongs to no commit
//	time    of the block behind it, so that times never decrease
//
// Its body is the name of the file with the damaged bytes, if it has room for
// it, filled up with padding. In a sealed log it is sealed like any other.

// A GapError says that records were lost to damage, and that a person has had
// the log repaired since. It is an answer, not a fault: the log is good, and
// goes on behind the gap.
type GapError struct {
	Path     string
	Offset   int64     // of the gap block
	From     uint64    // first index that is lost, or the one asked for inside the gap
	Next     uint64    // first index behind the gap
	AtMost   bool      // not all of them need have been there: their number could not be read
	Time     time.Time // of the commit behind the gap; of the repair, when there was none
	Repaired time.Time
	Saved    string // name of the file that the damaged bytes were put aside in; "" when there was no room for it
}

func (e *GapError) Error() string {
	n := fmt.Sprintf("%d records from %d on were", e.Next-e.From, e.From)
	if e.Next == e.From+1 {
		n = fmt.Sprintf("record %d was", e.From)
	}
	if e.AtMost {
		n = "at most " + n
	}
	return fmt.Sprintf("%s has a gap: %s lost to damage, which was repaired %s", e.Path, n, e.Repaired.UTC().Format(time.RFC3339))
}

// isGap says whether the block stands for what was lost.
func (h *block) isGap() bool { return h.kind == kindGap }

// saneGap is sane for gap blocks. How many records are lost is in the header
// alone, so that nothing is allocated by it.
func (h *block) saneGap() bool {
	return h.body >= h.plain && h.body <= maxBody && h.plain >= 1 &&
		h.first >= 1 && h.first <= maxIndex && h.commit >= 1 && h.commit <= math.MaxInt64 && h.time >= 1
}

// gapError says what a good gap block says, to a reader that is due at index.
func (s *segment) gapError(h *block, body []byte, offset int64, index uint64) *GapError {
	return &GapError{
		Path: s.path, Offset: offset, From: max(h.first, index), Next: h.next(), AtMost: h.flags&flagAtMost != 0,
		Time: unixTime(h.time), Repaired: unixTime(int64(h.commit)), Saved: string(said(body)),
	}
}

// said is the body of a hollow block without what fills it up.
func said(body []byte) []byte {
	text, _, _ := bytes.Cut(body, []byte{padByte})
	return text
}

// leastGap is the smallest gap block there can be. No block of records is
// smaller, so that there is room wherever one was.
func (s *segment) leastGap() int64 {
	if !s.sealed {
		return blockHeader + alignment
	}
	return blockHeader + int64(padded(s.bodySize(1)))
}

// gap is what is to be written in place of damaged bytes.
type gap struct {
	offset, size int64 // multiples of the alignment
	from, next   uint64
	atMost       bool
	time         int64  // of the block behind it
	saved        string // name of the file with the bytes
}

// pieces cuts a gap into frames of a size that a block can have; the first ones
// take as many indexes as their field holds.
func (s *segment) pieces(g gap) ([]gap, error) {
	const most = blockHeader + maxBody
	var all []gap
	for left := g.size; left > 0; {
		size := min(left, most)
		if rest := left - size; rest > 0 && rest < s.leastGap() {
			size -= s.leastGap()
		}
		if size < s.leastGap() {
			return nil, fmt.Errorf("the damage at offset %d has %d bytes, a gap block needs %d", g.offset, size, s.leastGap())
		}
		p := g
		p.size, p.next = size, min(g.next, g.from+math.MaxUint32)
		all = append(all, p)
		left -= size
		g.offset, g.from = g.offset+size, p.next
	}
	if g.from < g.next {
		return nil, fmt.Errorf("the damage at offset %d would have lost %d records more than its bytes could hold", g.offset, g.next-g.from)
	}
	return all, nil
}

// gapFrame makes the frame of one piece.
func (s *segment) gapFrame(g gap, repaired int64) ([]byte, error) {
	h := block{
		kind: kindGap, flags: flagLast | flagSettled, count: uint32(g.next - g.from),
		first: g.from, commit: uint64(repaired), time: g.time,
	}
	if g.atMost {
		h.flags |= flagAtMost
	}
	content := bytes.Repeat([]byte{padByte}, int(g.size)-blockHeader-s.bodySize(0))
	if len(g.saved) <= len(content) {
		copy(content, g.saved)
	}
	return s.makeFrame(make([]byte, 0, g.size), &h, content, g.offset)
}

// mostRecords bounds how many records so many bytes of blocks can have held:
// none takes less than a byte, and each block has its header.
func (s *segment) mostRecords(size int64) uint64 {
	fixed := int64(blockHeader)
	if s.sealed {
		fixed += sealedPrefix
	}
	full := size / (fixed + maxCount)
	rest := min(max(size%(fixed+maxCount)-fixed, 0), maxCount)
	return uint64(full*maxCount + rest)
}
