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
// the first frames were written by net/http, which has forgotten it since.
type connPeer struct {
	owner     *connPeers
	key       uint64 // in owner.open
	conn      net.Conn
	chunked   bool // HTTP/1.1
	timeout   time.Duration
	stream    *stream
	unasked   atomic.Int64 // bytes
	lingering atomic.Bool  // the stream is over
	shut      atomic.Bool
}

// watch sees the peer leave, in a goroutine of its own: where there is no
// lookout.
func (p *connPeer) watch() {
	defer p.lost()
	var some [64]byte
	for {
		n, err := p.conn.Read(some[:])
		if err != nil || !p.heard(n) {
			return
		}
	}
}

// look does what watch does, once the lookout has told, and does not wait.
func (p *connPeer) look(l *lookout, buf []byte) {
	c := wire(p.conn)
	for {
		n, err := readNow(c, buf)
		switch {
		case err != nil || !p.heard(n):
			p.lost()
			return
		case n == 0:
			if l.watchAgain(c, p.key) != nil {
				p.lost() // or nobody would see it leave
			}
			return
		}
	}
}

// heard throws away what came unasked, so that it is never carried out, and
// reports whether the peer is still borne with.
func (p *connPeer) heard(n int) bool { return p.unasked.Add(int64(n)) <= maxUnasked }

func (p *connPeer) lost() {
	p.stream.lose()
	if p.lingering.Load() {
		p.close()
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
		return writeChunk(&p.owner.chunks, wire(p.conn), out)
	}
	_, err := p.conn.Write(out)
	return err
}

// end closes the connection. Over HTTP/1.0 a clean end looks like any other.
func (p *connPeer) end(clean bool) {
	if clean && p.chunked {
		p.conn.SetWriteDeadline(time.Now().Add(p.timeout))
		_, err := p.conn.Write(lastChunk)
		clean = err == nil
	}
	if clean && p.unasked.Load() > 0 && !p.stream.gone.Load() {
		p.linger()
		return
	}
	p.close()
}

// linger ends what is sent, and closes the connection when the peer has, or soon.
func (p *connPeer) linger() {
	p.lingering.Store(true)
	if c, ok := wire(p.conn).(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil || p.stream.gone.Load() {
		p.close()
		return
	}
	time.AfterFunc(lingers, p.close)
}

// close may be called more than once.
func (p *connPeer) close() {
	if p.shut.CompareAndSwap(false, true) {
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

// writeChunk writes what is not empty as one chunk, with one call to the kernel.
func writeChunk(kept *sync.Pool, c net.Conn, out []byte) error {
	k, ok := kept.Get().(*chunk)
	if !ok {
		k = &chunk{buf: make([]byte, 0, chunkCopied+16)}
	}
	defer kept.Put(k)
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
