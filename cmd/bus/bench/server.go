package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// run is one measurement: what it started ends with it.
type run struct {
	config *Config
	ctx    context.Context
	ends   []func()
}

func (r *run) atEnd(f func()) { r.ends = append(r.ends, f) }

func (r *run) end() {
	for i := len(r.ends) - 1; i >= 0; i-- {
		r.ends[i]()
	}
	r.ends = nil
}

// server is a bus that is measured.
type server struct {
	addr string
	pid  int // 0: not ours
	dir  string
	proc *process
	ns   string
}

// serve starts a bus on an empty directory, or takes the one that is given.
func (r *run) serve(flags ...string) (*server, error) {
	if r.config.Host != "" {
		return &server{addr: r.config.Host, ns: r.config.Subject}, nil
	}
	dir, err := os.MkdirTemp(r.config.Dir, "bus-bench-")
	if err != nil {
		return nil, err
	}
	r.atEnd(func() { os.RemoveAll(dir) })
	s := &server{dir: dir, ns: "bench"}
	if err := r.start(s, flags...); err != nil {
		return nil, err
	}
	r.atEnd(func() {
		if s.proc != nil {
			s.proc.stop()
		}
	})
	return s, nil
}

// start runs the bus of s on its directory. Pings would be counted: there are none.
func (r *run) start(s *server, flags ...string) error {
	args := append([]string{"server", "--addr", "127.0.0.1:0", "--path", s.dir, "--namespaces", s.ns, "--sync", r.config.Sync,
		"--heartbeat", "1h", "--log-format", "json", "--log-level", "INFO"}, flags...)
	proc, addr, err := startProcess(r.ctx, listening, r.config.Program, args...)
	if err != nil {
		return err
	}
	s.proc, s.addr, s.pid = proc, addr, proc.cmd.Process.Pid
	return nil
}

// listening finds the address in the line that a bus logs when it listens.
func listening(line string) (string, bool) {
	var said struct{ Msg, Addr string }
	if json.Unmarshal([]byte(line), &said) != nil || said.Msg != "listening" {
		return "", false
	}
	return said.Addr, true
}

// ready waits until the server says that it is.
func (s *server) ready(ctx context.Context) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the server at %s is not ready: %w", s.addr, ctx.Err())
		}
	}
}

// usage is zero for a server that is not ours.
func (s *server) usage() usage {
	if s.pid == 0 {
		return usage{}
	}
	return usageOf(s.pid)
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}
