package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

// stuckRequest begins a publish whose body never comes.
func stuckRequest(t *testing.T, s *killedServer) {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// The server asks for the body once it has begun with the request.
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", s.addr)
	answer := make([]byte, 64)
	if n, err := conn.Read(answer); err != nil || !bytes.Contains(answer[:n], []byte("100 Continue")) {
		t.Fatalf("got %q and %v, want the body asked for", answer[:n], err)
	}
}

func (s *killedServer) says(text string) bool {
	log, _ := os.ReadFile(s.log)
	return bytes.Contains(log, []byte(text))
}

func TestSecondSignalEndsTheServerAtOnce(t *testing.T) {
	s := newKilledServer(t)
	s.start("--shutdown-timeout", "1h")
	stuckRequest(t, s)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return s.says(`"msg":"stopping"`) })
	if got, want := s.stop(syscall.SIGTERM), exitFailed; got != want {
		t.Errorf("got exit code %d, want %d", got, want)
	}
	if !s.says("second signal") {
		t.Error("got no word of why it ended, want one")
	}
}

func TestRequestsThatDoNotFinishAreCutOff(t *testing.T) {
	s := newKilledServer(t)
	s.start("--shutdown-timeout", "50ms")
	stuckRequest(t, s)
	if got, want := s.stop(os.Interrupt), exitOK; got != want {
		t.Errorf("got exit code %d, want %d", got, want)
	}
	if !s.says("cut off") {
		t.Error("got no word of the requests, want one")
	}
}
