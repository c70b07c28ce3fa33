package sim

import (
	"context"
	"errors"
	"net"
	"sync"
)

// memoryNet is a listener whose connections are pipes. Cutting it is what the
// death of the process does to its peers.
type memoryNet struct {
	accept chan net.Conn
	closed chan struct{}

	mu    sync.Mutex // guards the rest
	conns []net.Conn
	dead  bool
}

func newMemoryNet() *memoryNet {
	return &memoryNet{accept: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *memoryNet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	if !n.hold(ours, theirs) {
		return nil, errors.New("nobody listens")
	}
	select {
	case n.accept <- theirs:
		return ours, nil
	case <-n.closed:
		return nil, errors.New("nobody listens any more")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *memoryNet) hold(conns ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		return false
	}
	n.conns = append(n.conns, conns...)
	return true
}

func (n *memoryNet) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *memoryNet) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.dead {
		n.dead = true
		close(n.closed)
	}
	return nil
}

func (n *memoryNet) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2021} }

// cut ends every connection at both ends, with whatever was under way.
func (n *memoryNet) cut() {
	n.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Close()
	}
}
