package bench

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"net"
	"sync/atomic"
	"time"
)

// subscriber is one stream. It either looks at every frame, or only counts them
// and sums up their bytes: streams of one subject are the same byte for byte, so
// that what was read by one proves what the others got.
type subscriber struct {
	conn  net.Conn
	body  chunks
	close bool // looks at every frame
	rest  []byte
	seen  func(index uint64, frame []byte) // of a close one, for each event; nil: nobody

	consumer string // its id, from the hello

	count atomic.Int64 // events so far
	sum   atomic.Uint32
	next  uint64 // index that is due; 0: any
	done  chan error
}

var (
	frameEnd  = []byte("\n\n")
	eventHead = []byte("event: msg")
	castagnol = crc32.MakeTable(crc32.Castagnoli)
)

// subscribe opens a stream, waits for its hello, and reads on until the stream
// or the run ends.
func (r *run) subscribe(ctx context.Context, s *server, query string, close bool, seen func(uint64, []byte)) (*subscriber, error) {
	c, err := dial(ctx, s.addr)
	if err != nil {
		return nil, err
	}
	r.atEnd(func() { c.Close() })
	b := &subscriber{conn: c, close: close, seen: seen, done: make(chan error, 1)}
	if _, err := fmt.Fprintf(c, "GET /?%s HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n", query); err != nil {
		return nil, err
	}
	buffer := make([]byte, 256<<10)
	if err := b.hello(buffer); err != nil {
		return nil, err
	}
	go func() { b.done <- b.read(buffer) }()
	return b, nil
}

// hello reads up to the end of the first frame with a name.
func (b *subscriber) hello(buffer []byte) error {
	b.conn.SetReadDeadline(time.Now().Add(patience))
	defer b.conn.SetReadDeadline(time.Time{})
	var got []byte
	head := -1
	for {
		n, err := b.conn.Read(buffer)
		if err != nil {
			return fmt.Errorf("subscribe: %w after %.300q", err, got)
		}
		data := buffer[:n]
		if head < 0 {
			got = append(got, data...)
			if head = bytes.Index(got, []byte("\r\n\r\n")); head < 0 {
				continue
			}
			if !bytes.HasPrefix(got, []byte("HTTP/1.1 200")) {
				return fmt.Errorf("subscribe: got %.300q", got)
			}
			b.body.off = !bytes.Contains(got[:head+2], headChunked)
			data, got = got[head+4:], nil
		}
		if err := b.body.feed(data, func(part []byte) error { got = append(got, part...); return nil }); err != nil {
			return err
		}
		if at := bytes.Index(got, []byte("event: hello")); at >= 0 {
			if end := bytes.Index(got[at:], frameEnd); end >= 0 {
				b.consumer, _ = between(got[at:at+end], `"consumer_id":"`, `"`)
				return b.take(got[at+end+len(frameEnd):])
			}
		}
	}
}

func (b *subscriber) read(buffer []byte) error {
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
func (b *subscriber) take(data []byte) error {
	b.sum.Store(crc32.Update(b.sum.Load(), castagnol, data))
	if !b.close {
		b.countFrames(data)
		return nil
	}
	b.rest = append(b.rest, data...)
	for {
		end := bytes.Index(b.rest, frameEnd)
		if end < 0 {
			return nil
		}
		if err := b.frame(b.rest[:end]); err != nil {
			return err
		}
		b.rest = b.rest[end+len(frameEnd):]
	}
}

// countFrames counts the ends of frames, one of which may be cut in two. There
// is nothing but events: pings are an hour apart.
func (b *subscriber) countFrames(data []byte) {
	n := bytes.Count(data, frameEnd)
	if len(b.rest) == 1 && len(data) > 0 && data[0] == '\n' {
		n++
		if len(data) > 1 && data[1] == '\n' {
			n-- // it was the start of the one that is counted
		}
	}
	b.rest = b.rest[:0]
	if len(data) > 0 && data[len(data)-1] == '\n' && !bytes.HasSuffix(data, frameEnd) {
		b.rest = append(b.rest, '\n')
	}
	b.count.Add(int64(n))
}

// frame checks that an event is the one that is due.
func (b *subscriber) frame(frame []byte) error {
	if !bytes.Contains(frame, eventHead) {
		if bytes.HasPrefix(frame, []byte("event: ping")) {
			return nil
		}
		return fmt.Errorf("got %.300q, want an event", frame)
	}
	at := bytes.Index(frame, indexKey)
	if at < 0 {
		return fmt.Errorf("an event without an index: %.300q", frame)
	}
	index, _ := number(frame[at+len(indexKey):])
	if b.next != 0 && index != b.next {
		return fmt.Errorf("got event %d, want %d: lost, doubled or out of order", index, b.next)
	}
	b.next = index + 1
	if b.seen != nil {
		b.seen(index, frame)
	}
	b.count.Add(1)
	return nil
}

// reach waits until the subscriber has so many events, and no more.
func (b *subscriber) reach(ctx context.Context, want int) error {
	if err := b.atLeast(ctx, want); err != nil {
		return err
	}
	if got := b.count.Load(); got > int64(want) {
		return fmt.Errorf("a subscriber got %d events, want %d", got, want)
	}
	return nil
}

// atLeast gives up when nothing comes for long.
func (b *subscriber) atLeast(ctx context.Context, want int) error {
	last, since := int64(-1), time.Now()
	for {
		got := b.count.Load()
		if got >= int64(want) {
			return nil
		}
		if got != last {
			last, since = got, time.Now()
		} else if time.Since(since) > patience {
			return fmt.Errorf("a subscriber has %d events of %d, and nothing comes any more", got, want)
		}
		select {
		case err := <-b.done:
			b.done <- err
			return fmt.Errorf("a stream ended at event %d of %d: %w", got, want, err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// patience is how long nothing may come that is due.
const patience = 20 * time.Second
