package server

import (
	"context"
	"net"
	"sync"
	"time"
)

// plainContext is the context of one plain publish: it ends when the peer leaves
// or the answer is made, and stays so, since who has it may ask it later.
// net/http looks for a peer that leaves during each request, with a goroutine and
// a call to the kernel; here somebody looks only from when the end of it is first
// waited for, which is when a log has no room or a key is being stored by another
// request.
type plainContext struct {
	conn net.Conn

	mu      sync.Mutex // guards the rest
	over    bool       // the answer is made
	gone    bool       // the peer has left
	done    chan struct{}
	watched chan struct{} // closed when nobody looks any more
	read    []byte        // what came instead: the beginning of the next request
}

// end ends it. It returns what was read meanwhile, at most one byte, and whether
// somebody looked, so that the connection's read deadline is another. A second
// call does no more.
func (x *plainContext) end() (read []byte, watched bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return nil, false
	}
	x.over = true
	if x.done == nil {
		return nil, false
	}
	x.conn.SetReadDeadline(time.Unix(1, 0)) // wakes who looks
	x.mu.Unlock()
	<-x.watched
	x.mu.Lock()
	x.conn.SetReadDeadline(time.Time{})
	if !x.gone {
		close(x.done)
	}
	return x.read, true
}

// watch waits until the peer leaves, says something or is not looked for any
// more.
func (x *plainContext) watch() {
	defer close(x.watched)
	var one [1]byte
	n, err := x.conn.Read(one[:])
	x.mu.Lock()
	defer x.mu.Unlock()
	if n > 0 {
		x.read = append(x.read, one[:n]...)
	}
	if err != nil && !x.over { // or it was only woken
		x.gone = true
		close(x.done)
	}
}

// Done implements context.Context.
func (x *plainContext) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.over {
			close(x.done)
			return x.done
		}
		x.watched = make(chan struct{})
		x.conn.SetReadDeadline(time.Time{})
		go x.watch()
	}
	return x.done
}

// Err implements context.Context.
func (x *plainContext) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || x.gone {
		return context.Canceled
	}
	return nil
}

// Deadline implements context.Context: there is none.
func (x *plainContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context: there is none.
func (x *plainContext) Value(any) any { return nil }
