package server

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// lookout tells when something comes on any of many connections, or their peers
// leave. It has one goroutine for all: one that waits in a read for each would
// be most of what an idle stream costs.
type lookout struct {
	file *os.File // of an epoll instance, which the runtime polls in its turn
	poll syscall.RawConn
	done chan struct{} // closed when its goroutine has ended
}

// What is looked out for. It is told once; watchAgain arms it anew.
const lookoutEvents = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT

// newLookout calls seen, always from one goroutine, with the key of a connection
// on which something has come.
func newLookout(seen func(key uint64)) (*lookout, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // or the runtime would not poll it
		syscall.Close(fd)
		return nil, err
	}
	l := &lookout{file: os.NewFile(uintptr(fd), "lookout"), done: make(chan struct{})}
	l.poll, err = l.file.SyscallConn()
	if err == nil {
		err = l.file.SetReadDeadline(time.Time{}) // fails where it is not polled
	}
	if err != nil {
		l.file.Close()
		return nil, err
	}
	go l.run(seen)
	return l, nil
}

func (l *lookout) run(seen func(key uint64)) {
	defer close(l.done)
	var events [64]syscall.EpollEvent
	for {
		n := 0
		err := l.poll.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events[:], 0)
			return n != 0 // an interruption is one time more
		})
		if err != nil {
			return // closed
		}
		for _, e := range events[:max(n, 0)] {
			seen(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
		}
	}
}

// watch looks out for a connection, until it is closed. It fails for what is no
// socket, and when the lookout is closed.
func (l *lookout) watch(c net.Conn, key uint64) error {
	return l.control(c, key, syscall.EPOLL_CTL_ADD)
}

// watchAgain is for a connection that was told.
func (l *lookout) watchAgain(c net.Conn, key uint64) error {
	return l.control(c, key, syscall.EPOLL_CTL_MOD)
}

// control holds on to both descriptors meanwhile: a number may be another
// connection's by the next moment.
func (l *lookout) control(c net.Conn, key uint64, op int) error {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	event := syscall.EpollEvent{Events: lookoutEvents, Fd: int32(key), Pad: int32(key >> 32)}
	var closed, failed error
	err = l.poll.Control(func(poll uintptr) {
		closed = raw.Control(func(fd uintptr) {
			failed = syscall.EpollCtl(int(poll), op, int(fd), &event)
		})
	})
	return errors.Join(err, closed, failed)
}

// close ends it, and waits for a call of seen that is under way. A second call
// does the same.
func (l *lookout) close() {
	l.file.Close()
	<-l.done
}

// readNow reads what is there and does not wait: n is 0 when nothing is. An error
// says that there will be nothing more.
func readNow(c net.Conn, buf []byte) (n int, err error) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, failed = syscall.Read(int(fd), buf)
		return true
	})
	switch {
	case err != nil:
		return 0, err
	case failed == syscall.EAGAIN || failed == syscall.EINTR:
		return 0, nil
	case failed != nil:
		return 0, failed
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
