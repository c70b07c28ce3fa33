package disk

import (
	"encoding/binary"
	"fmt"

	"example.com/bus"
)

// The headers of an event stand in its record like this (FORMAT.md says the
// same):
//
//	size  name
//	1     how many, minus 1
//	      of each, by name:
//	1     length of the name, minus 1
//	2     length of the value, minus 1, little-endian
//	…     name
//	…     value
const (
	headerFixed = 3
	maxHeaders  = 1 + bus.MaxHeaders*headerFixed + bus.MaxHeaderBytes // bytes of them, at most
)

func headersSize(e *bus.Event) int {
	n := 1
	for name, value := range e.Headers {
		n += headerFixed + len(name) + len(value)
	}
	return n
}

// appendHeaders appends the headers of an event that has some and has passed
// Check.
func appendHeaders(dst []byte, e *bus.Event) []byte {
	dst = append(dst, byte(len(e.Headers)-1))
	for _, name := range e.HeaderNames() {
		value := e.Headers[name]
		dst = append(dst, byte(len(name)-1))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(value)-1))
		dst = append(dst, name...)
		dst = append(dst, value...)
	}
	return dst
}

// walkHeaders calls each with the headers that data begins with, and returns how
// many bytes they take. Names that do not ascend are refused: an event has one
// encoding.
func walkHeaders[T string | []byte](data T, each func(name, value T)) (int, error) {
	if len(data) == 0 {
		return 0, fmt.Errorf("record ends before its headers")
	}
	at, before := 1, ""
	for i := range int(data[0]) + 1 {
		if len(data)-at < headerFixed {
			return 0, fmt.Errorf("record ends in header %d", i+1)
		}
		name := int(data[at]) + 1
		value := (int(data[at+1]) | int(data[at+2])<<8) + 1
		at += headerFixed
		if len(data)-at < name+value {
			return 0, fmt.Errorf("record has %d bytes for header %d, its lengths say %d", len(data)-at, i+1, name+value)
		}
		if s := string(data[at : at+name]); s <= before {
			return 0, fmt.Errorf("header %q of a record stands behind %q", s, before)
		} else {
			before = s
		}
		each(data[at:at+name], data[at+name:at+name+value])
		at += name + value
	}
	return at, nil
}

// readHeaders returns headers that walkHeaders has found to be well formed. They
// share the memory of text.
func readHeaders(text string) map[string]string {
	headers := make(map[string]string, int(text[0])+1)
	// It was walked when the record was parsed.
	_, _ = walkHeaders(text, func(name, value string) { headers[name] = value })
	return headers
}
