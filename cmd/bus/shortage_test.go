package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// openFiles are the files of the data directory that the server has open.
func (s *killedServer) openFiles() []string {
	s.t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		s.t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && strings.HasPrefix(name, s.dir) {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files
}

func (s *killedServer) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// publish publishes over a connection that is open.
func (s *killedServer) publish(c net.Conn, answers *bufio.Reader) {
	s.t.Helper()
	fmt.Fprintf(c, "POST /?subject=load.test HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		s.t.Fatalf("got %d %s, want 202", resp.StatusCode, text)
	}
}

// crowd asks for streams, each on a connection of its own that stays open, and
// counts how many begin and how many are turned away.
type crowd struct {
	conns          []net.Conn
	begun, refused atomic.Int64
	work           sync.WaitGroup
}

func (s *killedServer) crowd(n int) *crowd {
	s.t.Helper()
	all := &crowd{}
	for range n {
		c := s.dial()
		all.conns = append(all.conns, c)
		all.work.Go(func() {
			io.WriteString(c, "GET /?subject=load.* HTTP/1.1\r\nHost: x\r\n\r\n")
			for lines := bufio.NewScanner(c); lines.Scan(); {
				switch {
				case strings.HasPrefix(lines.Text(), "event: hello"):
					all.begun.Add(1)
				case strings.Contains(lines.Text(), `"code":"server_full"`):
					all.refused.Add(1)
				}
			}
		})
	}
	return all
}

func (s *killedServer) alive() bool {
	resp, err := http.Get("http://" + s.addr + "/livez")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// 200 subscribers come to a server that may open 64 files.
func TestExhaustedDescriptorsStopNoPublishingAndNoProbeAndPass(t *testing.T) {
	s := newKilledServer(t)
	s.pre = []string{"sh", "-c", `ulimit -n 64; exec "$0" "$@"`}
	s.start()
	c := s.dial()
	answers := bufio.NewReader(c)
	s.publish(c, answers)
	before := s.openFiles()
	all := s.crowd(200)
	s.until(func() bool { return all.begun.Load()+all.refused.Load() == 200 }) // nobody is left without an answer
	if all.begun.Load() < 20 || all.refused.Load() < 100 {
		t.Errorf("got %d streams and %d turned away, want some of each", all.begun.Load(), all.refused.Load())
	}
	for range 50 {
		s.publish(c, answers)
	}
	if !s.alive() {
		t.Error("/livez is not answered, want 200")
	}
	if got := s.openFiles(); len(before) == 0 || !slices.Equal(got, before) {
		t.Errorf("got files %v open after the publishes, want those of before, %v", got, before)
	}
	if s.says("too many open files") {
		t.Error("the server ran out of descriptors, want fewer connections than there are")
	}
	for _, c := range all.conns {
		c.Close()
	}
	all.work.Wait()
	released := time.Now()
	s.until(func() bool { // it may be turned away while the server has not yet seen the others go
		one := s.crowd(1)
		s.until(func() bool { return one.begun.Load()+one.refused.Load() == 1 })
		return one.begun.Load() == 1
	})
	t.Logf("a stream began %v after the release", time.Since(released))
	if got := s.stop(syscall.SIGTERM); got != exitOK {
		t.Errorf("got exit code %d, want 0", got)
	}
}
