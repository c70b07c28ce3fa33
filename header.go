package bus

import (
	"maps"
	"slices"
	"strings"
)

// Limits on the headers of one event.
const (
	MaxHeaders     = 32
	MaxHeaderName  = 64   // bytes
	MaxHeaderValue = 1024 // bytes
	MaxHeaderBytes = 4096 // bytes of all names and values
)

// CheckHeaders returns nil for headers that an event may have, and says
// otherwise which one may not be.
func CheckHeaders(headers map[string]string) error {
	if len(headers) > MaxHeaders {
		return ErrInvalidEvent.With("the event has %d headers, at most %d are allowed", len(headers), MaxHeaders)
	}
	size := 0
	for name, value := range headers {
		if err := checkHeader(name, value); err != nil {
			return err
		}
		size += len(name) + len(value)
	}
	if size > MaxHeaderBytes {
		return ErrInvalidEvent.With("the event's headers have %d bytes in all, at most %d are allowed", size, MaxHeaderBytes)
	}
	return nil
}

func checkHeader(name, value string) error {
	if err := checkHeaderName(name); err != nil {
		return err
	}
	switch {
	case value == "":
		return ErrInvalidEvent.With("header %q is empty, wanted a value or no such header", name)
	case len(value) > MaxHeaderValue:
		return ErrInvalidEvent.With("header %q has %d bytes, at most %d are allowed", name, len(value), MaxHeaderValue)
	}
	return checkLine("header "+name, value)
}

// checkHeaderName has names in one spelling only, so that none is missed or
// stands twice because of its case.
func checkHeaderName(name string) error {
	if name == "" || len(name) > MaxHeaderName {
		return ErrInvalidEvent.With("a header's name has %d bytes, wanted 1 to %d", len(name), MaxHeaderName)
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return ErrInvalidEvent.With("header %.80q: wanted a name of a-z, 0-9, - _ and ., in small letters, found %q", name, c)
		}
	}
	return nil
}

// HeaderNames returns the names of an event's headers in the order in which they
// are written.
func (e *Event) HeaderNames() []string {
	if len(e.Headers) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(e.Headers))
}

func (e *Event) appendHeaders(dst []byte) []byte {
	names := e.HeaderNames()
	if len(names) == 0 {
		return dst
	}
	dst = append(dst, `,"headers":`...)
	for i, name := range names {
		dst = append(dst, "{,"[min(i, 1)], '"')
		dst = append(dst, name...) // a name holds nothing that JSON escapes
		dst = append(dst, '"', ':')
		dst = appendQuoted(dst, e.Headers[name])
	}
	return append(dst, '}')
}

// headers reads an object of strings. Those that are empty, or null, count as
// absent, as everywhere.
func (s *scanner) headers() (map[string]string, error) {
	if s.peek() == 'n' {
		return nil, s.literal("null")
	}
	if s.peek() != '{' {
		return nil, s.fail("headers: an object of strings")
	}
	var headers map[string]string
	var seen []string
	err := s.members(1, func(name []byte, escaped bool) error {
		if escaped { // what may stand in a name needs no escape
			return ErrInvalidEvent.With("header %.80q: wanted a name of a-z, 0-9, - _ and .", name)
		}
		key := string(name)
		if err := checkHeaderName(key); err != nil {
			return err
		}
		if slices.Contains(seen, key) {
			return ErrInvalidEvent.With("header %q stands twice", key)
		}
		if len(seen) == MaxHeaders {
			return ErrInvalidEvent.With("the event has more than %d headers", MaxHeaders)
		}
		seen = append(seen, key)
		value, err := s.text("headers." + key)
		if err != nil || value == "" {
			return err
		}
		if headers == nil {
			headers = make(map[string]string)
		}
		headers[key] = value
		return nil
	})
	return headers, err
}

// ParseHeader reads one header as command lines and queries give it, name:value.
// White space around the value is none of it.
func ParseHeader(text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	if !ok {
		return "", "", ErrInvalidEvent.With("header %.80q: wanted a name and a value, as in source:checkout", text)
	}
	return name, value, checkHeader(name, value)
}
