package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// publishing publishes from some connections at once, each sending the next
// request when the last one is answered.
func publishing(connections, batch int) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve()
		if err != nil {
			return Figures{}, err
		}
		return r.publish(ctx, s, connections, batch)
	}
}

func (r *run) publish(ctx context.Context, s *server, connections, batch int) (Figures, error) {
	publishers := make([]*publisher, connections)
	for i := range publishers {
		p, err := r.publisher(ctx, s, i, batch)
		if err != nil {
			return Figures{}, err
		}
		publishers[i] = p
	}
	before, begun := s.usage(), time.Now()
	end := begun.Add(r.config.Time)
	failed := make(chan error, connections)
	var wait sync.WaitGroup
	for _, p := range publishers {
		wait.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				if err := p.send(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wait.Wait()
	elapsed, after := time.Since(begun), s.usage()
	select {
	case err := <-failed:
		return Figures{}, err
	default:
	}
	if err := ctx.Err(); err != nil {
		return Figures{}, err
	}
	f, err := sum(publishers, r.config.Host == "")
	if err != nil {
		return f, err
	}
	f.cost(f.Events, elapsed, before, after)
	return f, nil
}

// cost fills in what n events took.
func (f *Figures) cost(n int, elapsed time.Duration, before, after usage) {
	f.Events, f.Elapsed, f.Memory = n, elapsed, after.memory
	f.Rate = float64(n) / elapsed.Seconds()
	f.CPU = float64((after.cpu - before.cpu).Microseconds()) / float64(max(n, 1))
}

// sum checks what all publishers were answered. alone says that nobody else
// publishes there.
func sum(publishers []*publisher, alone bool) (Figures, error) {
	var f Figures
	var t tally
	var took []time.Duration
	for _, p := range publishers {
		if err := t.add(p.indexes); err != nil {
			return f, err
		}
		took = append(took, p.took...)
	}
	f.spread(took)
	f.Events = t.count
	if alone {
		_, err := t.check()
		return f, err
	}
	return f, nil
}

// publisher sends one request again and again.
type publisher struct {
	conn    *conn
	request []byte
	batch   int
	indexes []uint64 // answered
	took    []time.Duration
}

func (r *run) publisher(ctx context.Context, s *server, number, batch int) (*publisher, error) {
	c, err := open(ctx, s.addr)
	if err != nil {
		return nil, err
	}
	r.atEnd(func() { c.Close() })
	subject := s.ns + ".created"
	body := envelope(subject, payload(number, r.config.Payload))
	if batch > 1 {
		body = batchOf(subject, number*batch, batch, r.config.Payload)
	}
	return &publisher{conn: c, request: post("", body), batch: batch}, nil
}

func (p *publisher) send() error {
	begun := time.Now()
	answer, err := p.conn.do(p.request)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	p.took = append(p.took, time.Since(begun))
	had := len(p.indexes)
	if err := indexes(answer, func(index uint64) error { p.indexes = append(p.indexes, index); return nil }); err != nil {
		return err
	}
	if got := len(p.indexes) - had; got != p.batch {
		return fmt.Errorf("%d events were sent and %d receipts came", p.batch, got)
	}
	return nil
}
