//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a child in a process group of its own, so that what it starts
// (Chromium starts a dozen) ends with it, and nothing else does.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	talk   *transcript
	exited chan struct{} // closed once it is gone and all it said has been read
	err    error         // of Wait; read after exited
}

// command is what to start. Each complete line goes to the function of its
// stream, from one goroutine a stream, and into the transcript.
type command struct {
	name   string
	args   []string
	env    []string // beside ours
	stdout func(line string)
	stderr func(line string)
}

// launch starts a command and ends it with the test, if it has not ended.
func launch(t *testing.T, c command) *process {
	t.Helper()
	p := &process{cmd: exec.Command(c.name, c.args...), talk: &transcript{}, exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.env...)
	p.cmd.Stdout = &lineWriter{talk: p.talk, handle: c.stdout}
	p.cmd.Stderr = &lineWriter{talk: p.talk, handle: c.stderr}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 10 * time.Second
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", c.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		p.talk.add("(ended: " + p.cmd.ProcessState.String() + ")")
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said last:\n%s", c.name, p.talk)
		}
	})
	return p
}

// kill is kill -9 for the process and its children. It returns when they are
// gone; a second call does nothing.
func (p *process) kill() { p.end(syscall.SIGKILL) }

func (p *process) end(signal syscall.Signal) {
	select {
	case <-p.exited:
		return
	default:
	}
	// The group has the number of its first process, which is ours until Wait
	// has returned.
	target := p.cmd.Process.Pid
	if signal == syscall.SIGKILL {
		target = -target
	}
	syscall.Kill(target, signal)
	<-p.exited
}

// wantExit0 waits for the process to end by itself.
func (p *process) wantExit0(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("%s has not ended after %v", p.cmd.Path, patience)
	}
	if p.err != nil {
		t.Fatalf("%s: %v", p.cmd.Path, p.err)
	}
}

// transcript keeps the last lines that a process said.
type transcript struct {
	mu    sync.Mutex
	lines []string
}

const transcriptLines = 40

func (tr *transcript) add(line string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, line)
	if over := len(tr.lines) - transcriptLines; over > 0 {
		tr.lines = tr.lines[over:]
	}
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.lines, "\n")
}

// lineWriter cuts a stream into lines. exec gives each stream one goroutine.
type lineWriter struct {
	talk   *transcript
	handle func(line string)
	rest   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		text := string(line)
		w.rest = rest
		w.talk.add(text)
		if w.handle != nil {
			w.handle(text)
		}
	}
}
