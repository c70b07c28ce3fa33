package server

import (
	"bytes"
	"io"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// plainRoom is what a plain publish may have, head and body together. A
// connection holds as much while it waits, which is what net/http holds too.
const plainRoom = 4 << 10

// idleTimeout is how long a connection may be silent between requests.
const idleTimeout = 2 * time.Minute

// A deadline is moved only when it would come too early, and then by so much
// more than was asked for: moving one costs as much as reading a request's head,
// and net/http does it six times for each.
const deadlineSlack = 16 // a sixteenth of the time that is given

// bodyMoment is how long a plain publish may be in arriving. A stop waits as long.
const bodyMoment = 100 * time.Millisecond

// What a connection is at. Only its own goroutine leaves plainBusy.
const (
	plainIdle  = iota // waiting for a request; who ends it may close it
	plainBusy         // a request has begun
	plainEnded        // closed while it was idle
)

// plainConn is a connection of which all requests so far were plain publishes.
// It belongs to its goroutine, but for state.
type plainConn struct {
	server *Server
	conn   *gateConn
	door   *plainDoor
	state  atomic.Int32
	headBy time.Time // if it is set, when the head of the request has to be there
	readBy time.Time // the read deadline that is set
	wrote  time.Time // the write deadline that is set

	in     []byte // what was read and is not answered
	head   []byte // of the last request: the next has the same but for chance
	length int    // of the body, as head says
	served bool   // a request was answered

	like   *http.Request // as head says; its Header and URL are those of all like it
	body   plainBody
	ctx    *plainContext // of the request at hand
	answer plainAnswer
}

func newPlainConn(s *Server, c *gateConn, d *plainDoor) *plainConn {
	p := &plainConn{server: s, conn: c, door: d, headBy: headTime(s)}
	p.answer.header = make(http.Header)
	return p
}

// headTime is when a head that begins now has to be there; zero: whenever.
func headTime(s *Server) time.Time {
	if s.config.HeadTimeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(s.config.HeadTimeout)
}

// serve answers plain publishes until something else comes, or the end.
func (c *plainConn) serve() {
	defer c.door.peers.remove(c)
	kept := true
	defer func() { // also when a handler ends its goroutine
		if kept {
			c.conn.Close()
		}
	}()
	defer c.recovered()
	c.in = make([]byte, 0, plainRoom)
	for c.await() {
		size := c.recognise()
		if size == 0 {
			kept = false
			c.handOver()
			return
		}
		if !c.respond(size) {
			return
		}
	}
}

// recovered ends a connection whose handler panicked, as net/http does: without
// an answer, since nobody knows how far it came.
func (c *plainConn) recovered() {
	cause := recover()
	if cause == nil {
		return
	}
	if c.ctx != nil {
		c.ctx.end()
	}
	if cause != http.ErrAbortHandler {
		c.server.http.ErrorLog.Printf("http: panic serving %v: %v\n%s", c.conn.RemoteAddr(), cause, debug.Stack())
	}
}

// handOver leaves the connection to net/http as if nothing of it had been read.
func (c *plainConn) handOver() {
	c.conn.SetDeadline(time.Time{}) // an old one would cut an answer that sets none
	c.conn.ahead = bytes.Clone(c.in)
	c.conn.headBy = c.headBy
	c.door.handOver(c.conn)
}

// await waits for the beginning of a request, and reports whether there is one.
// After the first, net/http wants four bytes before it looks at any, and passes
// over line ends that old clients send after a body: so it is here.
func (c *plainConn) await() bool {
	if !c.served {
		c.setReadDeadline(c.headBy, 0)
		return c.fill(1) == nil && c.begin()
	}
	if len(c.in) < minRequest {
		c.setReadDeadline(time.Now().Add(idleTimeout), idleTimeout/deadlineSlack)
	}
	if c.fill(minRequest) != nil {
		return false
	}
	if n := lineEnds(c.in[:minRequest]); n > 0 {
		c.drop(n)
	}
	c.wholeHead()
	// net/http takes the preface of HTTP/2 only where a connection begins, which
	// is what it would take this for.
	return !bytes.HasPrefix(c.in, []byte("PRI ")) && c.begin()
}

// wholeHead waits for the rest of a head, as long as one may take: a stop ends
// the connection meanwhile, since nothing was begun. If it does not come, or is
// more than a plain publish may have, net/http says so.
func (c *plainConn) wholeHead() {
	if bytes.Contains(c.in, headEnd) {
		return
	}
	c.headBy = headTime(c.server)
	c.setReadDeadline(c.headBy, 0)
	for len(c.in) < cap(c.in) && c.fill(len(c.in)+1) == nil && !bytes.Contains(c.in, headEnd) {
	}
}

const minRequest = 4

func lineEnds(some []byte) (n int) {
	for _, b := range some {
		if b != '\r' && b != '\n' {
			break
		}
		n++
	}
	return n
}

// fill reads until there are n bytes.
func (c *plainConn) fill(n int) error {
	for len(c.in) < n {
		more, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+more]
		if err != nil && len(c.in) < n {
			return err
		}
	}
	return nil
}

// begin marks the connection busy, and reports false once the server stops:
// what comes then is not begun.
func (c *plainConn) begin() bool {
	c.state.CompareAndSwap(plainIdle, plainBusy)
	return c.state.Load() == plainBusy && !c.door.peers.closing.Load()
}

// drop removes what is done with.
func (c *plainConn) drop(n int) { c.in = c.in[:copy(c.in, c.in[n:])] }

// recognise returns how long the request is that stands at the beginning of what
// was read, 0 when it is none for here.
func (c *plainConn) recognise() int {
	end := bytes.Index(c.in, headEnd)
	if end < 0 {
		return 0
	}
	head := c.in[:end+len(lineEnd)]
	if !bytes.Equal(head, c.head) && !c.learn(head) {
		return 0
	}
	size := end + len(headEnd) + c.length
	if size > len(c.in) && (size > cap(c.in) || !c.quickly(size)) {
		return 0
	}
	c.body.rest = c.in[end+len(headEnd) : size]
	return size
}

// quickly reads until there are n bytes, for a moment: many clients send a body
// behind its head, in a piece of its own. Who takes longer waits with net/http.
func (c *plainConn) quickly(n int) bool {
	c.setReadDeadline(time.Now().Add(bodyMoment), 0)
	return c.fill(n) == nil
}

// learn makes a request of a head. What one says depends on nothing else, so it
// is good for all that are the same.
func (c *plainConn) learn(head []byte) bool {
	c.head = c.head[:0]
	h, ok := parsePlainHead(head)
	if !ok {
		return false
	}
	c.like = h.request()
	if from := c.conn.RemoteAddr(); from != nil {
		c.like.RemoteAddr = from.String()
	}
	c.like.Body = &c.body
	c.head, c.length = append(c.head, head...), h.length
	return true
}

// respond has a request answered, and reports whether another may follow.
func (c *plainConn) respond(size int) bool {
	c.answer.begin()
	c.ctx = &plainContext{conn: c.conn}
	c.server.http.Handler.ServeHTTP(&c.answer, c.like.WithContext(c.ctx))
	more, watched := c.ctx.end()
	if watched { // which has taken the read deadline away
		c.readBy = time.Time{}
	}
	c.drop(size)
	c.in = append(c.in, more...) // fits: what was dropped is longer
	if !c.write(c.door.peers.closing.Load()) {
		return false
	}
	c.served, c.headBy = true, time.Time{}
	c.state.Store(plainIdle)
	return !c.door.peers.closing.Load() // or nobody would see that it is idle
}

// write sends the answer, and reports whether the connection lives on.
func (c *plainConn) write(ending bool) bool {
	out, ends := c.answer.bytes(ending)
	c.setWriteDeadline(c.answer.writeBy)
	_, err := c.conn.Write(out)
	c.answer.rest()
	return err == nil && !ends
}

// setReadDeadline leaves a deadline that is not earlier than t, and not later by
// more than the slack.
func (c *plainConn) setReadDeadline(t time.Time, slack time.Duration) {
	if c.readBy.Before(t) || c.readBy.After(t.Add(slack)) {
		c.readBy = t.Add(slack)
		c.conn.SetReadDeadline(c.readBy)
	}
}

// setWriteDeadline does the same; without a time there is none, and one that is
// left behind would cut this answer.
func (c *plainConn) setWriteDeadline(t time.Time) {
	slack := c.server.config.WriteTimeout / deadlineSlack
	if !c.wrote.Before(t) && !c.wrote.After(t.Add(slack)) {
		return
	}
	if c.wrote = t; !t.IsZero() {
		c.wrote = t.Add(slack)
	}
	c.conn.SetWriteDeadline(c.wrote)
}

// plainBody is a body that has arrived.
type plainBody struct{ rest []byte }

// Read tells the end with the last bytes, as net/http does.
func (b *plainBody) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if len(b.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *plainBody) Close() error { return nil }
