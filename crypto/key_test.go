package crypto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestASecretAsBytesAndAsTextIsOneKey(t *testing.T) {
	a, _ := NewKey(testSecret)
	b, _ := NewKey([]byte(testSecret + "\n"))
	if got, want := a.ID(), b.ID(); got != want || got == [16]byte{} {
		t.Errorf("ids: got %x and %x, want the same", got, want)
	}
}

func TestAGeneratedSecretIsStrongAndNeverTheSame(t *testing.T) {
	seen := make(map[string]bool)
	for range 200 {
		s := GenerateSecret()
		k := testKey(t, s)
		if reason, weak := k.Weak(); weak || len(s) != 64 || seen[s] {
			t.Fatalf("got %d characters, weak %v (%s), seen %v", len(s), weak, reason, seen[s])
		}
		seen[s] = true
	}
}

// inside is how a program keeps a key: in an unexported field, where fmt does not ask for
// the methods of what is in it.
type inside struct {
	key    Key
	ring   *Keyring
	sealer Sealer
}

func TestAKeyIsNeverPrinted(t *testing.T) {
	k := testKey(t, testSecret)
	ring := NewKeyring(k)
	sealer, _ := ring.Segment([32]byte{1}, k.ID(), "orders", "log", 1)
	holder := inside{key: k, ring: ring, sealer: sealer}
	_, wrong := ring.Segment([32]byte{1}, [16]byte{1}, "orders", "log", 1)
	_, badSecret := NewKey(testSecret + "\n\n")
	var out strings.Builder
	for _, v := range []any{k, &k, ring, *ring, sealer, holder, &holder, []Key{k}, wrong, badSecret} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if text, err := json.Marshal(v); err == nil {
			out.Write(text)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "key", k, "ring", ring, "in", holder)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "key", k, "ring", ring, "in", holder)
	out.Write(log.Bytes())
	for name, secret := range map[string][]byte{
		"secret": []byte(testSecret), "master": k.m().master[:], "subkey": subkeyOf(sealer),
	} {
		for form, text := range forms(secret) {
			if strings.Contains(out.String(), text) {
				t.Errorf("%s as %s is in what was printed", name, form)
			}
		}
	}
	if id := k.ID(); !strings.Contains(out.String(), hex.EncodeToString(id[:])) {
		t.Error("the key id is nowhere in what was printed")
	}
}

func subkeyOf(s Sealer) []byte { return s.(sealer).subkey()[:] }

// forms are the ways in which fmt shows bytes; six in a row are enough to know them by.
func forms(b []byte) map[string]string {
	decimal := strings.Trim(fmt.Sprintf("%d", b[:6]), "[]")
	return map[string]string{
		"text": string(b[:6]), "decimal": decimal, "list": strings.ReplaceAll(decimal, " ", ","),
		"hex": hex.EncodeToString(b[:6]), "HEX": strings.ToUpper(hex.EncodeToString(b[:6])),
		"go": strings.Trim(strings.TrimPrefix(fmt.Sprintf("%#v", b[:6]), "[]byte"), "{}"),
	}
}

func TestTheZeroKeyIsNoKey(t *testing.T) {
	var k Key
	if reason, weak := k.Weak(); weak || reason != "" || !k.IsZero() || k.ID() != [16]byte{} {
		t.Errorf("got weak %v (%s), zero %v, id %x", weak, reason, k.IsZero(), k.ID())
	}
	if got, want := fmt.Sprintf("%v %#v", k, k), "key none crypto.Key(key none)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWeaknessIsSaidInWords(t *testing.T) {
	for secret, want := range map[string]string{
		"password":                             "8 characters",
		strings.Repeat("ü", 20):                "20 characters",
		strings.Repeat("abab", 10):             "2 different",
		strings.Repeat("hunter2-wolves", 3):    "repeats",
		"abcdefghijklmnopqrstuvwxyz0123456789": "in order",
		"zyxwvutsrqponmlkjihgfedcba9876543210": "in order",
	} {
		if got, _ := testKey(t, secret).Weak(); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", secret, got, want)
		}
	}
}

func FuzzParseSecretTwiceIsOnce(f *testing.F) {
	for _, s := range []string{"", "\n", "\r\n", "a\n", "a\r\n", "a\n\n", "a\r", testSecret} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := ParseSecret(raw)
		if err != nil {
			if !errors.Is(err, ErrBadSecret) || once != "" {
				t.Fatalf("got %q, %v, want ErrBadSecret", once, err)
			}
			return
		}
		twice, err := ParseSecret([]byte(once))
		if err != nil || once != twice {
			t.Errorf("got %q, %v the second time, want %q", twice, err, once)
		}
		if !strings.HasPrefix(raw, once) || len(raw)-len(once) > 2 {
			t.Errorf("got %q of %q, want no more than a line break gone", once, raw)
		}
	})
}
