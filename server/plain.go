package server

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// A plain publish is what most requests of a busy bus are: a small POST / that
// arrives in one piece and waits for nothing but the disk. For those net/http
// costs more than all the rest of the work, so a connection begins here, where
// they are recognised byte by byte (plainhead.go) and given to the very handler
// that net/http calls. Whatever else comes, if only a header of a name that is
// not known here, goes to net/http with all bytes that were read, and its
// connection stays there: nothing is refused here, and nothing guessed at.

// plainDoor is a listener of connections that are for net/http.
type plainDoor struct {
	net.Listener
	peers  *plainPeers
	others chan net.Conn
	failed chan error // what accepting failed with, one at a time
	closed chan struct{}
	once   sync.Once
	done   chan struct{} // closed when nobody accepts any more
}

// open accepts from l until the door is closed.
func (p *plainPeers) open(l net.Listener) *plainDoor {
	d := &plainDoor{
		Listener: l, peers: p,
		others: make(chan net.Conn), failed: make(chan error),
		closed: make(chan struct{}), done: make(chan struct{}),
	}
	go d.accept()
	return d
}

func (d *plainDoor) accept() {
	defer close(d.done)
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			select {
			case d.failed <- err: // net/http decides whether that was the end
				continue
			case <-d.closed:
				return
			}
		}
		if plain := d.peers.admit(c, d); plain != nil {
			go plain.serve()
		} else {
			d.handOver(c)
		}
	}
}

// handOver gives a connection to net/http.
func (d *plainDoor) handOver(c net.Conn) {
	select {
	case d.others <- c:
	case <-d.closed: // what came through it is served on, unless all has stopped
		last := &lastConn{Listener: d.Listener, conn: c}
		d.peers.server.http.Serve(last)
		if last.conn != nil {
			c.Close()
		}
	}
}

// lastConn is a listener of one connection.
type lastConn struct {
	net.Listener
	conn net.Conn
}

func (l *lastConn) Accept() (net.Conn, error) {
	c := l.conn
	if l.conn = nil; c == nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *lastConn) Close() error { return nil }

// Accept returns the next connection for net/http.
func (d *plainDoor) Accept() (net.Conn, error) {
	select {
	case c := <-d.others:
		return c, nil
	case err := <-d.failed:
		return nil, err
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. A second call does no more than the listener's does.
func (d *plainDoor) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Listener.Close()
}

// plainPeers are the connections that have only seen plain publishes so far.
type plainPeers struct {
	server  *Server
	closing atomic.Bool // set under mu

	mu    sync.Mutex // guards the rest
	conns map[*plainConn]struct{}
	free  chan struct{} // not nil while somebody waits; closed when there is none
}

// admit returns nil for a connection that is not to be looked at: one that is
// held back has its own rules, and one over TLS has more than its bytes to tell.
func (p *plainPeers) admit(c net.Conn, d *plainDoor) *plainConn {
	gc, ok := c.(*gateConn)
	if !ok || gc.heldBack.Load() {
		return nil
	}
	if _, secure := gc.Conn.(interface{ ConnectionState() tls.ConnectionState }); secure {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing.Load() {
		return nil
	}
	if p.conns == nil {
		p.conns = make(map[*plainConn]struct{})
	}
	plain := newPlainConn(p.server, gc, d)
	p.conns[plain] = struct{}{}
	return plain
}

func (p *plainPeers) remove(c *plainConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	if len(p.conns) == 0 && p.free != nil {
		close(p.free)
		p.free = nil
	}
}

// close ends connections that are idle at once, and the others after their
// answer. Whoever comes is left to net/http, which lets nobody in either.
func (p *plainPeers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing.Store(true)
	for c := range p.conns {
		if c.state.CompareAndSwap(plainIdle, plainEnded) {
			c.conn.Close()
		}
	}
}

// wait returns nil once there is no connection, or ctx's error.
func (p *plainPeers) wait(ctx context.Context) error {
	p.mu.Lock()
	if len(p.conns) == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.free == nil {
		p.free = make(chan struct{})
	}
	free := p.free
	p.mu.Unlock()
	select {
	case <-free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cut closes all connections, whatever they are at.
func (p *plainPeers) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.conn.Close()
	}
}
