package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/bus/client"
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
	s.until(func() bool { // those that follow at once count as the first
		s.cmd.Process.Signal(syscall.SIGTERM)
		return s.says("second signal")
	})
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

// A termination signal under load, with a hundred streams open: everything that
// was answered is there, every stream ends as an answer should and says when to
// come back, and nothing has to be cut off.
func TestAStopUnderLoadKeepsWhatWasAnsweredAndEndsStreamsCleanly(t *testing.T) {
	s := newKilledServer(t)
	s.start()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var answers atomic.Int64
	journals := make([]*journal, publishers)
	var running sync.WaitGroup
	for p := range publishers {
		journals[p] = newJournal()
		running.Go(func() { publishUntil(ctx, client.NewClient("http://"+s.addr), p, journals[p], &answers) })
	}
	ends := make(chan error, 100)
	for range cap(ends) {
		resp, err := http.Get("http://" + s.addr + "/?subject=load.*")
		if err != nil {
			t.Fatal(err)
		}
		go func() { ends <- cleanEnd(resp.Body) }()
	}
	target := answers.Load() + 500
	s.until(func() bool { return answers.Load() >= target })
	watchdog := time.AfterFunc(patience, func() { s.cmd.Process.Kill() })
	if got, want := s.stop(syscall.SIGTERM), exitOK; got != want {
		t.Errorf("got exit code %d, want %d", got, want)
	}
	watchdog.Stop()
	if s.says("cut off") {
		t.Error("requests were cut off after --shutdown-timeout, want all to end before")
	}
	for range cap(ends) {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
	// Those with keys try again until somebody answers.
	s.start()
	stop()
	running.Wait()
	if got := s.stop(syscall.SIGTERM); got != exitOK {
		t.Errorf("got exit code %d of the second server, want 0", got)
	}
	checkJournals(t, eventsIn(t, s.dir), journals)
}

// cleanEnd reads a stream and returns what is wrong with its end.
func cleanEnd(body io.ReadCloser) error {
	defer body.Close()
	retry := 0
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "retry: ") {
			retry++
		}
	}
	if lines.Err() != nil || retry != 2 {
		return fmt.Errorf("a stream ended with %v after %d times retry:, want a clean end with a second one", lines.Err(), retry)
	}
	return nil
}
