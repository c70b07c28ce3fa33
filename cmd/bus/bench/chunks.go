package bench

import "fmt"

// chunks takes a chunked body apart as it comes, without copying it.
type chunks struct {
	off    bool // the body is not chunked
	left   int  // bytes of the chunk that are still to come
	size   int  // of the next chunk, as far as it was read
	digits int  // of that size
	state  int  // what is read next
}

const (
	inSize = iota
	inSizeEnd
	inData
	inDataEnd // its \r
	inDataEndLine
	inEnd // behind the last chunk, its \r: a bus sends no trailers
	inEndLine
	over
)

// feed calls take with the bytes of the body that are in data.
func (c *chunks) feed(data []byte, take func([]byte) error) error {
	if c.off {
		return take(data)
	}
	for len(data) > 0 {
		if c.state == inData {
			n := min(c.left, len(data))
			if err := take(data[:n]); err != nil {
				return err
			}
			data = data[n:]
			if c.left -= n; c.left == 0 {
				c.state = inDataEnd
			}
			continue
		}
		if err := c.line(data[0]); err != nil {
			return err
		}
		data = data[1:]
	}
	return nil
}

// line takes a byte between two chunks. It is as strict as HTTP is: a reader that
// takes less than that for an end finds chunks that nobody has sent.
func (c *chunks) line(b byte) error {
	switch {
	case c.state == inSize && b == '\r' && c.digits > 0:
		c.state = inSizeEnd
	case c.state == inSize:
		digit, ok := hex(b)
		if !ok || c.size > 1<<27 {
			return fmt.Errorf("a chunk's size has %q", b)
		}
		c.size = c.size<<4 | digit
		c.digits++
	case c.state == inSizeEnd && b == '\n':
		c.left, c.size, c.digits, c.state = c.size, 0, 0, inData
		if c.left == 0 {
			c.state = inEnd
		}
	case c.state == inDataEnd && b == '\r', c.state == inEnd && b == '\r':
		c.state++
	case c.state == inDataEndLine && b == '\n':
		c.state = inSize
	case c.state == inEndLine && b == '\n':
		c.state = over
	default:
		return fmt.Errorf("between two chunks or behind the last stands %q", b)
	}
	return nil
}

func hex(b byte) (digit int, ok bool) {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0'), true
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10, true
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10, true
	}
	return 0, false
}
