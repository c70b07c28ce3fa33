package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

const testSecret = "correct horse battery staple, and then some more of it"

func testKey(t testing.TB, secret string) Key {
	t.Helper()
	k, err := NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testSealer(t testing.TB) Sealer {
	t.Helper()
	ring := NewKeyring(testKey(t, testSecret))
	salt, id, err := ring.Create()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ring.Segment(salt, id, "orders", "log", 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// seam is the interface that a log declares on its own side. That a Keyring has these very
// methods, with an interface literal as a result, is what lets neither package import the other.
type seam interface {
	Create() (salt [32]byte, keyID [16]byte, err error)
	Segment(salt [32]byte, keyID [16]byte, name, kind string, first uint64) (interface {
		Overhead() int
		Seal(dst, plain []byte, position uint64) ([]byte, error)
		Open(dst, sealed []byte, position uint64) ([]byte, error)
	}, error)
}

var _ seam = (*Keyring)(nil)

func TestWhatWasSealedOpensAgainAfterWhatIsInDst(t *testing.T) {
	s := testSealer(t)
	box, err := s.Seal([]byte("head"), []byte("plain"), 7)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(box), len("head")+len("plain")+s.Overhead(); got != want {
		t.Fatalf("length: got %d, want %d", got, want)
	}
	got, err := s.Open([]byte("before "), box[len("head"):], 7)
	if want := "before plain"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestEveryBitOfABoxCounts(t *testing.T) {
	s := testSealer(t)
	box, _ := s.Seal(nil, []byte("a short block"), 7)
	for i := range len(box) * 8 {
		changed := bytes.Clone(box)
		changed[i/8] ^= 1 << (i % 8)
		if got, err := s.Open(nil, changed, 7); !errors.Is(err, ErrTampered) || got != nil {
			t.Fatalf("bit %d: got %q, %v, want ErrTampered", i, got, err)
		}
	}
	for n := range box {
		if _, err := s.Open(nil, box[:n], 7); !errors.Is(err, ErrTampered) {
			t.Fatalf("cut to %d bytes: got %v, want ErrTampered", n, err)
		}
	}
}

func TestAFailedOpenLeavesDstAsItWas(t *testing.T) {
	s := testSealer(t)
	box, _ := s.Seal(nil, []byte("secret words"), 7)
	dst := make([]byte, 0, 64)
	if _, err := s.Open(dst, box, 8); !errors.Is(err, ErrTampered) {
		t.Fatalf("got %v, want ErrTampered", err)
	}
	if got, want := dst[:cap(dst)], make([]byte, 64); !bytes.Equal(got, want) {
		t.Errorf("spare room: got %q, want zeros", got)
	}
}

func TestASealNeverUsesANonceTwice(t *testing.T) {
	s := testSealer(t)
	seen := make(map[string]bool)
	for i := range 20000 {
		box, _ := s.Seal(nil, nil, 7)
		random := string(box[:randomSize])
		if seen[random] {
			t.Fatalf("box %d: the random part was there before", i)
		}
		seen[random] = true
	}
}

func TestOneSealerServesManyGoroutines(t *testing.T) {
	s := testSealer(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			plain := bytes.Repeat([]byte{byte(g)}, 100+g)
			for i := range 200 {
				box, err := s.Seal(nil, plain, uint64(i))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Open(nil, box, uint64(i)); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("got %x, %v, want %x", got, err, plain)
				}
			}
		})
	}
	wg.Wait()
}

func TestSealAndOpenAllocateNothingWhenDstHasRoom(t *testing.T) {
	s := testSealer(t)
	plain := make([]byte, 4096)
	box := make([]byte, 0, len(plain)+s.Overhead())
	out := make([]byte, 0, len(plain))
	got := testing.AllocsPerRun(100, func() {
		b, _ := s.Seal(box, plain, 1)
		_, _ = s.Open(out, b, 1)
	})
	if got != 0 {
		t.Errorf("allocations: got %v, want 0", got)
	}
}

func TestTheRingSealsWithTheNewestAndOpensWithAll(t *testing.T) {
	old, mid, now := testKey(t, "old "+testSecret), testKey(t, "mid "+testSecret), testKey(t, "now "+testSecret)
	ring := NewKeyring(now, mid, old, mid, now, Key{})
	if got, want := len(ring.IDs()), 3; got != want {
		t.Errorf("keys: got %d, want %d", got, want)
	}
	if _, id, err := ring.Create(); err != nil || id != now.ID() {
		t.Errorf("new segment: got key %x, %v, want %x", id, err, now.ID())
	}
	for _, k := range []Key{old, mid, now} {
		single := NewKeyring(k)
		salt, id, _ := single.Create()
		by, _ := single.Segment(salt, id, "orders", "log", 1)
		box, _ := by.Seal(nil, []byte("plain"), 9)
		s, err := ring.Segment(salt, id, "orders", "log", 1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open(nil, box, 9); err != nil || string(got) != "plain" {
			t.Errorf("%v: got %q, %v", k, got, err)
		}
	}
}

func TestEverySegmentHasItsOwnSalt(t *testing.T) {
	ring := NewKeyring(testKey(t, testSecret))
	a, _, _ := ring.Create()
	b, _, _ := ring.Create()
	if a == b || a == [32]byte{} {
		t.Errorf("salts: got %x and %x, want two that differ", a, b)
	}
}

func TestAWrongKeyIsNamedWithTheKeysGiven(t *testing.T) {
	log, a, b := testKey(t, "log"+testSecret), testKey(t, "a"+testSecret), testKey(t, "b"+testSecret)
	_, err := NewKeyring(a, b).Segment([32]byte{1}, log.ID(), "orders", "log", 1)
	var wrong *KeyError
	if !errors.Is(err, ErrWrongKey) || !errors.As(err, &wrong) {
		t.Fatalf("got %v, want a KeyError", err)
	}
	if wrong.Want != log.ID() || len(wrong.Have) != 2 {
		t.Errorf("got want %x and have %x", wrong.Want, wrong.Have)
	}
	for _, id := range [][16]byte{log.ID(), a.ID(), b.ID()} {
		if text := err.Error(); !strings.Contains(text, fmt.Sprintf("%x", id)) {
			t.Errorf("got %q, want key id %x in it", text, id)
		}
	}
}

func TestARingWithoutAKeySaysSo(t *testing.T) {
	for _, ring := range []*Keyring{{}, NewKeyring(Key{})} {
		if _, _, err := ring.Create(); !errors.Is(err, ErrNoKey) {
			t.Errorf("create: got %v, want ErrNoKey", err)
		}
		// A header of zeros must not find the zero Key.
		if _, err := ring.Segment([32]byte{}, [16]byte{}, "orders", "log", 1); !errors.Is(err, ErrNoKey) {
			t.Errorf("segment: got %v, want ErrNoKey", err)
		}
	}
	reader := NewKeyring(Key{}, testKey(t, testSecret))
	if _, err := reader.Segment([32]byte{}, reader.IDs()[0], "orders", "log", 1); err != nil {
		t.Errorf("older key: got %v, want a sealer", err)
	}
}
