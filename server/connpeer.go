package server

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// What may come from a peer after its request, on a connection that answers
// nothing more: some requests sent ahead by a client that does not know yet.
const maxUnasked = 4 << 10

// lingers is how long a connection on which something came unasked is read on
// after its clean end: closing it with bytes unread would reset it, and what the
// peer has not read by then would be lost.
const lingers = 500 * time.Millisecond

// connPeer is a peer on a connection that the stream has to itself: the head and
// the first frames were written by net/http, which has forgotten it since. An
// idle one costs its connection and a small goroutine that sees the peer leave.
type connPeer struct {
	owner   *connPeers
	conn    net.Conn
	chunked bool // HTTP/1.1
	timeout time.Duration
	stream  *stream
	users   atomic.Int32 // the stream, and watch
	unasked atomic.Int64 // bytes
	some    [64]byte     // what is read into, and never looked at
}

// watch sees the peer leave. What comes unasked is thrown away and never
// executed; a peer that goes on talking is let go.
func (p *connPeer) watch() {
	defer p.release()
	defer p.stream.lose()
	for p.unasked.Load() <= maxUnasked {
		n, err := p.conn.Read(p.some[:])
		p.unasked.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func (p *connPeer) write(out []byte) error {
	p.conn.SetWriteDeadline(time.Now().Add(p.timeout)) // it may pass unnoticed while nothing is written
	err := p.send(out)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlow
	}
	return err
}

func (p *connPeer) send(out []byte) error {
	if p.chunked {
		return writeChunk(wire(p.conn), out)
	}
	_, err := p.conn.Write(out)
	return err
}

// end closes the connection. Over HTTP/1.0 a clean end looks like any other.
func (p *connPeer) end(clean bool) {
	defer p.release()
	if clean && p.chunked {
		p.conn.SetWriteDeadline(time.Now().Add(p.timeout))
		_, err := p.conn.Write(lastChunk)
		clean = err == nil
	}
	if !clean || p.unasked.Load() == 0 || !p.linger() {
		p.conn.Close()
	}
}

// linger ends what is sent, and leaves it to watch to close the connection.
func (p *connPeer) linger() bool {
	c, ok := wire(p.conn).(interface{ CloseWrite() error })
	return ok && c.CloseWrite() == nil && p.conn.SetReadDeadline(time.Now().Add(lingers)) == nil
}

// release is called by both who use the connection.
func (p *connPeer) release() {
	if p.users.Add(-1) == 0 {
		p.conn.Close()
		p.owner.remove(p)
	}
}

// wire is the connection below what counts it.
func wire(c net.Conn) net.Conn {
	if gc, ok := c.(*gateConn); ok {
		return gc.Conn
	}
	return c
}

var (
	lineEnd   = []byte("\r\n")
	lastChunk = []byte("0\r\n\r\n")
)

// chunkCopied is up to which size a chunk is copied, to be written in one piece:
// that is cheaper than to gather it. Larger ones are shared by many streams, and
// go out from where they are.
const chunkCopied = 4 << 10

// chunk is what writing one needs besides its bytes, kept for the next.
type chunk struct {
	buf    []byte
	parts  [3][]byte
	gather net.Buffers
}

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, chunkCopied+16)} }}

// writeChunk writes what is not empty as one chunk, with one call to the kernel.
func writeChunk(c net.Conn, out []byte) error {
	k := chunks.Get().(*chunk)
	defer chunks.Put(k)
	k.buf = append(strconv.AppendInt(k.buf[:0], int64(len(out)), 16), lineEnd...)
	if len(out) <= chunkCopied {
		k.buf = append(append(k.buf, out...), lineEnd...)
		_, err := c.Write(k.buf)
		return err
	}
	k.parts = [3][]byte{k.buf, out, lineEnd}
	k.gather = k.parts[:]
	_, err := k.gather.WriteTo(c)
	clear(k.parts[:]) // or it would keep what is shared
	return err
}
