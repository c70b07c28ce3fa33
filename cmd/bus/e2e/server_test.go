//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a bus on loopback that can be killed and started again on the same
// port and directory.
type server struct {
	t     *testing.T
	args  []string
	addr  string // 127.0.0.1:0 until it has once said where it listens
	child *process
}

// startServer starts a bus for namespaces in a new directory.
func startServer(t *testing.T, namespaces string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, addr: "127.0.0.1:0"}
	s.args = append([]string{"server", "--path", t.TempDir(), "--namespaces", namespaces}, flags...)
	s.start()
	return s
}

func (s *server) url() string { return "http://" + s.addr }

// start returns when the server listens. On a restart the port may for a
// moment belong to the far end of a connection that is still closing, so a
// refusal to listen is tried again.
func (s *server) start() {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !s.tryStart() {
		if time.Now().After(deadline) || !strings.Contains(s.child.talk.String(), "address already in use") {
			s.t.Fatalf("the server did not start:\n%s", s.child.talk)
		}
	}
}

func (s *server) tryStart() bool {
	s.t.Helper()
	listening := make(chan string, 1)
	s.child = launch(s.t, command{
		name:   os.Getenv(binaryVariable),
		args:   append(s.args, "--addr", s.addr),
		stderr: (&logWatch{t: s.t, listening: listening}).line,
	})
	select {
	case s.addr = <-listening:
		return true
	case <-s.child.exited:
		return false
	case <-time.After(patience):
		s.t.Fatalf("the server does not listen after %v:\n%s", patience, s.child.talk)
		return false
	}
}

// kill is kill -9: nothing is finished, nothing is said.
func (s *server) kill() { s.child.kill() }

// stop asks the server to end as systemd and Docker do, and wants exit code 0.
func (s *server) stop() {
	s.t.Helper()
	s.child.end(syscall.SIGTERM)
	if s.child.err != nil {
		s.t.Errorf("the server's end: got %v, want exit code 0", s.child.err)
	}
}

// logWatch reads the server's log. Whatever else a test looks at, an error in
// the log, a panic or a data race fails it.
type logWatch struct {
	t         *testing.T
	listening chan<- string
	once      sync.Once
}

func (w *logWatch) line(text string) {
	var entry struct{ Level, Msg, Addr string }
	if json.Unmarshal([]byte(text), &entry) != nil {
		if strings.Contains(text, "DATA RACE") || strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:") {
			w.t.Errorf("the server said %q", text)
		}
		return
	}
	if entry.Level == "ERROR" {
		w.t.Errorf("the server logged %s", text)
	}
	if entry.Msg == "listening" {
		w.once.Do(func() { w.listening <- entry.Addr })
	}
}
