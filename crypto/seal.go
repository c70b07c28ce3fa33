package crypto

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
)

// Sealer seals the blocks of one segment and opens them again. It is an alias of an interface
// literal: a package that spells the same three methods has the identical type and need not
// import this one.
//
// All methods may be used from many goroutines at once. dst's spare room and the input must
// not overlap. Beyond growing dst nothing is allocated.
type Sealer = interface {
	// Overhead is by how many bytes a box is longer than what is in it.
	Overhead() int
	// Seal appends the box of plain to dst. Every call draws a fresh nonce, so that sealing
	// the same bytes at the same position twice gives two different boxes.
	Seal(dst, plain []byte, position uint64) ([]byte, error)
	// Open appends what is in the box to dst. The box must have been sealed at position by
	// a Sealer of the same segment, else the error is ErrTampered and the slice is nil.
	Open(dst, sealed []byte, position uint64) ([]byte, error)
}

// ErrTampered is what errors.Is finds when a box does not open.
var ErrTampered = errors.New("sealed block does not open: it was changed, cut or moved, or is of another segment")

// The sizes of FORMAT.md.
const (
	randomSize   = 16
	positionSize = 8
	nonceSize    = positionSize + randomSize
	overhead     = randomSize + secretbox.Overhead
)

// sealer holds no state but the subkey, which never changes: that makes it safe for many
// goroutines. The subkey is behind a function for the reason given at Key.
type sealer struct{ subkey func() *[32]byte }

func (s sealer) Overhead() int { return overhead }

// nonce puts the position before the random part. The position is not stored: the reader
// says where it reads, and a box that was moved there fails. The random part is what makes
// the nonce unique: after a crash the same position is written again with other bytes under
// the same subkey, and a counter alone would repeat itself there.
func nonce(position uint64, random []byte) (n [nonceSize]byte) {
	binary.LittleEndian.PutUint64(n[:], position)
	copy(n[positionSize:], random)
	return n
}

func (s sealer) Seal(dst, plain []byte, position uint64) ([]byte, error) {
	var empty [randomSize]byte
	box := append(dst, empty[:]...)
	rand.Read(box[len(dst):]) // never fails: the program ends if the system has no randomness
	return s.seal(box, plain, position), nil
}

// seal appends tag and ciphertext to the random part, which dst ends with.
func (s sealer) seal(dst, plain []byte, position uint64) []byte {
	n := nonce(position, dst[len(dst)-randomSize:])
	return secretbox.Seal(dst, plain, &n, s.subkey())
}

func (s sealer) Open(dst, sealed []byte, position uint64) ([]byte, error) {
	if len(sealed) < overhead {
		return nil, fmt.Errorf("%w (%d bytes, want at least %d)", ErrTampered, len(sealed), overhead)
	}
	n := nonce(position, sealed[:randomSize])
	plain, ok := secretbox.Open(dst, sealed[randomSize:], &n, s.subkey())
	if !ok {
		return nil, ErrTampered
	}
	return plain, nil
}
