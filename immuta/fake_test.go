package immuta

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"runtime"
)

var errFakeKey = errors.New("no key has this id")

// fakeSealing seals with AES-GCM: not the product's cipher, but one that refuses
// what that refuses.
type fakeSealing struct{ key byte }

func (f fakeSealing) Create() (salt [32]byte, keyID [16]byte, err error) {
	_, err = rand.Read(salt[:])
	return salt, [16]byte{f.key}, err
}

func (f fakeSealing) Segment(salt [32]byte, keyID [16]byte, name, kind string, first uint64) (Sealer, error) {
	if keyID != [16]byte{f.key} {
		return nil, errFakeKey
	}
	c, err := aes.NewCipher(append(salt[:31:31], f.key))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(c)
	return fakeSealer{aead, name + "/" + kind}, err
}

type fakeSealer struct {
	cipher.AEAD
	place string
}

func (f fakeSealer) Overhead() int { return f.AEAD.Overhead() + f.NonceSize() }

func (f fakeSealer) Seal(dst, plain []byte, position uint64) ([]byte, error) {
	nonce := make([]byte, f.NonceSize())
	rand.Read(nonce)
	return f.AEAD.Seal(append(dst, nonce...), nonce, plain, f.with(position)), nil
}

func (f fakeSealer) Open(dst, sealed []byte, position uint64) ([]byte, error) {
	if len(sealed) < f.Overhead() {
		return nil, errors.New("short box")
	}
	n := f.NonceSize()
	return f.AEAD.Open(dst, sealed[:n], sealed[n:], f.with(position))
}

func (f fakeSealer) with(position uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte(f.place), position)
}

// FakeSealing is for the tests outside the package.
func FakeSealing(key byte) Sealing { return fakeSealing{key} }

// AwaitQueued returns when n appends wait behind the commit that is being made.
func AwaitQueued(l *Log, n int) {
	for {
		l.writer.queue.mu.Lock()
		waiting := len(l.writer.queue.pending)
		l.writer.queue.mu.Unlock()
		if waiting >= n {
			return
		}
		runtime.Gosched()
	}
}
