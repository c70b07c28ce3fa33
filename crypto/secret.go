package crypto

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrBadSecret is what errors.Is finds when a secret cannot be used at all.
var ErrBadSecret = errors.New("bad secret")

const (
	// MinSecret is the number of characters below which a secret counts as weak.
	MinSecret = 32
	// minVariety is how many different characters a secret must have. 32 random
	// hexadecimal digits have fewer than 8 once in about ten million million.
	minVariety = 8
)

// GenerateSecret returns 32 random bytes as 64 hexadecimal digits: a secret that is never
// weak and survives every shell, file and environment as it is.
func GenerateSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: the program ends if the system has no randomness
	return hex.EncodeToString(b[:])
}

// ParseSecret returns raw without the one line break ("\n" or "\r\n") that editors and echo
// leave at the end of a file. It is the only place where a secret is trimmed, so that the
// same text gives the same key from a file, a flag and the environment.
//
// An empty secret is refused, and so is one that still ends with a line break: it would be
// another key for whoever trims it once more. For what ParseSecret returns, a second call
// changes nothing. Errors wrap [ErrBadSecret] and never hold any of the secret.
func ParseSecret[S ~string | ~[]byte](raw S) (string, error) {
	s := string(raw)
	if t, ok := strings.CutSuffix(s, "\n"); ok {
		s = strings.TrimSuffix(t, "\r")
	}
	if s == "" {
		return "", fmt.Errorf("%w: it is empty; give at least %d characters", ErrBadSecret, MinSecret)
	}
	if strings.HasSuffix(s, "\n") || strings.HasSuffix(s, "\r") {
		return "", fmt.Errorf("%w: it ends with more than one line break; remove the empty lines at its end", ErrBadSecret)
	}
	return s, nil
}

// weakness says in a few words why a secret is easy to guess, or nothing. It only finds what
// is plainly so: a long sentence from a book passes and can still be guessed.
func weakness(s string) string {
	n := utf8.RuneCountInString(s)
	if n < MinSecret {
		return fmt.Sprintf("it has %d characters, fewer than %d", n, MinSecret)
	}
	if v := variety(s); v < minVariety {
		return fmt.Sprintf("it has %d different characters, fewer than %d", v, minVariety)
	}
	if repeats(s) {
		return "it repeats a shorter text"
	}
	if runs(s) {
		return "its characters follow one another in order"
	}
	return ""
}

// variety counts the different characters of s.
func variety(s string) int {
	seen := make(map[rune]struct{})
	for _, r := range s {
		seen[r] = struct{}{}
	}
	return len(seen)
}

// repeats tells whether s is one shorter text again and again, the last time perhaps cut.
func repeats(s string) bool {
	for period := 1; period <= len(s)/2; period++ {
		if s[period:] == s[:len(s)-period] {
			return true
		}
	}
	return false
}

// runs tells whether three quarters of the bytes are a neighbour of the one before
// ("abcdef…", "987654…"). Of random hexadecimal digits one in five is.
func runs(s string) bool {
	near := 0
	for i := 1; i < len(s); i++ {
		if d := int(s[i]) - int(s[i-1]); -1 <= d && d <= 1 {
			near++
		}
	}
	return near*4 >= (len(s)-1)*3
}
