package bench

import (
	"context"
	"net"
	"os"
	"sync"
	"time"
)

// run is one measurement: what it started ends with it.
type run struct {
	config *Config
	ctx    context.Context
	system *system
	sync   string // instead of the config's
	ends   []func()
	group  sync.WaitGroup
}

// atEnd adds what is done at the end, the last first. It is for one goroutine.
func (r *run) atEnd(f func()) { r.ends = append(r.ends, f) }

// end closes, stops and removes everything, and waits for it.
func (r *run) end() {
	for i := len(r.ends) - 1; i >= 0; i-- {
		r.ends[i]()
	}
	r.ends = nil
	r.group.Wait()
}

// server is what is measured.
type server struct {
	addr    string
	pid     int // 0: not ours
	dir     string
	ns      string
	subject string // that is published to
	stop    func() // ends it gently; nil: not ours
	kill    func() // at once
	dialect
}

// fresh tells whether the log began with this run, so that nobody else's events
// are in it.
func (s *server) fresh() bool { return s.stop != nil }

// serve starts a server on an empty directory, or takes the one that is given.
func (r *run) serve(flags ...string) (*server, error) {
	s := &server{ns: "bench", subject: "bench.created", dialect: r.system.dialect}
	if r.config.Host != "" {
		s.addr, s.ns = r.config.Host, r.config.Namespace
		s.subject = s.ns + ".bench-" + token()
		return s, nil
	}
	var err error
	if s.dir, err = os.MkdirTemp(r.config.Dir, "bus-bench-"); err != nil {
		return nil, err
	}
	r.atEnd(func() { os.RemoveAll(s.dir) })
	r.atEnd(func() {
		if s.stop != nil {
			s.stop()
		}
	})
	if err := s.launch(r, s, flags...); err != nil {
		return nil, err
	}
	return s, s.prepare(r, s)
}

// run has a process serve, until it is stopped or killed. Each may be called
// again, and does nothing then.
func (s *server) run(p *process, addr string) {
	s.addr, s.pid, s.stop, s.kill = addr, p.cmd.Process.Pid, p.stop, p.kill
}

// usage is zero for a server that is not ours.
func (s *server) usage() usage {
	if s.pid == 0 {
		return usage{}
	}
	return usageOf(s.pid)
}

// dial opens a connection that ends with the run, or when ctx ends: whoever
// waits for it does not wait any longer.
func (r *run) dial(ctx context.Context, s *server) (net.Conn, error) {
	d := net.Dialer{Timeout: r.config.patience}
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	forget := context.AfterFunc(ctx, func() { c.Close() })
	r.atEnd(func() { forget(); c.Close() })
	return c, nil
}

// warmUp is how long something runs before it is measured.
func (r *run) warmUp() time.Duration { return min(r.config.Time/4, 500*time.Millisecond) }
