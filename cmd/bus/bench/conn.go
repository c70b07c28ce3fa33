package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// conn is one HTTP/1.1 connection, a request at a time. It reads of an answer
// what there has to be, and no more.
type conn struct {
	net.Conn
	in   *bufio.Reader
	body []byte
}

func (r *run) open(ctx context.Context, s *server) (*conn, error) {
	c, err := r.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// do sends a whole request and returns the body of the answer, which is good
// until the next call. Any other status than 2xx is an error.
func (c *conn) do(request []byte) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	return c.answer()
}

// mostBody bounds an answer: a server that is not ours may say anything.
const mostBody = 64 << 20

var (
	headLength  = []byte("Content-Length: ")
	headChunked = []byte("Transfer-Encoding: chunked")
)

func (c *conn) answer() ([]byte, error) {
	status, length, chunked, err := c.head()
	if err != nil {
		return nil, err
	}
	switch c.body = c.body[:0]; {
	case chunked:
		err = c.chunks()
	case length < 0 || length > mostBody:
		return nil, fmt.Errorf("got a body of %d bytes, wanted at most %d", length, mostBody)
	default:
		c.body = grow(c.body, length)
		_, err = io.ReadFull(c.in, c.body)
	}
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("got %d %.300s", status, bytes.TrimSpace(c.body))
	}
	return c.body, err
}

// head reads the status line and the headers.
func (c *conn) head() (status, length int, chunked bool, err error) {
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, 0, false, err
		}
		switch line = bytes.TrimRight(line, "\r\n"); {
		case first:
			if len(line) < 12 {
				return 0, 0, false, fmt.Errorf("got %q for a status line", line)
			}
			status, err = strconv.Atoi(string(line[9:12]))
		case len(line) == 0:
			return status, length, chunked, nil
		case bytes.HasPrefix(line, headLength):
			length, err = strconv.Atoi(string(line[len(headLength):]))
		case bytes.Equal(line, headChunked):
			chunked = true
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
}

// chunks reads a chunked body whole.
func (c *conn) chunks() error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(string(bytes.TrimRight(line, "\r\n")), 16, 31)
		if err != nil {
			return err
		}
		have := len(c.body)
		if have+int(size) > mostBody {
			return fmt.Errorf("got a body of over %d bytes", mostBody)
		}
		c.body = grow(c.body, have+int(size)+2)
		if _, err := io.ReadFull(c.in, c.body[have:]); err != nil {
			return err
		}
		if c.body = c.body[:have+int(size)]; size == 0 {
			return nil
		}
	}
}

func grow(b []byte, size int) []byte {
	if cap(b) < size {
		b = append(make([]byte, 0, 2*size), b...)
	}
	return b[:size]
}

var indexKey = []byte(`"index":`)

// indexes calls take with the index of each receipt of an answer.
func indexes(body []byte, take func(index uint64) error) error {
	found := false
	for {
		at := bytes.Index(body, indexKey)
		if at < 0 {
			break
		}
		body = body[at+len(indexKey):]
		index, rest := number(body)
		if rest == 0 {
			return errors.New("a receipt without an index")
		}
		if err := take(index); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("no receipt in %.200q", body)
	}
	return nil
}

// number reads digits, and returns how many there were.
func number(b []byte) (n uint64, digits int) {
	for digits < len(b) && b[digits]-'0' <= 9 {
		n = 10*n + uint64(b[digits]-'0')
		digits++
	}
	return n, digits
}
