package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// consumer is a stream with acknowledgements, and the connections that send them.
type consumer struct {
	*subscriber
	id     string
	events chan string // ids of events to be acknowledged
	failed chan error
	acked  sync.WaitGroup
}

// consume opens a stream and acknowledges all that comes, an event a request over
// some connections, or, gathered, with one request for all that has come.
func (r *run) consume(ctx context.Context, s *server, query string, connections int, gathered bool) (*consumer, error) {
	c := &consumer{events: make(chan string, 1<<16), failed: make(chan error, connections)}
	r.atEnd(func() { close(c.events); c.acked.Wait() })
	seen := func(_ uint64, frame []byte) {
		if id, ok := between(frame, `"id":"`, `"`); ok {
			c.events <- id
		}
	}
	var err error
	if c.subscriber, err = r.subscribe(ctx, s, "subject="+s.ns+".*"+query, true, seen); err != nil {
		return nil, err
	}
	c.id = c.subscriber.consumer
	for range connections {
		conn, err := open(ctx, s.addr)
		if err != nil {
			return nil, err
		}
		r.atEnd(func() { conn.Close() })
		c.acked.Go(func() {
			if err := c.acknowledge(conn, gathered); err != nil {
				c.failed <- err
			}
		})
	}
	return c, nil
}

// acknowledge sends an answer for each event; as a reply its body is read too.
func (c *consumer) acknowledge(conn *conn, gathered bool) error {
	const body = `{"ok":true}`
	for id := range c.events {
		query := "consumer_id=" + url.QueryEscape(c.id) + "&event_id=" + url.QueryEscape(id)
		if gathered {
			query = "consumer_id=" + url.QueryEscape(c.id) + "&up_to=true&event_id=" + url.QueryEscape(c.latest(id))
		}
		request := fmt.Appendf(nil, "PUT /?%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s", query, len(body), body)
		if gathered {
			request = fmt.Appendf(nil, "PUT /?%s HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n", query)
		}
		if _, err := conn.do(request); err != nil {
			return fmt.Errorf("acknowledge %s: %w", id, err)
		}
	}
	return nil
}

// latest is the newest of the events that wait.
func (c *consumer) latest(id string) string {
	for {
		select {
		case next, ok := <-c.events:
			if !ok {
				return id
			}
			id = next
		default:
			return id
		}
	}
}

func (c *consumer) failure() error {
	select {
	case err := <-c.failed:
		return err
	default:
		return nil
	}
}

// between returns what stands between two texts.
func between(b []byte, before, after string) (string, bool) {
	at := bytes.Index(b, []byte(before))
	if at < 0 {
		return "", false
	}
	b = b[at+len(before):]
	end := bytes.Index(b, []byte(after))
	if end < 0 {
		return "", false
	}
	return string(b[:end]), true
}

// acking reads a log that is there with ack=manual, and acknowledges all of it.
// What is not acknowledged in time would come again, and be found out.
func acking(window, connections int, gathered bool) func(context.Context, *run) (Figures, error) {
	return func(ctx context.Context, r *run) (Figures, error) {
		s, err := r.serve()
		if err != nil {
			return Figures{}, err
		}
		n := r.config.Replay / 10
		if gathered {
			n = r.config.Replay
		}
		if n, err = r.preload(ctx, s, n); err != nil {
			return Figures{}, err
		}
		before, begun := s.usage(), time.Now()
		c, err := r.consume(ctx, s, fmt.Sprintf("&start=oldest&ack=manual&redelivery=1m&inflight=%d", window), connections, gathered)
		if err != nil {
			return Figures{}, err
		}
		if err := c.reach(ctx, n); err != nil {
			return Figures{}, errors.Join(err, c.failure())
		}
		elapsed, after := time.Since(begun), s.usage()
		f := Figures{}
		f.cost(n, elapsed, before, after)
		return f, c.failure()
	}
}
