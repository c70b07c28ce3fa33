package main

import (
	"net"
	"sync"
)

// fewConns is a listener that has no more than so many connections open at once;
// the next wait to be accepted. Without it whoever opens many would take the
// descriptors that the logs need.
type fewConns struct {
	net.Listener
	room chan struct{} // a token a connection
	done chan struct{} // closed with the listener
	once sync.Once
}

func newFewConns(l net.Listener, most int) *fewConns {
	return &fewConns{Listener: l, room: make(chan struct{}, most), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *fewConns) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &fewConn{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

// Close implements net.Listener. A second call does nothing.
func (l *fewConns) Close() (err error) {
	l.once.Do(func() {
		close(l.done)
		err = l.Listener.Close()
	})
	return err
}

// fewConn makes room when it is closed, once.
type fewConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *fewConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
