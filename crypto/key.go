package crypto

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// keyIDInfo is the HKDF info under which a key's public name is made. The master key serves
// HKDF and nothing else, so that no box is ever made with it directly.
const keyIDInfo = "bus key id"

// Key is what a secret becomes: a master key, and the id by which a log remembers it.
// A Key is a small value that may be copied and used from many goroutines. The zero Key is
// no key: it seals and opens nothing.
//
// However it is printed, logged or marshalled, a Key shows its id and nothing else.
type Key struct {
	// A function, because fmt reads the unexported fields of any struct that holds a Key
	// without asking Key's own methods. A pointer would not do: a verb that does not fit
	// makes fmt print what it points to. Nothing can be read through a function.
	m func() *material
}

type material struct {
	master [32]byte
	id     [16]byte
	weak   string
}

// NewKey makes a key of a secret: its master key is SHA-256 of what [ParseSecret] returns.
// The same secret always gives the same key. A weak secret is taken; [Key.Weak] tells.
// Errors are those of ParseSecret. The secret is not kept.
func NewKey[S ~string | ~[]byte](secret S) (Key, error) {
	s, err := ParseSecret(secret)
	if err != nil {
		return Key{}, err
	}
	m := &material{master: sha256.Sum256([]byte(s)), weak: weakness(s)}
	id, err := hkdf.Key(sha256.New, m.master[:], nil, keyIDInfo, len(m.id))
	if err != nil {
		return Key{}, fmt.Errorf("key id: %w", err)
	}
	copy(m.id[:], id)
	return Key{m: func() *material { return m }}, nil
}

// ID names the key in public: it is kept in the clear in every log the key sealed, says
// nothing about the secret that a guess could not be checked against, and shows which logs
// share a key. The zero Key has the zero id.
func (k Key) ID() [16]byte {
	if k.m == nil {
		return [16]byte{}
	}
	return k.m().id
}

// IsZero tells whether k is the zero Key.
func (k Key) IsZero() bool { return k.m == nil }

// Weak tells whether the secret is plainly easy to guess, and why, in words that hold none
// of it. Guessing is cheap (one SHA-256 a try, and the id in the file tells a hit), so that a
// secret is worth its randomness and no more. Not being weak by this rule is no praise.
func (k Key) Weak() (reason string, weak bool) {
	if k.m == nil {
		return "", false
	}
	reason = k.m().weak
	return reason, reason != ""
}

// String is "key " and the id in hexadecimal digits.
func (k Key) String() string {
	if k.m == nil {
		return "key none"
	}
	id := k.ID()
	return "key " + hex.EncodeToString(id[:])
}

// GoString is what %#v prints: the id, as String.
func (k Key) GoString() string { return "crypto.Key(" + k.String() + ")" }

// LogValue is what log/slog prints: the id, as String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText is what encoders print: the id, as String. There is no way back.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Format answers every verb of fmt with the id; without it %d would reach past String.
func (k Key) Format(f fmt.State, verb rune) {
	s := k.String()
	if verb == 'v' && f.Flag('#') {
		s = k.GoString()
	}
	_, _ = io.WriteString(f, s)
}
