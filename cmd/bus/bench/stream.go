package bench

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"net"
	"time"
)

// stream is a subscriber to a bus. It either looks at every frame, or only counts
// them and sums up their bytes: streams of one subject are the same byte for byte,
// so that what was read by one proves what the others got.
type stream struct {
	*subscriber
	conn     net.Conn
	body     chunks
	near     bool // looks at every frame
	summed   bool // nothing but events comes: there are no pings
	rest     []byte
	consumer string // its id, from the hello
}

var (
	frameEnd   = []byte("\n\n")
	eventHead  = []byte("event: msg")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// mostFrame bounds what is kept of a server that may say anything.
const mostFrame = 16 << 20

// stream opens one, waits for its hello, and reads on until it or the run ends.
func (r *run) stream(ctx context.Context, s *server, query string, want reading) (*stream, error) {
	b, buffer, err := r.opened(ctx, s, query, want)
	if err != nil {
		return nil, err
	}
	b.subscriber.start(r, func() error { return b.read(buffer) })
	return b, nil
}

// opened is a stream that was greeted, and that nobody reads yet.
func (r *run) opened(ctx context.Context, s *server, query string, want reading) (*stream, []byte, error) {
	c, err := r.dial(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	b := &stream{subscriber: r.subscriber(s, want), conn: c, near: want.near || !s.fresh(), summed: s.fresh()}
	if _, err := fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n", query); err != nil {
		return nil, nil, err
	}
	setDefault(&want.buffer, 32<<10)
	buffer := make([]byte, want.buffer)
	return b, buffer, b.hello(buffer)
}

// hello reads up to the end of the first frame with a name.
func (b *stream) hello(buffer []byte) error {
	b.conn.SetReadDeadline(time.Now().Add(b.patience))
	defer b.conn.SetReadDeadline(time.Time{})
	rest, err := b.head(buffer)
	if err != nil {
		return err
	}
	var got []byte
	for {
		if err := b.body.feed(rest, func(part []byte) error { got = append(got, part...); return nil }); err != nil {
			return err
		}
		if at := bytes.Index(got, []byte("event: hello")); at >= 0 {
			if end := bytes.Index(got[at:], frameEnd); end >= 0 {
				b.consumer, _ = between(got[at:at+end], `"consumer_id":"`, `"`)
				return b.take(got[at+end+len(frameEnd):])
			}
		}
		if len(got) > mostFrame {
			return fmt.Errorf("subscribe: got no hello in %d bytes", len(got))
		}
		n, err := b.conn.Read(buffer)
		if err != nil {
			return fmt.Errorf("subscribe: %w after %.300q", err, got)
		}
		rest = buffer[:n]
	}
}

// head reads the headers, and returns what came behind them.
func (b *stream) head(buffer []byte) ([]byte, error) {
	var got []byte
	for {
		n, err := b.conn.Read(buffer)
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w after %.300q", err, got)
		}
		got = append(got, buffer[:n]...)
		head := bytes.Index(got, []byte("\r\n\r\n"))
		if head < 0 && len(got) > mostFrame {
			return nil, fmt.Errorf("subscribe: got %d bytes of headers", len(got))
		}
		if head < 0 {
			continue
		}
		if !bytes.HasPrefix(got, []byte("HTTP/1.1 200")) {
			return nil, fmt.Errorf("subscribe: got %.300q", got)
		}
		b.body.off = !bytes.Contains(got[:head+2], headChunked)
		return got[head+4:], nil
	}
}

func (b *stream) read(buffer []byte) error {
	for {
		n, err := b.conn.Read(buffer)
		if n > 0 {
			if err := b.body.feed(buffer[:n], b.take); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// take looks at what has come.
func (b *stream) take(data []byte) error {
	if b.summed {
		b.sum.Store(crc32.Update(b.sum.Load(), castagnoli, data))
	}
	if !b.near {
		var n int
		n, b.rest = countFrames(b.rest, data)
		b.count.Add(int64(n))
		return nil
	}
	b.rest = append(b.rest, data...)
	left := b.rest
	for {
		end := bytes.Index(left, frameEnd)
		if end < 0 {
			b.rest = append(b.rest[:0], left...)
			if len(b.rest) > mostFrame {
				return fmt.Errorf("got a frame of over %d bytes", mostFrame)
			}
			return nil
		}
		if err := b.frame(left[:end]); err != nil {
			return err
		}
		left = left[end+len(frameEnd):]
	}
}

// countFrames counts the ends of frames, one of which may be cut in two: rest is
// the newline that may be its first half, and is returned for the next call. There
// is nothing but events: pings are an hour apart.
func countFrames(rest, data []byte) (int, []byte) {
	if len(data) == 0 {
		return 0, rest
	}
	n := 0
	if len(rest) == 1 && data[0] == '\n' {
		n, data = 1, data[1:]
	}
	n += bytes.Count(data, frameEnd)
	newlines := len(data) - len(bytes.TrimRight(data, "\n"))
	if newlines%2 == 1 {
		return n, append(rest[:0], '\n')
	}
	return n, rest[:0]
}

// frame checks one.
func (b *stream) frame(frame []byte) error {
	if !bytes.Contains(frame, eventHead) {
		if bytes.HasPrefix(frame, []byte("event: ping")) || bytes.HasPrefix(frame, []byte(":")) {
			return nil
		}
		return fmt.Errorf("got %.300q, want an event", frame)
	}
	at := bytes.Index(frame, indexKey)
	if at < 0 {
		return fmt.Errorf("an event without an index: %.300q", frame)
	}
	index, _ := number(frame[at+len(indexKey):])
	return b.event(index, frame)
}
