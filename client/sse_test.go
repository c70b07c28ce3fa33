package client

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// read returns the events of a stream as "type|data|resume point", and how it ended.
func read(r io.Reader, max int) (out []string, retry time.Duration, err error) {
	s := newSSEReader(r, max)
	for {
		f, err := s.next()
		if err != nil {
			return append(out, "end|"+s.lastID), s.retry, err
		}
		out = append(out, fmt.Sprintf("%s|%s|%s", f.event, f.data, s.lastID))
	}
}

var sseCases = []struct {
	name, text string
	want       []string
}{
	{"one event", "event: msg\nid: 1\ndata: a\n\n", []string{"msg|a|1", "end|1"}},
	{"CRLF", "event: msg\r\nid: 1\r\ndata: a\r\n\r\n", []string{"msg|a|1", "end|1"}},
	{"CR", "event: msg\rid: 1\rdata: a\r\r", []string{"msg|a|1", "end|1"}},
	{"line ends of all kinds", "data: a\rdata: b\ndata: c\r\n\r\n", []string{"|a\nb\nc|", "end|"}},
	{"CRLF then LF is a blank line", "data: a\r\n\ndata: b\n\n", []string{"|a|", "|b|", "end|"}},
	{"byte order mark", "\ufeffdata: a\n\n", []string{"|a|", "end|"}},
	{"only one byte order mark", "\ufeff\ufeffdata: a\n\n", []string{"end|"}},
	{"byte order mark later on is part of a name", "data: a\n\n\ufeffdata: b\n\n", []string{"|a|", "end|"}},
	{"comment", ": ping\n:\ndata: a\n: more\n\n", []string{"|a|", "end|"}},
	{"data lines are joined", "data: a\ndata: b\ndata:\n\n", []string{"|a\nb\n|", "end|"}},
	{"one space is taken off", "data:a\ndata: b\ndata:  c\n\n", []string{"|a\nb\n c|", "end|"}},
	{"tab is kept", "data:\ta\n\n", []string{"|\ta|", "end|"}},
	{"field without a colon", "data\n\ndata\ndata\n\n", []string{"||", "|\n|", "end|"}},
	{"colons in the value", "data: {\"a\":1}\n\n", []string{"|{\"a\":1}|", "end|"}},
	{"no data, no event", "event: msg\nid: 7\n\ndata: a\n\n", []string{"|a|7", "end|7"}},
	{"the resume point moves without data", "id: 7\n\n", []string{"end|7"}},
	{"the resume point stays", "id: 7\ndata: a\n\ndata: b\n\n", []string{"|a|7", "|b|7", "end|7"}},
	{"the resume point can be taken back", "id: 7\ndata: a\n\nid\ndata: b\n\n", []string{"|a|7", "|b|", "end|"}},
	{"id with NUL", "id: 7\ndata: a\n\nid: 8\x009\ndata: b\n\n", []string{"|a|7", "|b|7", "end|7"}},
	{"no event at the end without a blank line", "data: a\n\nid: 9\ndata: b\n", []string{"|a|", "end|"}},
	{"names are exact", "Data: a\n data: b\ndatum: c\ndata : d\n\n", []string{"end|"}},
	{"the type is for one event", "event: msg\ndata: a\n\ndata: b\n\n", []string{"msg|a|", "|b|", "end|"}},
	{"blank lines", "\n\n\r\n\rdata: a\n\n\n\n", []string{"|a|", "end|"}},
	{"nothing", "", []string{"end|"}},
}

func TestAStreamIsReadAsTheHTMLStandardSays(t *testing.T) {
	for _, c := range sseCases {
		t.Run(c.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"at once":       strings.NewReader(c.text),
				"byte by byte":  iotest.OneByteReader(strings.NewReader(c.text)),
				"data with EOF": iotest.DataErrReader(strings.NewReader(c.text)),
			} {
				if got, _, _ := read(r, 1000); !slices.Equal(got, c.want) {
					t.Errorf("%s: got %q, want %q", name, got, c.want)
				}
			}
		})
	}
}

func TestAnEventIsThereBeforeTheByteAfterIt(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "data: a\r\r") }() // a LF may follow, and may not
	if f, err := newSSEReader(r, 100).next(); err != nil || string(f.data) != "a" {
		t.Errorf("got %q, %v, want the event", f.data, err)
	}
}

func TestRetryIsDigitsAlone(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"1500": 1500 * time.Millisecond, "0": 0, "007": 7 * time.Millisecond,
		"": time.Hour, "1.5": time.Hour, "-1": time.Hour, "1s": time.Hour, " 1": time.Hour, "٣": time.Hour,
		"99999999999999999999999999": maxAsked,
	} {
		s := newSSEReader(strings.NewReader("retry: "+value+"\n\n"), 100)
		s.retry = time.Hour
		if _, err := s.next(); err != io.EOF {
			t.Fatal(err)
		}
		if got := s.retry; got != want {
			t.Errorf("retry: %q: got %v, want %v", value, got, want)
		}
	}
}

func TestAStreamThatBreaksOffWithinAnEventSaysSo(t *testing.T) {
	for text, want := range map[string]error{
		"": io.EOF, "data: a\n\n": io.EOF, ": ping\n": io.EOF, "data: a\r\n\r\n": io.EOF,
		"data: a\n": io.ErrUnexpectedEOF, "data: a": io.ErrUnexpectedEOF, "id: 1\n": io.ErrUnexpectedEOF, ": pi": io.ErrUnexpectedEOF,
	} {
		if _, _, err := read(strings.NewReader(text), 100); err != want {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
	if _, _, err := read(iotest.TimeoutReader(strings.NewReader("data: a")), 100); err != iotest.ErrTimeout {
		t.Errorf("failing reader: got %v, want its error", err)
	}
}

func TestNoEventIsLongerThanAllowedAndNoMemoryIsSpentOnIt(t *testing.T) {
	const max = 64 << 10
	exact := strings.Repeat("x", max)
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"as long as allowed":      {"data: " + exact + "\n\n", io.EOF},
		"one byte more":           {"data: " + exact + "x\n\n", errTooLong},
		"in two lines":            {"data: " + exact[1:] + "\ndata:\n\n", io.EOF},
		"too long in two lines":   {"data: " + exact + "\ndata:\n\n", errTooLong},
		"a line without end":      {strings.Repeat("x", 4*max), errTooLong},
		"a comment without end":   {":" + strings.Repeat("x", 4*max), errTooLong},
		"many lines":              {strings.Repeat("data: xxxx\n", max), errTooLong},
		"many short ones":         {strings.Repeat("data: xxxx\n\n", max), io.EOF},
		"an id without end":       {"id: " + strings.Repeat("x", 4*max), errTooLong},
		"not counting each one's": {"data: " + exact + "\n\ndata: " + exact + "\n\n", io.EOF},
	} {
		s := newSSEReader(strings.NewReader(c.text), max)
		err := error(nil)
		for err == nil {
			_, err = s.next()
		}
		if err != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if got, limit := cap(s.buf)+cap(s.data), 8*max; got > limit {
			t.Errorf("%s: buffers of %d bytes, want at most %d", name, got, limit)
		}
	}
}

func TestAHugeEventDoesNotKeepItsMemory(t *testing.T) {
	text := "data: " + strings.Repeat("x", 4*keepBuffer) + "\n\n" + strings.Repeat("data: a\n\n", 2*firstBuffer)
	s := newSSEReader(strings.NewReader(text), 8*keepBuffer)
	err := error(nil)
	for err == nil {
		_, err = s.next()
	}
	if got, limit := cap(s.buf)+cap(s.data), 2*keepBuffer; got > limit {
		t.Errorf("buffers: got %d bytes, want at most %d", got, limit)
	}
}

func FuzzAStreamIsReadAsBySlowRules(f *testing.F) {
	for _, c := range sseCases {
		f.Add([]byte(c.text), 3)
	}
	f.Fuzz(func(t *testing.T, text []byte, chunk int) {
		want := slowRead(string(text))
		r := &chunks{data: text, size: max(1, chunk%9)}
		got, _, err := read(r, 1<<20)
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

type chunks struct {
	data []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.size, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

// slowRead is the standard's algorithm on a whole text, written the plain way.
func slowRead(text string) (out []string) {
	text = strings.TrimPrefix(text, "\xef\xbb\xbf")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(text, "\n")
	var event, id, lastID string
	var data []string
	for _, line := range lines[:len(lines)-1] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if lastID = id; len(data) > 0 {
				out = append(out, event+"|"+strings.Join(data, "\n")+"|"+lastID)
			}
			event, data = "", nil
		case name == "event":
			event = value
		case name == "data":
			data = append(data, value)
		case name == "id" && !strings.Contains(value, "\x00"):
			id = value
		}
	}
	return append(out, "end|"+lastID)
}

func BenchmarkReadEvents(b *testing.B) {
	text := strings.Repeat("id: e_abcdef12345\nevent: msg\ndata: "+strings.Repeat("x", 500)+"\n\n", 1000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if out, _, err := readAll(strings.NewReader(text)); err != io.EOF || out != 1000 {
			b.Fatal(out, err)
		}
	}
}

func readAll(r io.Reader) (n int, id string, err error) {
	s := newSSEReader(r, 1<<20)
	for {
		if _, err := s.next(); err != nil {
			return n, s.lastID, err
		}
		n++
	}
}
