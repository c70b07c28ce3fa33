package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// connPeers are the connections that streams have taken from net/http, which
// neither waits for them any more nor ends them. The zero value is ready.
type connPeers struct {
	chunks sync.Pool // of *chunk

	mu      sync.Mutex // guards the rest, and connPeer.conn until it is taken
	open    map[uint64]*connPeer
	last    uint64        // key of the newest
	free    chan struct{} // not nil while somebody waits; closed when none is open
	shut    bool          // whoever comes is cut
	lookout *lookout      // nil: there is none (yet)
}

// take takes the connection of an answer whose head is written, and which is
// flushed. It returns nil where that cannot be: then net/http still has it.
func (s *Server) take(w http.ResponseWriter, r *http.Request, st *stream) *connPeer {
	p := &connPeer{owner: &s.conns, chunked: r.ProtoAtLeast(1, 1), timeout: s.config.WriteTimeout, stream: st}
	s.conns.add(p) // before net/http forgets it, so that somebody waits for it at any moment
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.conns.remove(p)
		return nil
	}
	p.heard(buffered.Reader.Buffered())
	if l := s.conns.taken(p, conn); l == nil || l.watch(wire(conn), p.key) != nil {
		go p.watch()
	}
	return p
}

func (c *connPeers) add(p *connPeer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[uint64]*connPeer)
	}
	c.last++
	p.key = c.last
	c.open[p.key] = p
}

// taken makes the connection known, and returns who looks out for it.
func (c *connPeers) taken(p *connPeer, conn net.Conn) *lookout {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.conn = conn
	if c.shut {
		conn.Close()
		return nil
	}
	if _, ok := wire(conn).(syscall.Conn); !ok {
		return nil // no socket: a connection in memory, or one below TLS
	}
	if c.lookout == nil {
		c.lookout, _ = newLookout(c.seen()) // without one each has a goroutine; the next may find a descriptor for it
	}
	return c.lookout
}

// seen returns what the lookout calls.
func (c *connPeers) seen() func(key uint64) {
	buf := make([]byte, 512) // what is read into, and never looked at
	return func(key uint64) {
		c.mu.Lock()
		p, l := c.open[key], c.lookout
		c.mu.Unlock()
		if p != nil { // it may be closed by now
			p.look(l, buf)
		}
	}
}

func (c *connPeers) remove(p *connPeer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, p.key)
	if len(c.open) == 0 && c.free != nil {
		close(c.free)
		c.free = nil
	}
}

// wait returns nil once none is open, or ctx's error.
func (c *connPeers) wait(ctx context.Context) error {
	c.mu.Lock()
	if len(c.open) == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.free == nil {
		c.free = make(chan struct{})
	}
	free := c.free
	c.mu.Unlock()
	select {
	case <-free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake wakes all streams.
func (c *connPeers) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.open {
		p.stream.wake()
	}
}

// cut closes those that are open, and those that come, whatever they are at.
// Nobody looks out for them any more.
func (c *connPeers) cut() {
	c.mu.Lock()
	c.shut = true
	for _, p := range c.open {
		if p.conn != nil {
			p.conn.Close()
		}
	}
	l := c.lookout
	c.mu.Unlock()
	if l != nil {
		l.close()
	}
}
