package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	secret = "a secret of the harness that is long enough"
	// patience is how long anything may take that has to happen. It is no
	// measure of speed: several of these run beside other work on a small machine.
	patience = 60 * time.Second
)

// namespaces are two, so that a stream of events and a reader can have both.
var namespaces = []string{"a", "b"}

// server is a real bus process, started again and again on one address and one
// directory.
type server struct {
	binary string
	addr   string
	dir    string   // of the logs
	log    string   // what all processes have said, one after the other
	flags  []string // beside address, directory and namespaces
	below  []string // what runs the binary, strace for one
	cmd    *exec.Cmd
	ended  chan struct{}
	from   int64 // where this process begins in log
}

func newServer(binary, dir, log string, flags ...string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close() // only its number is wanted
	return &server{binary: binary, addr: l.Addr().String(), dir: dir, log: log, flags: flags}, nil
}

func (s *server) url() string { return "http://" + s.addr }

// start returns when the server answers. One that ends instead has not opened
// its directory, which is a fault.
func (s *server) start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		select {
		case <-s.ended:
			return fmt.Errorf("%w: the server did not open: %s\n%s", errFault, s.cmd.ProcessState, indent(s.said()))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.kill())
		case <-deadline:
			return errors.Join(fmt.Errorf("%w: the server did not listen within %s\n%s", errFault, patience, indent(s.said())), s.kill())
		case <-tick.C:
			if strings.Contains(s.said(), `"msg":"listening"`) {
				return nil
			}
		}
	}
}

func (s *server) launch() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if s.from, err = log.Seek(0, 2); err != nil {
		return err
	}
	args := append([]string{"server", "--addr", s.addr, "--path", s.dir, "--namespaces", strings.Join(namespaces, ",")}, s.flags...)
	args = append(append(slices.Clone(s.below), s.binary), args...)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended, cmd := make(chan struct{}), s.cmd
	s.ended = ended
	go func() {
		defer close(ended)
		cmd.Wait() // its state is read after ended
	}()
	return nil
}

// said is the log of the process that was started last.
func (s *server) said() string {
	b, err := os.ReadFile(s.log)
	if err != nil || int64(len(b)) < s.from {
		return ""
	}
	return string(b[s.from:])
}

// kill ends the process as a power cut or the kernel would: without a word. It
// returns when it is gone, and does nothing when none runs.
func (s *server) kill() error {
	_, err := s.stop(syscall.SIGKILL)
	return err
}

// stop sends a signal and returns the exit code, -1 for a process that was killed.
func (s *server) stop(signal os.Signal) (int, error) {
	if s.cmd == nil {
		return 0, nil
	}
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		<-s.ended
		return 0, fmt.Errorf("%w: the server did not end within %s of %v", errFault, patience, signal)
	}
	code := s.cmd.ProcessState.ExitCode()
	s.cmd = nil
	return code, nil
}

// complaints are lines that no kill explains: panics, data races, and, unless
// the disk was taken away, errors.
func (s *server) complaints(errorsToo bool) []string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return []string{err.Error()}
	}
	marks := [][]byte{[]byte("panic:"), []byte("fatal error:"), []byte("DATA RACE")}
	if errorsToo {
		marks = append(marks, []byte(`"level":"ERROR"`))
	}
	var all []string
	for line := range bytes.Lines(b) {
		for _, mark := range marks {
			if bytes.Contains(line, mark) {
				all = append(all, string(bytes.TrimSpace(line)))
			}
		}
	}
	return all
}

// verify has the product read every byte of the logs.
func (s *server) verify(ctx context.Context) error {
	out, err := s.command(ctx, "verify").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: bus verify: %w\n%s", errFault, err, indent(string(out)))
	}
	return nil
}

// dump reads what is in the directory without a server. Of a log that cannot be
// read there is nothing.
func (s *server) dump(ctx context.Context) map[string][]event {
	all := make(map[string][]event)
	for _, namespace := range namespaces {
		out, err := s.command(ctx, "dump", "--namespaces", namespace).Output()
		if err != nil {
			continue
		}
		for line := range bytes.Lines(out) {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Index > 0 { // not the first and last line
				all[namespace] = append(all[namespace], e)
			}
		}
	}
	return all
}

// command is another command of the binary on the same directory.
func (s *server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	args = append([]string{name, "--path", s.dir}, args...)
	if strings.Contains(strings.Join(s.flags, " "), "--secret-key") {
		args = append(args, "--secret-key", secret)
	}
	return exec.CommandContext(ctx, s.binary, args...)
}
