package server

import (
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestTheKernelIsToldHowLongAPeerMayAcknowledgeNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(0, time.Second, 30*time.Second, slog.New(slog.DiscardHandler), func() {})
	gated := g.listen(l)
	defer gated.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := gated.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*gateConn).Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if e := raw.Control(func(fd uintptr) {
		got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout)
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if want := 30_000; got != want {
		t.Errorf("got TCP_USER_TIMEOUT %d ms, want %d", got, want)
	}
}
