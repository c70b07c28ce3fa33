package server

import (
	"net"
	"syscall"
	"time"
)

// userTimeout is TCP_USER_TIMEOUT, which package syscall does not name.
const userTimeout = 0x12

// letGoUnheard has the kernel end a connection of which nothing that was sent is
// acknowledged for so long. A peer whose machine is gone takes the pings of an
// idle stream into the buffers of ours, so that no write ever meets its
// deadline, and would hold its stream for a quarter of an hour otherwise.
func letGoUnheard(c net.Conn, after time.Duration) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// A kernel that will not have it lets go later, by its own time-outs.
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int(after.Milliseconds()))
	})
}
