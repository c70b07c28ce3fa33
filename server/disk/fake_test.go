package disk

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta"
)

// fakeSealing seals with AES-GCM under keys of the standard library. It binds
// what a real one binds, so a derived log cannot pass for a namespace's.
type fakeSealing struct{ secret string }

func (f fakeSealing) Create() (salt [32]byte, keyID [16]byte, err error) {
	_, err = rand.Read(salt[:])
	copy(keyID[:], f.secret)
	return salt, keyID, err
}

func (f fakeSealing) Segment(salt [32]byte, keyID [16]byte, name, kind string, first uint64) (immuta.Sealer, error) {
	var want [16]byte
	copy(want[:], f.secret)
	if keyID != want {
		return nil, errors.New("no key has this id")
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s|%x|%s|%s|%d", f.secret, salt, name, kind, first))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return fakeSealer{aead}, err
}

type fakeSealer struct{ aead cipher.AEAD }

func (f fakeSealer) Overhead() int { return f.aead.NonceSize() + f.aead.Overhead() }

func (f fakeSealer) Seal(dst, plain []byte, position uint64) ([]byte, error) {
	nonce := make([]byte, f.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return dst, err
	}
	return f.aead.Seal(append(dst, nonce...), nonce, plain, binary.LittleEndian.AppendUint64(nil, position)), nil
}

func (f fakeSealer) Open(dst, sealed []byte, position uint64) ([]byte, error) {
	n := f.aead.NonceSize()
	if len(sealed) < n {
		return dst, errors.New("too short")
	}
	return f.aead.Open(dst, sealed[:n], sealed[n:], binary.LittleEndian.AppendUint64(nil, position))
}

// journal is a logger that a test can read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// openTest opens namespace orders, and closes it at the end of the test.
func openTest(t *testing.T, dir string, o Options) *Engine {
	t.Helper()
	if o.Namespaces == nil && !o.ReadOnly {
		o.Namespaces = []string{"orders"}
	}
	e, err := Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func mustClose(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func mustAppend(t *testing.T, e *Engine, events ...bus.Event) []bus.Event {
	t.Helper()
	if err := e.Append(t.Context(), bus.Namespace(events[0].Subject), events); err != nil {
		t.Fatalf("append: %v", err)
	}
	return events
}

// strange returns events with ids of another log and of publishers, in turns of
// ten.
func strange(from, n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = testEvent("orders.created", `{"a":1}`)
		if number := from + i; number/10%2 == 0 {
			events[i].Id = foreignID(99, uint64(number+1))
		} else {
			events[i].Id = fmt.Sprintf("mine-%d", number)
		}
	}
	return events
}

func checkFound(t *testing.T, e *Engine, events []bus.Event) {
	t.Helper()
	for _, want := range events {
		if got, err := e.Find(t.Context(), "orders", want.Id); err != nil || got != want.Index {
			t.Fatalf("find %s: got %d, %v, want %d", want.Id, got, err, want.Index)
		}
	}
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, data []byte, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantLogged(t *testing.T, j *journal, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(j.String(), word) {
			t.Errorf("got log %q, wanted %q in it", j.String(), word)
		}
	}
}
