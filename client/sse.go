package client

import (
	"bytes"
	"errors"
	"io"
	"time"
)

const (
	firstBuffer = 32 << 10
	keepBuffer  = 1 << 20 // a buffer that one huge event has grown beyond this is let go
	fieldName   = 16      // bytes a line may have besides its value
)

var errTooLong = errors.New("event too long")

var byteOrderMark = []byte("\xef\xbb\xbf")

// frame is one event of a stream. Its data is valid until the next call of next.
type frame struct {
	event string
	data  []byte
}

// sseReader reads a text/event-stream by the rules of the HTML standard: lines end with LF,
// CR or CRLF; only a blank line makes an event; what is unfinished at the end is dropped.
// It is not for concurrent use.
type sseReader struct {
	r    io.Reader
	max  int    // bytes in the data of an event, and in any one value
	buf  []byte // buf[:start] is done with
	err  error  // of r, given out once buf is used up
	open bool   // the byte order mark has been looked for

	start, scanned int  // buf[start:scanned] holds no line end
	skipLF         bool // the last line ended with CR: a LF that follows belongs to it

	// The event that is being read.
	event   string
	data    []byte
	hasData bool
	id      string
	begun   bool // there are fields since the last blank line

	lastID string        // resume point: of the last finished event
	retry  time.Duration // the last `retry:`
}

func newSSEReader(r io.Reader, max int) *sseReader { return &sseReader{r: r, max: max} }

// next returns the next event that has data. At the end of a stream the error is io.EOF when
// it ended after a blank line, and io.ErrUnexpectedEOF when it broke off within an event.
func (s *sseReader) next() (frame, error) {
	s.data = s.data[:0]
	if cap(s.data) > keepBuffer {
		s.data = nil
	}
	for {
		line, err := s.line()
		if err != nil {
			return frame{}, err
		}
		if len(line) > 0 {
			if err := s.field(line); err != nil {
				return frame{}, err
			}
			continue
		}
		if f, ok := s.dispatch(); ok {
			return f, nil
		}
	}
}

// dispatch ends an event. The resume point moves even if it had no data.
func (s *sseReader) dispatch() (frame, bool) {
	f, ok := frame{event: s.event, data: s.data}, s.hasData
	s.lastID = s.id
	s.event, s.hasData, s.begun = "", false, false
	return f, ok
}

func (s *sseReader) field(line []byte) error {
	if line[0] == ':' {
		return nil
	}
	s.begun = true
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		s.event = string(value)
	case "data":
		return s.appendData(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			s.id = string(value)
		}
	case "retry":
		s.setRetry(value)
	}
	return nil
}

// appendData puts a LF between the lines of data.
func (s *sseReader) appendData(value []byte) error {
	if s.hasData {
		s.data = append(s.data, '\n')
	}
	if len(s.data)+len(value) > s.max {
		return errTooLong
	}
	s.data, s.hasData = append(s.data, value...), true
	return nil
}

// setRetry takes digits alone, and more of them than make sense as the longest wait.
func (s *sseReader) setRetry(value []byte) {
	var ms time.Duration
	for _, c := range value {
		if c < '0' || c > '9' {
			return
		}
		ms = min(ms*10+time.Duration(c-'0'), time.Duration(maxAsked/time.Millisecond))
	}
	if len(value) > 0 {
		s.retry = ms * time.Millisecond
	}
}

// line returns the next line without its end. It does not wait for the byte after a CR.
func (s *sseReader) line() ([]byte, error) {
	for {
		s.skip()
		line, ok := s.cut()
		if len(line) > s.max+fieldName {
			return nil, errTooLong
		}
		if ok {
			return line, nil
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

// cut takes a line off the buffer. Without a line end in it the line so far stays there.
func (s *sseReader) cut() (line []byte, ok bool) {
	if !s.open {
		return nil, false
	}
	rest := s.buf[s.scanned:]
	i := bytes.IndexByte(rest, '\n')
	if i >= 0 {
		rest = rest[:i]
	}
	if cr := bytes.IndexByte(rest, '\r'); cr >= 0 {
		i = cr
	}
	if i < 0 {
		s.scanned = len(s.buf)
		return s.buf[s.start:], false
	}
	end := s.scanned + i
	line = s.buf[s.start:end]
	s.skipLF = s.buf[end] == '\r'
	s.start = end + 1
	s.scanned = s.start
	return line, true
}

// skip drops the LF of a CRLF and, once at the start, the byte order mark, as soon as enough
// has been read to see them.
func (s *sseReader) skip() {
	rest := s.buf[s.start:]
	if !s.open {
		if len(rest) < len(byteOrderMark) && s.err == nil && bytes.HasPrefix(byteOrderMark, rest) {
			return
		}
		s.open = true
		s.start += len(rest) - len(bytes.TrimPrefix(rest, byteOrderMark))
		s.scanned = s.start
	}
	if s.skipLF && s.start < len(s.buf) {
		s.skipLF = false
		if s.buf[s.start] == '\n' {
			s.start++
			s.scanned = s.start
		}
	}
}

// fill reads more. It moves what is left to the front, so that the buffer grows only for a
// line that is longer than it.
func (s *sseReader) fill() error {
	if s.err != nil {
		return s.end()
	}
	if s.start > 0 || s.buf == nil {
		s.compact()
	}
	if len(s.buf) == cap(s.buf) {
		s.buf = append(s.buf, make([]byte, cap(s.buf))...)[:len(s.buf)]
	}
	n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	s.err = err
	return nil
}

func (s *sseReader) compact() {
	rest := s.buf[s.start:]
	to := s.buf[:0]
	if cap(to) > keepBuffer && len(rest) < firstBuffer || to == nil {
		to = make([]byte, 0, firstBuffer)
	}
	s.buf = append(to, rest...)
	s.scanned -= s.start
	s.start = 0
}

// end is what the reader's error means for the stream.
func (s *sseReader) end() error {
	if s.err == io.EOF && (s.begun || s.start < len(s.buf)) {
		return io.ErrUnexpectedEOF
	}
	return s.err
}
