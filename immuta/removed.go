package immuta

import (
	"fmt"
	"math"
	"time"
)

// A removed block stands for records in a row that Rewrite has taken out of a
// closed segment for one reason. Its header has the fields of other blocks, but
// for these:
//
//	count   records that were removed, 1 or more
//	first   the first of them
//	commit  when that was, Unix nanoseconds: it belongs to no commit
//	time    of the commit of the last of them, so that times never decrease
//
// Its body is one byte, the reason, sealed in a sealed log like any other body. So
// it is of the same length whatever it stands for, the least that a block has.

// mostRemoved is how many records one block can stand for.
const mostRemoved = math.MaxUint32

// A RemovedError says that records were removed on purpose, by Log.Rewrite. It is
// an answer, not a fault: the log is good, and goes on behind them.
type RemovedError struct {
	Path    string
	Offset  int64     // of the block that stands for them
	From    uint64    // first index that was removed, or the one asked for behind it
	Next    uint64    // first index behind them; the records there may be removed as well
	Time    time.Time // of the commit of the last of them
	Removed time.Time // when they were removed
	Reason  uint8     // as Rewrite was told, never 0
}

func (e *RemovedError) Error() string {
	n := fmt.Sprintf("records %d to %d were", e.From, e.Next-1)
	if e.Next == e.From+1 {
		n = fmt.Sprintf("record %d was", e.From)
	}
	return fmt.Sprintf("%s: %s removed %s for reason %d", e.Path, n, e.Removed.UTC().Format(time.RFC3339), e.Reason)
}

// isRemoved says whether the block stands for what was removed.
func (h *block) isRemoved() bool { return h.kind == kindRemoved }

// saneRemoved is sane for removed blocks. How many they stand for is in the header
// alone, so that nothing is allocated by it.
func (h *block) saneRemoved() bool {
	return h.plain == 1 && h.body >= 1 && h.body <= maxBody && h.count >= 1 &&
		h.first >= 1 && h.first <= maxIndex && h.commit >= 1 && h.commit <= math.MaxInt64 && h.time >= 1
}

// reasonOf reads the body of a removed block.
func reasonOf(body []byte) (reason uint8, why string) {
	if len(body) != 1 || body[0] == 0 {
		return 0, fmt.Sprintf("a block of removed records has their reason, from 1 to 255, found % x", body)
	}
	return body[0], ""
}

// removal is what one removed block says.
type removal struct {
	first  uint64
	count  uint32
	reason uint8
	time   int64 // of the commit of the last of them
	when   int64
}

// joins makes one removal of two, where one block can say both.
func (r *removal) joins(next removal) bool {
	fits := uint64(r.count)+uint64(next.count) <= mostRemoved
	if r.count == 0 || !fits || r.reason != next.reason || r.first+uint64(r.count) != next.first {
		return false
	}
	r.count, r.time, r.when = r.count+next.count, next.time, max(r.when, next.when)
	return true
}

func (r *removal) block() block {
	return block{
		kind: kindRemoved, flags: flagLast | flagSettled, count: r.count, first: r.first, commit: uint64(r.when), time: r.time,
	}
}

// removed says what the removed block at the reader's place says, and notes where
// it ends: a segment may be nothing but these, and who goes on behind each of them
// is not to look up the place again.
func (r *Reader) removed(h *block, body []byte) error {
	reason, why := reasonOf(body)
	if why != "" {
		return r.damaged(&flaw{why: why, trusted: true, h: *h})
	}
	r.past = place{part: r.part, index: h.next(), offset: r.offset + h.frame()}
	return &RemovedError{
		Path: r.seg.path, Offset: r.offset, From: max(h.first, r.index), Next: h.next(),
		Time: unixTime(h.time), Removed: unixTime(int64(h.commit)), Reason: reason,
	}
}

// place is where the block of a record is.
type place struct {
	part   *part // nil: none
	index  uint64
	offset int64
}
