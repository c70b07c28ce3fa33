package immuta

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// Block header: offset of each field. Seven words of 8 bytes, none of which is
// ever zero: a header whose sector was not written can then be told from one
// whose bits have rotted.
const (
	bhMagic     = 0  // u32
	bhKind      = 4  // u8
	bhFlags     = 5  // u8
	bhZero      = 6  // u16
	bhBody      = 8  // u32
	bhCount     = 12 // u32
	bhFirst     = 16 // u64
	bhCommit    = 24 // u64
	bhTime      = 32 // i64, unix ns
	bhBodySum   = 40 // u32
	bhPlain     = 44 // u32
	bhConstant  = 48 // u32
	bhSum       = 52 // u32
	blockHeader = 56
)

const (
	blockMagic    uint32 = 0x4B4C4231 // "1BLK" in the file
	blockConstant uint32 = 0x5AA5C33C // keeps the last word from being zero
	kindRecords   byte   = 1
	kindGap       byte   = 2 // gap.go
	kindRemoved   byte   = 3 // removed.go

	flagLast    byte = 1 << 0 // the last block of its commit
	flagPacked  byte = 1 << 1 // reserved: the body is compressed
	flagSettled byte = 1 << 2 // all that precedes the commit was on stable storage before it was written
	flagAtMost  byte = 1 << 3 // of a gap: so many records may be lost, or fewer

	sealedPrefix = 48 // bytes of the header that are sealed with the records

	maxBody   = 32<<20 - 64<<10 // keeps the number of pieces of a frame within 16 bits
	maxCount  = 1 << 16         // records in a block: bounds what decoding allocates
	maxRecord = 31 << 20
	maxIndex  = 1 << 62
)

// block is a block header.
type block struct {
	kind, flags byte
	zero        uint16 // pieces of the frame that are all zero as written
	body        uint32 // bytes of the body, without padding
	count       uint32
	first       uint64
	commit      uint64
	time        int64
	sum         uint32 // over body and padding
	plain       uint32 // bytes of the records in the clear
}

func (h *block) frame() int64  { return blockHeader + int64(padded(int(h.body))) }
func (h *block) next() uint64  { return h.first + uint64(h.count) }
func (h *block) last() bool    { return h.flags&flagLast != 0 }
func (h *block) settled() bool { return h.flags&flagSettled != 0 }
func (h *block) isStart() bool { return h.first == h.commit || h.hollow() } // recovery may start here

// isRecords says whether the block holds records.
func (h *block) isRecords() bool { return h.kind == kindRecords }

// hollow says whether the block stands for records that are not there: a gap, or
// removed ones. It belongs to no commit and ends the one before it, and the block
// behind it may be in the middle of one.
func (h *block) hollow() bool { return h.isGap() || h.isRemoved() }

// seedAt starts the checksum of the header at offset. The salt is random and
// never leaves the file, so that no payload can be made that contains what looks
// like a block of this log; the offset makes a moved block a bad one.
func seedAt(salt uint32, offset int64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(offset))
	return crc32.Update(salt, castagnoli, b[:])
}

// encode writes the header into b[:blockHeader].
func (h *block) encode(b []byte, seed uint32) {
	le := binary.LittleEndian
	b = b[:blockHeader]
	le.PutUint32(b[bhMagic:], blockMagic)
	b[bhKind], b[bhFlags] = h.kind, h.flags
	le.PutUint16(b[bhZero:], h.zero)
	le.PutUint32(b[bhBody:], h.body)
	le.PutUint32(b[bhCount:], h.count)
	le.PutUint64(b[bhFirst:], h.first)
	le.PutUint64(b[bhCommit:], h.commit)
	le.PutUint64(b[bhTime:], uint64(h.time))
	le.PutUint32(b[bhBodySum:], h.sum)
	le.PutUint32(b[bhPlain:], h.plain)
	le.PutUint32(b[bhConstant:], blockConstant)
	le.PutUint32(b[bhSum:], headerSum(b, seed))
}

// decodeBlock reads a header. why is empty when it can be trusted; an unknown
// kind or flag in a header with a good checksum is the error, since that is not
// damage. Lengths are within their limits when it returns.
func decodeBlock(b []byte, seed uint32) (h block, why string, err error) {
	le := binary.LittleEndian
	b = b[:blockHeader]
	if m := le.Uint32(b[bhMagic:]); m != blockMagic {
		return h, fmt.Sprintf("a block starts with %08x, found %08x", blockMagic, m), nil
	}
	got, want := headerSum(b, seed), le.Uint32(b[bhSum:])
	if got != want {
		return h, fmt.Sprintf("the block header's checksum is %08x, its bytes give %08x", want, got), nil
	}
	h = block{
		kind: b[bhKind], flags: b[bhFlags], zero: le.Uint16(b[bhZero:]),
		body: le.Uint32(b[bhBody:]), count: le.Uint32(b[bhCount:]),
		first: le.Uint64(b[bhFirst:]), commit: le.Uint64(b[bhCommit:]), time: int64(le.Uint64(b[bhTime:])),
		sum: le.Uint32(b[bhBodySum:]), plain: le.Uint32(b[bhPlain:]),
	}
	known := flagLast | flagSettled
	switch h.kind {
	case kindRecords, kindRemoved:
	case kindGap:
		known |= flagAtMost
	default:
		return h, "", fmt.Errorf("block of kind %d, this program knows %d to %d: %w", h.kind, kindRecords, kindRemoved, ErrUnsupported)
	}
	if unknown := h.flags &^ known; unknown != 0 {
		return h, "", fmt.Errorf("block flags %#x: %w", unknown, ErrUnsupported)
	}
	if le.Uint32(b[bhConstant:]) != blockConstant || !h.sane() {
		return h, fmt.Sprintf("the block header's fields cannot be: %+v", h), nil
	}
	return h, "", nil
}

// sane bounds every field that sizes or indices are computed from.
func (h *block) sane() bool {
	switch {
	case h.isGap():
		return h.saneGap()
	case h.isRemoved():
		return h.saneRemoved()
	}
	return h.body >= h.plain && h.body <= maxBody &&
		h.count >= 1 && h.count <= maxCount && h.count <= h.plain &&
		h.commit >= 1 && h.commit <= h.first && h.first <= maxIndex && h.time >= 1
}

// prefix appends the part of an encoded header that is known before sealing:
// all but the two checksums, and with no zero pieces.
func (h *block) prefix(dst []byte) []byte {
	var b [blockHeader]byte
	bare := *h
	bare.zero = 0
	bare.encode(b[:], 0)
	dst = append(dst, b[:bhBodySum]...)
	return append(dst, b[bhPlain:bhSum]...)
}

// recordSize is what a record of n bytes takes in a block.
func recordSize(n int) int {
	size := n + 1
	for v := n; v >= 0x80; v >>= 7 {
		size++
	}
	return size
}

func appendRecord(dst, record []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(record)))
	return append(dst, record...)
}

// splitRecords cuts the plain bytes of a block into its records, appended to
// dst. They must fill it exactly.
func splitRecords(dst [][]byte, plain []byte, count uint32) ([][]byte, string) {
	for i := range count {
		n, w := binary.Uvarint(plain)
		if w <= 0 || n > uint64(len(plain)-w) {
			return nil, fmt.Sprintf("record %d of %d does not fit in its block", i+1, count)
		}
		end := w + int(n)
		dst = append(dst, plain[w:end:end])
		plain = plain[end:]
	}
	if len(plain) != 0 {
		return nil, fmt.Sprintf("%d bytes are left after the block's %d records", len(plain), count)
	}
	return dst, ""
}

// zeroPieces counts the pieces of a frame, cut where file sectors end, that are
// all zero. More of them than were written so means unwritten sectors.
func zeroPieces(frame []byte, offset int64) int {
	n := 0
	for len(frame) > 0 {
		piece := min(sectorSize-int(offset%sectorSize), len(frame))
		if allZero(frame[:piece]) {
			n++
		}
		frame, offset = frame[piece:], offset+int64(piece)
	}
	return n
}

// headerWords is how many words a header has, of which none is zero as written.
const headerWords = blockHeader / alignment

func zeroWords(header []byte) int {
	n := 0
	for word := range slices.Chunk(header, alignment) {
		if allZero(word) {
			n++
		}
	}
	return n
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// headerSum is the sum of an encoded header.
func headerSum(b []byte, seed uint32) uint32 { return crc32.Update(seed, castagnoli, b[:bhSum]) }
