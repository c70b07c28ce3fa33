package bus

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds nesting, so that a payload of a million brackets costs
// neither stack nor the patience of whoever parses it next.
const maxDepth = 1000

// scanner reads one JSON text, strictly after RFC 8259, and says where it is
// wrong. Strings must be valid UTF-8. It exists because an event is validated
// once, on the path of every publish, and encoding/json neither refuses
// repeated names nor keeps a payload's bytes; the fuzz test holds the two to
// the same verdict.
type scanner struct {
	data []byte
	pos  int
	raw  bool // the value just skipped holds a line break between its tokens

	lenient bool // names that are not known are passed over

	// Of a delivery.
	index     uint64
	delivered uint64
	attempt   int
}

func (s *scanner) fail(wanted string) error {
	if s.pos >= len(s.data) {
		return ErrInvalidJSON.With("the body ends at byte %d, wanted %s", s.pos, wanted)
	}
	return ErrInvalidJSON.With("byte %d: wanted %s, found %s", s.pos+1, wanted, printable(s.data[s.pos:]))
}

// printable shows the next character without letting it reach a terminal.
func printable(rest []byte) string {
	r, _ := utf8.DecodeRune(rest)
	return fmt.Sprintf("%q", r)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case '\n', '\r':
			s.raw = true
		case ' ', '\t':
		default:
			return
		}
		s.pos++
	}
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) take(c byte, wanted string) error {
	if s.peek() != c || s.pos >= len(s.data) {
		return s.fail(wanted)
	}
	s.pos++
	return nil
}

// value skips one value.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, _, err := s.str()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.fail("a JSON value")
}

func (s *scanner) literal(word string) error {
	if string(s.data[s.pos:min(len(s.data), s.pos+len(word))]) != word {
		return s.fail(word)
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.pos++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	if s.pos == start {
		return s.fail("a digit")
	}
	return nil
}

// str skips a string and returns what stands between its quotes, and whether
// that has to be unescaped.
func (s *scanner) str() (inner []byte, escaped bool, err error) {
	if err := s.take('"', "a string"); err != nil {
		return nil, false, err
	}
	start, high := s.pos, false
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			inner = s.data[start:s.pos]
			if high && !utf8.Valid(inner) {
				s.pos = start + invalidAt(inner)
				return nil, false, s.fail("valid UTF-8")
			}
			s.pos++
			return inner, escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		case c < 0x20:
			return nil, false, s.fail("an escaped control character")
		default:
			high = high || c >= utf8.RuneSelf
			s.pos++
		}
	}
	return nil, false, s.fail("the end of a string")
}

func invalidAt(b []byte) int {
	at := 0
	for at < len(b) {
		r, size := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return at
}

func (s *scanner) escape() error {
	s.pos++ // the backslash
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		s.pos++
		for range 4 {
			if c := s.peek(); !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return s.fail("four hexadecimal digits")
			}
			s.pos++
		}
		return nil
	}
	return s.fail("a valid escape")
}

func (s *scanner) array(depth int) error {
	return s.elements(depth, func() error { return s.value(depth + 1) })
}

// elements walks "[a, b, c]" and calls each at the first byte of an element.
func (s *scanner) elements(depth int, each func() error) error {
	if depth >= maxDepth {
		return s.fail(fmt.Sprintf("at most %d levels of nesting", maxDepth))
	}
	if err := s.take('[', "an array"); err != nil {
		return err
	}
	s.space()
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		s.space()
		if err := each(); err != nil {
			return err
		}
		s.space()
		if s.peek() != ',' {
			return s.take(']', "a comma or the end of the array")
		}
		s.pos++
	}
}

func (s *scanner) object(depth int) error {
	return s.members(depth, func([]byte, bool) error { return s.value(depth + 1) })
}

// members walks "{"name": value}" and calls each at the first byte of a value,
// with the name as it stands between its quotes.
func (s *scanner) members(depth int, each func(name []byte, escaped bool) error) error {
	if depth >= maxDepth {
		return s.fail(fmt.Sprintf("at most %d levels of nesting", maxDepth))
	}
	if err := s.take('{', "an object"); err != nil {
		return err
	}
	s.space()
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		s.space()
		name, escaped, err := s.str()
		if err != nil {
			return err
		}
		s.space()
		if err := s.take(':', "a colon"); err != nil {
			return err
		}
		s.space()
		if err := each(name, escaped); err != nil {
			return err
		}
		s.space()
		if s.peek() != ',' {
			return s.take('}', "a comma or the end of the object")
		}
		s.pos++
	}
}

// text reads a string value, or null as "". A lone surrogate is refused: it
// has no UTF-8, and would come back as another character than was sent.
func (s *scanner) text(field string) (string, error) {
	if s.peek() == 'n' {
		return "", s.literal("null")
	}
	at := s.pos
	inner, escaped, err := s.str()
	if err != nil {
		return "", err
	}
	if !escaped {
		return string(inner), nil
	}
	var value string
	if err := json.Unmarshal(s.data[at:s.pos], &value); err != nil {
		return "", ErrInvalidJSON.With("field %q: %s", field, err)
	}
	if strings.ContainsRune(value, utf8.RuneError) && !strings.Contains(string(inner), string(utf8.RuneError)) {
		return "", ErrInvalidJSON.With("field %q has half of a surrogate pair", field)
	}
	return value, nil
}

// end makes sure that nothing but white space follows.
func (s *scanner) end() error {
	s.space()
	if s.pos < len(s.data) {
		return s.fail("nothing after the JSON value")
	}
	return nil
}
