package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/bus"
)

// gate bounds the connections that are open at once. The last of them are held
// back: on those a probe, or a person with curl, still gets in, and everybody
// else is told that the server is full, in words that a client understands,
// before the connection ends. Behind them the kernel's queue keeps who knocks,
// so that a flood costs no descriptors, no work and no lines in the log.
type gate struct {
	most    int           // 0: no limit
	normal  int           // above this many, a connection is one held back
	slots   chan struct{} // one for each open connection; nil without a limit
	wait    time.Duration // for all that one held back has to say: it must not keep a probe out
	unheard time.Duration // a peer that acknowledges nothing for so long is let go; more than a write has, which says why
	open    atomic.Int64

	freed  chan struct{} // holds a token when a connection has ended
	errors func()        // counts a failed accept
	log    *slog.Logger
	full   quiet
	failed quiet
}

// Connections that are held back: an eighth, so that a small limit has some, and
// no more than serve a few probes and people.
const (
	heldBackPart = 8
	heldBackMost = 32
)

// How long to wait after a failed accept when nothing ends meanwhile.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// unheardFor is how much longer than for a write a peer may acknowledge nothing:
// who is only slow must meet the deadline of a write first, which says why.
const unheardFor = time.Minute

func newGate(most int, wait, unheard time.Duration, log *slog.Logger, failed func()) *gate {
	g := &gate{most: max(most, 0), wait: wait, unheard: unheard, freed: make(chan struct{}, 1), errors: failed, log: log}
	g.full.every, g.failed.every = time.Minute, time.Minute
	if g.most > 0 {
		g.slots = make(chan struct{}, g.most)
		g.normal = g.most - min(g.most/heldBackPart, heldBackMost)
	}
	return g
}

// gateListener lets connections in as the gate has room.
type gateListener struct {
	net.Listener
	gate   *gate
	closed chan struct{}
	once   atomic.Bool
}

func (g *gate) listen(l net.Listener) net.Listener {
	return &gateListener{Listener: l, gate: g, closed: make(chan struct{})}
}

// Close ends Accept, also one that waits for room.
func (l *gateListener) Close() error {
	if l.once.CompareAndSwap(false, true) {
		close(l.closed)
	}
	return l.Listener.Close()
}

// Accept waits for room before it takes a connection from the kernel. A want of
// descriptors or memory is waited out: it must neither end the server nor keep
// it busy.
func (l *gateListener) Accept() (net.Conn, error) {
	if !l.gate.take(l.closed) {
		return nil, net.ErrClosed
	}
	for pause := acceptPauseMin; ; pause = min(2*pause, acceptPauseMax) {
		c, err := l.Listener.Accept()
		if err == nil {
			letGoUnheard(c, l.gate.unheard)
			return l.gate.admit(c), nil
		}
		if !shortage(err) || !l.gate.outlast(err, pause, l.closed) {
			l.gate.giveBack()
			return nil, err
		}
	}
}

// shortage reports whether an accept failed for want of something that comes
// back, descriptors above all.
func shortage(err error) bool {
	for _, want := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// take waits for a free slot, and reports false when the listener was closed.
func (g *gate) take(closed chan struct{}) bool {
	if g.slots == nil {
		return true
	}
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	g.full.warn(g.log, "no more connections are accepted until some end; allow more with --max-connections, or limit them in a proxy", "open", g.open.Load())
	select {
	case g.slots <- struct{}{}:
		return true
	case <-closed:
		return false
	}
}

func (g *gate) giveBack() {
	if g.slots != nil {
		<-g.slots
	}
}

// outlast waits until trying again makes sense, and reports false when the
// listener was closed.
func (g *gate) outlast(err error, pause time.Duration, closed chan struct{}) bool {
	g.errors()
	g.failed.warn(g.log, "connections cannot be accepted; if it lacks descriptors, raise them with ulimit -n or LimitNOFILE=, or lower --max-connections", "error", err, "open", g.open.Load())
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-closed:
		return false
	case <-g.freed:
	case <-timer.C:
	}
	return true
}

func (g *gate) admit(c net.Conn) net.Conn {
	open := g.open.Add(1)
	gc := &gateConn{Conn: c, gate: g}
	if g.most > 0 && open > int64(g.normal) {
		gc.until = time.Now().Add(g.wait)
		gc.heldBack.Store(true)
	}
	return gc
}

// gateConn is a connection that gives its slot back when it ends.
type gateConn struct {
	net.Conn
	gate     *gate
	until    time.Time // no read deadline is later while it is held back
	heldBack atomic.Bool
	closed   atomic.Bool

	// Of a connection that was looked at before net/http got it. Who has it reads
	// and sets deadlines by turns.
	ahead  []byte    // was read, and comes again
	headBy time.Time // no later is the first read deadline
}

// Read returns first what was read before.
func (c *gateConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil // or it would be kept as long as the connection is open
	}
	return n, nil
}

// SetReadDeadline keeps to the time of a connection that is held back, and to
// that of one whose first request has begun.
func (c *gateConn) SetReadDeadline(t time.Time) error {
	if !c.headBy.IsZero() {
		if t.After(c.headBy) {
			t = c.headBy
		}
		c.headBy = time.Time{}
	}
	if c.heldBack.Load() && (t.IsZero() || t.After(c.until)) {
		t = c.until
	}
	return c.Conn.SetReadDeadline(t)
}

// Close gives the slot back with the first call, after the descriptor.
func (c *gateConn) Close() error {
	err := c.Conn.Close()
	if c.closed.CompareAndSwap(false, true) {
		c.gate.open.Add(-1)
		c.gate.giveBack()
		select {
		case c.gate.freed <- struct{}{}:
		default:
		}
	}
	return err
}

type heldBackKey struct{}

// mark lets requests know that their connection is held back. Those of others
// carry nothing.
func (g *gate) mark(ctx context.Context, c net.Conn) context.Context {
	if gc, ok := c.(*gateConn); ok && gc.heldBack.Load() {
		return context.WithValue(ctx, heldBackKey{}, gc)
	}
	return ctx
}

// isFull reports whether a request came on a connection that is held back, and
// there still is no room. If there is, the connection becomes one like any
// other. It ends after the answer otherwise: then another may knock.
func (g *gate) isFull(w http.ResponseWriter, r *http.Request) bool {
	c, _ := r.Context().Value(heldBackKey{}).(*gateConn)
	if c == nil || !c.heldBack.Load() {
		return false
	}
	if g.open.Load() <= int64(g.normal) {
		c.heldBack.Store(false)
		c.Conn.SetReadDeadline(time.Time{})
		return false
	}
	w.Header().Set("Connection", "close")
	return true
}

// refusal is what everybody but a probe is told on such a connection.
func (g *gate) refusal() error {
	return bus.ErrServerFull.With("%d connections are open, which is all there may be; come back in a moment, or allow more with bus server --max-connections", g.normal)
}
