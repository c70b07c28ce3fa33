package immuta

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Everything on disk is little-endian. FORMAT.md shows the same tables; a test
// holds them against these constants.
const (
	fileMagic   = "\x89immuta\n" // the high bit and the newline are lost by any text transfer
	fileVersion = 1
	alignment   = 8   // every frame starts and ends on it
	sectorSize  = 512 // the least a disk writes at once
	padByte     = 0xFF
)

// File header: offset of each field.
const (
	fhMagic    = 0   // 8
	fhVersion  = 8   // u16
	fhReserved = 10  // u16, zero
	fhFlags    = 12  // u32
	fhID       = 16  // u64
	fhFirst    = 24  // u64
	fhCreated  = 32  // i64, unix ns
	fhSalt     = 40  // 32
	fhKeyID    = 72  // 16
	fhPrevious = 88  // 32
	fhCheck    = 120 // u32
	fhSum      = 124 // u32
	fileHeader = 128
)

// Bits of the file header's flags.
const (
	fileSealed = 1 << 0
	fileKDF    = 0xFF << 8 // how the master key comes from the secret; 0 is the only one known
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// padded is n rounded up to the alignment.
func padded(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// header is the file header. It is written once, before the file has its name,
// and never again.
type header struct {
	sealed   bool
	id       uint64
	first    uint64
	created  int64 // of a segment that was rolled: the time of the last commit before it
	salt     [32]byte
	keyID    [16]byte
	previous [32]byte // first index of the segment before this one, and zeros
	check    uint32   // length of the key check's box; 0 in a plain log
}

func (h *header) encode() []byte {
	b := make([]byte, fileHeader)
	le := binary.LittleEndian
	copy(b[fhMagic:], fileMagic)
	le.PutUint16(b[fhVersion:], fileVersion)
	if h.sealed {
		le.PutUint32(b[fhFlags:], fileSealed)
	}
	le.PutUint64(b[fhID:], h.id)
	le.PutUint64(b[fhFirst:], h.first)
	le.PutUint64(b[fhCreated:], uint64(h.created))
	copy(b[fhSalt:], h.salt[:])
	copy(b[fhKeyID:], h.keyID[:])
	copy(b[fhPrevious:], h.previous[:])
	le.PutUint32(b[fhCheck:], h.check)
	le.PutUint32(b[fhSum:], checksum(b[:fhSum]))
	return b
}

// decodeHeader reads the first fileHeader bytes of a file. The error is a
// *CorruptError without a path, or wraps ErrUnsupported.
func decodeHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if len(b) < fileHeader {
		return header{}, &CorruptError{Why: fmt.Sprintf("a file header has %d bytes, found %d", fileHeader, len(b))}
	}
	b = b[:fileHeader]
	if string(b[:8]) != fileMagic {
		return header{}, &CorruptError{Why: fmt.Sprintf("a log starts with %q, found %q", fileMagic, b[:8])}
	}
	if got, want := checksum(b[:fhSum]), le.Uint32(b[fhSum:]); got != want {
		return header{}, &CorruptError{Why: fmt.Sprintf("the file header's checksum is %08x, its bytes give %08x", want, got)}
	}
	// The checksum is good, so what is not known here is new, not damaged.
	if v := le.Uint16(b[fhVersion:]); v != fileVersion {
		return header{}, fmt.Errorf("log format %d, this program knows %d: %w", v, fileVersion, ErrUnsupported)
	}
	flags := le.Uint32(b[fhFlags:])
	if flags&^uint32(fileSealed) != 0 || le.Uint16(b[fhReserved:]) != 0 {
		return header{}, fmt.Errorf("file flags %#x: %w", flags, ErrUnsupported)
	}
	h := header{
		sealed:  flags&fileSealed != 0,
		id:      le.Uint64(b[fhID:]),
		first:   le.Uint64(b[fhFirst:]),
		created: int64(le.Uint64(b[fhCreated:])),
		check:   le.Uint32(b[fhCheck:]),
	}
	copy(h.salt[:], b[fhSalt:])
	copy(h.keyID[:], b[fhKeyID:])
	copy(h.previous[:], b[fhPrevious:])
	if h.first == 0 || h.sealed != (h.check > fileHeader) || h.check > maxCheck {
		return header{}, &CorruptError{Why: fmt.Sprintf("first index %d with a key check of %d bytes cannot be", h.first, h.check)}
	}
	return h, nil
}

// maxCheck bounds what is read for a key check before anything of it is trusted.
const maxCheck = 4096

// data is the offset of the first block: after the header and, when sealed, the
// key check: the sealed header, its CRC32C, padding.
func (h *header) data() int64 {
	if h.check == 0 {
		return fileHeader
	}
	return fileHeader + int64(padded(int(h.check)+4))
}

// keyCheck puts the box of a sealed header into the form it has on disk. The sum
// covers the padding too, so that no bit of the file is without a check.
func keyCheck(box []byte) []byte {
	b := make([]byte, padded(len(box)+4))
	n := copy(b, box)
	for i := n; i < len(b)-4; i++ {
		b[i] = padByte
	}
	binary.LittleEndian.PutUint32(b[len(b)-4:], checksum(b[:len(b)-4]))
	return b
}
