package crypto

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// infoLabel separates these subkeys from any other use of the master key, and names the
// version of the derivation.
const infoLabel = "bus/immuta/v1"

var (
	// ErrWrongKey is what errors.Is finds in a [KeyError].
	ErrWrongKey = errors.New("wrong key")
	// ErrNoKey is the answer of a Keyring without any key.
	ErrNoKey = errors.New("no key: give the key to seal with")
)

// KeyError says that a segment is sealed with a key that was not given. It says so from the
// key id in the segment's header, so that nothing is wrong with the data.
type KeyError struct {
	Want [16]byte   // the id of the key that sealed the segment
	Have [][16]byte // the ids of the keys given, newest first
}

func (e *KeyError) Error() string {
	have := make([]string, len(e.Have))
	for i, id := range e.Have {
		have[i] = hex.EncodeToString(id[:])
	}
	return fmt.Sprintf("wrong key: sealed with key %x, given %s; give the key it was sealed with, an older one beside the newest",
		e.Want, strings.Join(have, ", "))
}

// Unwrap makes errors.Is(err, ErrWrongKey) true.
func (e *KeyError) Unwrap() error { return ErrWrongKey }

// Keyring holds the keys a log may need: the newest one seals, every one opens what it
// sealed. It never changes and may be used from many goroutines. The zero Keyring has none.
type Keyring struct{ keys []Key }

// NewKeyring returns a ring that seals with newest and opens with all of them. Keys given
// twice count once, and the zero Key is left out among the older ones. With a zero Key as
// newest the ring opens but does not seal.
func NewKeyring(newest Key, older ...Key) *Keyring {
	r := &Keyring{keys: []Key{newest}}
	for _, k := range older {
		if _, have := r.find(k.ID()); !have && !k.IsZero() {
			r.keys = append(r.keys, k)
		}
	}
	return r
}

// IDs returns the ids of the keys, the newest first.
func (r *Keyring) IDs() [][16]byte {
	var ids [][16]byte
	for _, k := range r.keys {
		if !k.IsZero() {
			ids = append(ids, k.ID())
		}
	}
	return ids
}

// Create returns what the header of a new segment keeps: a fresh random salt, and the id of
// the newest key. Without a newest key the error is [ErrNoKey].
func (r *Keyring) Create() (salt [32]byte, keyID [16]byte, err error) {
	if len(r.keys) == 0 || r.keys[0].IsZero() {
		return salt, keyID, ErrNoKey
	}
	rand.Read(salt[:]) // never fails: the program ends if the system has no randomness
	return salt, r.keys[0].ID(), nil
}

// Segment returns the Sealer of one segment: salt and keyID from its header, and its place,
// which is what the reader expects and not what the file says. The same arguments give a
// Sealer that opens what the other sealed; if one of them differs it opens nothing.
// When no key has that id the error is a [*KeyError], or [ErrNoKey] if there is none at all.
func (r *Keyring) Segment(salt [32]byte, keyID [16]byte, name, kind string, first uint64) (Sealer, error) {
	k, ok := r.find(keyID)
	if !ok {
		if ids := r.IDs(); len(ids) > 0 {
			return nil, &KeyError{Want: keyID, Have: ids}
		}
		return nil, ErrNoKey
	}
	sub, err := hkdf.Key(sha256.New, k.m().master[:], salt[:], string(info(kind, name, first)), 32)
	if err != nil {
		return nil, fmt.Errorf("subkey: %w", err)
	}
	return sealer{subkey: func() *[32]byte { return (*[32]byte)(sub) }}, nil
}

// find returns the key with that id. The zero Key is never found: its id is zero, and a
// header of zeros must not choose it.
func (r *Keyring) find(id [16]byte) (Key, bool) {
	for _, k := range r.keys {
		if !k.IsZero() && k.ID() == id {
			return k, true
		}
	}
	return Key{}, false
}

// info is the HKDF info of a segment. Each field follows its length, so that no byte can
// move from one into the next: kind "a" of "bc" and kind "ab" of "c" get different subkeys.
func info(kind, name string, first uint64) []byte {
	var index [8]byte
	binary.LittleEndian.PutUint64(index[:], first)
	var b []byte
	for _, field := range []string{infoLabel, kind, name, string(index[:])} {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(field)))
		b = append(b, field...)
	}
	return b
}
