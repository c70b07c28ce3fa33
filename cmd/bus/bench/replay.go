package bench

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// preload stores about n events in batches, over several connections, and returns
// how many there are then. The server is started anew: what is read back has to
// come from the log.
func (r *run) preload(ctx context.Context, s *server, n int, flags ...string) (int, error) {
	batch, connections := min(1000, n), 4
	if n < 4*batch {
		connections = 1
	}
	publishers, err := r.publishers(s, connections, batch)
	if err != nil {
		return 0, err
	}
	failed := make(chan error, connections)
	var wait sync.WaitGroup
	for _, p := range publishers {
		wait.Go(func() { failed <- p.store(ctx, n/connections) })
	}
	wait.Wait()
	var t tally
	for _, p := range publishers {
		if err := <-failed; err != nil {
			return 0, fmt.Errorf("preload: %w", err)
		}
		if err := t.add(p.indexes); err != nil {
			return 0, err
		}
	}
	if err := t.check(r.system.name != "redis"); err != nil {
		return 0, err
	}
	s.stop()
	if err := s.launch(r, s, flags...); err != nil {
		return 0, err
	}
	if err := s.prepare(r, s); err != nil {
		return 0, err
	}
	more, err := s.rest(r, s)
	return len(t.indexes) + more, err
}

// store sends until there are at least n events.
func (p *publisher) store(ctx context.Context, n int) error {
	for len(p.indexes) < n {
		if err := p.send(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// filled is a server with a log of about n events.
func (r *run) filled(ctx context.Context, n int, flags ...string) (*server, int, error) {
	s, err := r.serve(flags...)
	if err != nil {
		return nil, 0, err
	}
	n, err = r.preload(ctx, s, n, flags...)
	return s, n, err
}

// replaying reads a whole log back.
func replaying(readers int, sealed bool) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		flags, err := r.keyFlags(sealed)
		if err != nil {
			return Figures{}, err
		}
		s, n, err := r.filled(ctx, r.config.Events, flags...)
		if err != nil {
			return Figures{}, err
		}
		before, begun := s.usage(), time.Now()
		all, err := r.audience(s, readers, reading{from: "oldest", buffer: 256 << 10})
		if err != nil {
			return Figures{}, err
		}
		if err := reachAll(ctx, all, n); err != nil {
			return Figures{}, err
		}
		elapsed, after := time.Since(begun), s.usage()
		f := Figures{}
		f.cost(n*readers, elapsed, before, after)
		p, err := s.publisher(r, s, 0, 1)
		if err != nil {
			return f, err
		}
		if err := closing(ctx, p, all, n); err != nil {
			return f, err
		}
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

// resumptions is how often one is measured in a run.
const resumptions = 200

// resuming opens streams behind an event near the end of a long log, by its id,
// and measures the time from before the connection until the next event is there.
func resuming(events int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, n, err := r.filled(ctx, events)
		if err != nil {
			return Figures{}, err
		}
		c, err := r.open(ctx, s)
		if err != nil {
			return Figures{}, err
		}
		var took []time.Duration
		before, begun := s.usage(), time.Now()
		for i := range min(resumptions, n/2) {
			d, err := r.resume(ctx, s, c, n-1-i, n)
			if err != nil {
				return Figures{}, err
			}
			took = append(took, d)
		}
		elapsed, after := time.Since(begun), s.usage()
		f := Figures{}
		f.spread(took)
		f.cost(len(took), elapsed, before, after)
		f.Rate = 0 // to look up the id and to wait for each is none of it
		return f, nil
	}
}

// resume opens a stream behind the event with an index, of n that there are.
func (r *run) resume(ctx context.Context, s *server, c *conn, index, n int) (time.Duration, error) {
	id, err := idOf(c, s.ns, index)
	if err != nil {
		return 0, err
	}
	at := time.Now()
	first := make(chan time.Duration, 1)
	check := func(place int, got uint64, _ []byte) error {
		if place == 1 && got != uint64(index+1) {
			return fmt.Errorf("resumed behind event %d, and got %d next", index, got)
		}
		if place == 1 {
			first <- time.Since(at)
		}
		return nil
	}
	b, err := r.stream(ctx, s, "subject="+s.ns+".*&start="+url.QueryEscape(id), reading{near: true, seen: check})
	if err != nil {
		return 0, err
	}
	defer b.conn.Close()
	if err := b.reach(ctx, n-index); err != nil {
		return 0, err
	}
	return <-first, nil
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

// restarts is how often one is measured in a run.
const restarts = 5

// starting kills a server with a long log, and measures the time from its start
// until it says that it is ready. In the end it has to have all events.
func starting(events int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, n, err := r.filled(ctx, events)
		if err != nil {
			return Figures{}, err
		}
		var took []time.Duration
		for range restarts {
			s.kill()
			at := time.Now()
			if err := s.launch(r, s); err != nil {
				return Figures{}, err
			}
			if err := s.prepare(r, s); err != nil {
				return Figures{}, err
			}
			took = append(took, time.Since(at))
		}
		f := Figures{Events: n, Memory: s.usage().memory}
		f.spread(took)
		return f, r.readAll(ctx, s, n)
	}
}
