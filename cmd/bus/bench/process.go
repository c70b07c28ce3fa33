package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server that we started and that ends with us.
type process struct {
	cmd  *exec.Cmd
	said tailBuffer
	done chan struct{} // closed when it has ended
	err  error         // how, once done is closed
}

// startProcess runs a program, and waits until a line of what it says is taken
// by ready, which returns the address it listens on.
func startProcess(ctx context.Context, ready func(line string) (addr string, ok bool), program string, args ...string) (*process, string, error) {
	p := &process{cmd: exec.Command(program, args...), done: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, "", fmt.Errorf("start %s: %w", program, err)
	}
	found := make(chan string, 1)
	go func() {
		defer r.Close()
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			p.said.add(lines.Text())
			if addr, ok := ready(lines.Text()); ok {
				select {
				case found <- addr:
				default:
				}
			}
		}
		io.Copy(io.Discard, r) // a line too long: it must not wait for us
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	select {
	case addr := <-found:
		return p, addr, nil
	case <-p.done:
		return nil, "", fmt.Errorf("%s ended: %w: %s", program, orNone(p.err), p.said.text())
	case <-ctx.Done():
		p.stop()
		return nil, "", ctx.Err()
	}
}

func orNone(err error) error {
	if err == nil {
		return errors.New("with exit code 0")
	}
	return err
}

// stop ends the process, gently first. A second call does nothing.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.kill()
	}
}

// kill ends it at once.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// usage is what a process has used and holds, as far as the system tells.
type usage struct {
	cpu    time.Duration
	memory int64 // resident
}

// usageOf reads /proc, which is there on Linux only; elsewhere it is zero.
func usageOf(pid int) usage {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return u
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(string(fields[i]), 10, 64)
		return n
	}
	u.cpu = time.Duration(number(11)+number(12)) * tick
	u.memory = number(21) * int64(os.Getpagesize())
	return u
}

// tailBuffer keeps the last lines a process has said, to explain its end.
type tailBuffer struct {
	mu    sync.Mutex
	lines []string
}

func (b *tailBuffer) add(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines = append(b.lines, line); len(b.lines) > 10 {
		b.lines = b.lines[1:]
	}
}

func (b *tailBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "; ")
}
