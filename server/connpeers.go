package server

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// connPeers are the connections that streams have taken from net/http, which
// neither waits for them any more nor ends them. The zero value is ready.
type connPeers struct {
	mu   sync.Mutex // guards the rest, and connPeer.conn until it is taken
	open map[*connPeer]struct{}
	free chan struct{} // not nil while somebody waits; closed when none is open
	shut bool          // whoever comes is cut
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
	p.unasked.Store(int64(buffered.Reader.Buffered()))
	p.users.Store(2)
	s.conns.taken(p, conn)
	go p.watch()
	return p
}

func (c *connPeers) add(p *connPeer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[*connPeer]struct{})
	}
	c.open[p] = struct{}{}
}

func (c *connPeers) taken(p *connPeer, conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.conn = conn
	if c.shut {
		conn.Close()
	}
}

func (c *connPeers) remove(p *connPeer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, p)
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
	for p := range c.open {
		p.stream.wake()
	}
}

// cut closes those that are open, and those that come, whatever they are at.
func (c *connPeers) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	for p := range c.open {
		if p.conn != nil {
			p.conn.Close()
		}
	}
}
