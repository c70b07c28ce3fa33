package bench

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// preload stores about n events in batches, over several connections, and returns
// how many there are then. The server is started anew: what is read back has to
// come from the log.
func (r *run) preload(ctx context.Context, s *server, n int, flags ...string) (int, error) {
	const batch, connections = 1000, 4
	stored := 0
	for i := range connections {
		p, err := r.publisher(ctx, s, i, batch)
		if err != nil {
			return 0, err
		}
		for len(p.indexes) < n/connections {
			if err := p.send(); err != nil {
				return 0, fmt.Errorf("preload: %w", err)
			}
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
		}
		stored += len(p.indexes)
		p.conn.Close()
	}
	s.proc.stop()
	if err := r.start(s, flags...); err != nil {
		return 0, err
	}
	return stored, s.ready(ctx)
}

// replaying reads a whole log back.
func replaying(readers int, sealed bool) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		flags, err := r.keyFlags(sealed)
		if err != nil {
			return Figures{}, err
		}
		s, err := r.serve(flags...)
		if err != nil {
			return Figures{}, err
		}
		n, err := r.preload(ctx, s, r.config.Replay, flags...)
		if err != nil {
			return Figures{}, err
		}
		before, begun := s.usage(), time.Now()
		all := make([]*subscriber, readers)
		for i := range all {
			if all[i], err = r.subscribe(ctx, s, "subject="+s.ns+".*&start=oldest", i == 0, nil); err != nil {
				return Figures{}, err
			}
		}
		for _, b := range all {
			if err := b.reach(ctx, n); err != nil {
				return Figures{}, err
			}
		}
		elapsed, after := time.Since(begun), s.usage()
		f := Figures{}
		f.cost(n*readers, elapsed, before, after)
		return f, alike(all)
	}
}

// keyFlags makes a key for a sealed log.
func (r *run) keyFlags(sealed bool) ([]string, error) {
	if !sealed {
		return nil, nil
	}
	dir, err := os.MkdirTemp(r.config.Dir, "bus-bench-key-")
	if err != nil {
		return nil, err
	}
	r.atEnd(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "key")
	// Nobody's secret: the log is thrown away with it.
	return []string{"--secret-key-file", path}, os.WriteFile(path, []byte("a key for a log that is thrown away at once"), 0o600)
}

// resuming opens streams behind an event near the end of a long log, by its id,
// and measures the time from before the connection until the next event is there.
func resuming(ctx context.Context, r *run) (Figures, error) {
	s, err := r.serve()
	if err != nil {
		return Figures{}, err
	}
	n, err := r.preload(ctx, s, r.config.Replay)
	if err != nil {
		return Figures{}, err
	}
	c, err := open(ctx, s.addr)
	if err != nil {
		return Figures{}, err
	}
	defer c.Close()
	var took []time.Duration
	before, begun := s.usage(), time.Now()
	for i := range 200 {
		id, err := idOf(c, s.ns, n-10-i)
		if err != nil {
			return Figures{}, err
		}
		at := time.Now()
		first := make(chan time.Duration, 64)
		b, err := r.subscribe(ctx, s, "subject="+s.ns+".*&start="+url.QueryEscape(id), true, func(index uint64, _ []byte) {
			if index == uint64(n-10-i+1) {
				first <- time.Since(at)
			}
		})
		if err != nil {
			return Figures{}, err
		}
		if err := b.atLeast(ctx, 1); err != nil {
			return Figures{}, err
		}
		select {
		case d := <-first:
			took = append(took, d)
		default:
			return Figures{}, fmt.Errorf("resumed behind event %d, and the next was another", n-10-i)
		}
		b.conn.Close()
	}
	elapsed, after := time.Since(begun), s.usage()
	f := Figures{}
	f.spread(took)
	f.cost(len(took), elapsed, before, after)
	f.Rate = 0
	return f, nil
}

func idOf(c *conn, ns string, index int) (string, error) {
	body, err := c.do(fmt.Appendf(nil, "GET /v1/namespaces/%s/events/%d HTTP/1.1\r\nHost: bench\r\n\r\n", ns, index))
	if err != nil {
		return "", err
	}
	id, ok := between(body, `"id":"`, `"`)
	if !ok {
		return "", fmt.Errorf("event %d has no id: %.200q", index, body)
	}
	return id, nil
}

// starting kills a server with a long log, and measures the time from its start
// until it says that it is ready.
func starting(ctx context.Context, r *run) (Figures, error) {
	s, err := r.serve()
	if err != nil {
		return Figures{}, err
	}
	n, err := r.preload(ctx, s, r.config.Replay)
	if err != nil {
		return Figures{}, err
	}
	var took []time.Duration
	for range 10 {
		s.proc.kill()
		at := time.Now()
		if err := r.start(s); err != nil {
			return Figures{}, err
		}
		if err := s.ready(ctx); err != nil {
			return Figures{}, err
		}
		took = append(took, time.Since(at))
	}
	f := Figures{Events: n, Memory: s.usage().memory}
	f.spread(took)
	return f, nil
}
