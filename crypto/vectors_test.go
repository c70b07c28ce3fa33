package crypto

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// vector is one file of testdata/vectors; FORMAT.md says what its lines mean.
type vector struct {
	expect     string
	secrets    []string
	keyID      [16]byte
	salt       [32]byte
	kind, name string
	first      uint64
	boxes      []vectorBox
}

type vectorBox struct {
	position      uint64
	random        [16]byte
	plain, sealed []byte
	digest        []byte // of the sealed bytes, where they are too long to be written out
}

func TestEveryVectorEndsAsItSays(t *testing.T) {
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) < 60 {
		t.Fatalf("got %d vectors (%v), want at least 60", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			readVector(t, file).check(t)
		})
	}
}

func (v vector) check(t *testing.T) {
	t.Helper()
	keys := make([]Key, len(v.secrets))
	for i, s := range v.secrets {
		k, err := NewKey(s)
		if got, want := errors.Is(err, ErrBadSecret), v.expect == "refused"; got != want {
			t.Fatalf("secret refused: got %v (%v), want %v", got, err, want)
		}
		keys[i] = k
	}
	switch v.expect {
	case "refused":
	case "key", "weak":
		v.checkKey(t, keys[0])
	default:
		v.checkSegment(t, NewKeyring(keys[0], keys[1:]...))
	}
}

func (v vector) checkKey(t *testing.T, k Key) {
	t.Helper()
	if got, want := k.ID(), v.keyID; got != want {
		t.Errorf("key id: got %x, want %x", got, want)
	}
	reason, weak := k.Weak()
	if want := v.expect == "weak"; weak != want || (reason != "") != want {
		t.Errorf("weak: got %v (%q), want %v", weak, reason, want)
	}
}

func (v vector) checkSegment(t *testing.T, ring *Keyring) {
	t.Helper()
	s, err := ring.Segment(v.salt, v.keyID, v.name, v.kind, v.first)
	if got, want := errors.Is(err, ErrWrongKey), v.expect == "wrong key"; got != want {
		t.Fatalf("wrong key: got %v (%v), want %v", got, err, want)
	}
	for _, b := range v.boxes {
		switch v.expect {
		case "opens":
			b.checkOpens(t, s)
		case "tampered":
			out, err := s.Open(nil, b.sealed, b.position)
			if !errors.Is(err, ErrTampered) || out != nil {
				t.Errorf("box at %d: got %q, %v, want no bytes and ErrTampered", b.position, out, err)
			}
		}
	}
}

func (b vectorBox) checkOpens(t *testing.T, s Sealer) {
	t.Helper()
	box := s.(sealer).seal(b.random[:], b.plain, b.position)
	if sum := sha256.Sum256(box); b.digest != nil && !bytes.Equal(sum[:], b.digest) {
		t.Errorf("digest of the box: got %x, want %x", sum, b.digest)
	}
	if b.digest == nil && !bytes.Equal(box, b.sealed) {
		t.Errorf("box: got %x, want %x", box, b.sealed)
	}
	got, err := s.Open(nil, box, b.position)
	if err != nil || !bytes.Equal(got, b.plain) {
		t.Errorf("opened: got %x, %v, want %x", got, err, b.plain)
	}
}

func readVector(t *testing.T, file string) vector {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var v vector
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); line != "" && line[0] != '#' {
			field, value, _ := strings.Cut(line, ": ")
			v.set(t, field, value)
		}
	}
	return v
}

// set takes one line into the vector: those of a box into the last one, which its position began.
func (v *vector) set(t *testing.T, field, value string) {
	t.Helper()
	if field == "position" {
		v.boxes = append(v.boxes, vectorBox{position: number(t, value)})
		return
	}
	var box *vectorBox
	if len(v.boxes) > 0 {
		box = &v.boxes[len(v.boxes)-1]
	}
	switch field {
	case "expect":
		v.expect = value
	case "secret":
		v.secrets = append(v.secrets, unquote(t, value))
	case "key-id":
		copy(v.keyID[:], unhex(t, value))
	case "salt":
		copy(v.salt[:], unhex(t, value))
	case "kind":
		v.kind = unquote(t, value)
	case "name":
		v.name = unquote(t, value)
	case "first":
		v.first = number(t, value)
	case "random":
		copy(box.random[:], unhex(t, value))
	case "plain":
		box.plain = unhex(t, value)
	case "sealed":
		if sum, ok := strings.CutPrefix(value, "sha256 "); ok {
			box.digest = unhex(t, sum)
			return
		}
		box.sealed = unhex(t, value)
	default:
		t.Fatalf("line %q: unknown field", field)
	}
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func unquote(t *testing.T, s string) string {
	t.Helper()
	u, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return u
}

// unhex reads hexadecimal digits, "-" for no bytes, and "repeat 4096 00".
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	if rest, ok := strings.CutPrefix(s, "repeat "); ok {
		count, digits, _ := strings.Cut(rest, " ")
		return bytes.Repeat(unhex(t, digits), int(number(t, count)))
	}
	b, err := hex.DecodeString(strings.TrimPrefix(s, "-"))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return b
}
