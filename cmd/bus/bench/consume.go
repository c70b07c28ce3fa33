package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// consumer is a stream with acknowledgements, and the connections that send them.
type consumer struct {
	*stream
	gathered bool
	events   chan string // ids of events to be acknowledged
	ended    chan struct{}
	failed   chan error
}

// consume opens a stream and acknowledges all that comes, an event a request over
// some connections, or, gathered, with one request for all that has come.
func (r *run) consume(ctx context.Context, s *server, query string, connections int, gathered bool) (*consumer, error) {
	c := &consumer{gathered: gathered, events: make(chan string, 1<<16), ended: make(chan struct{}), failed: make(chan error, connections)}
	r.atEnd(func() { close(c.ended) })
	var err error
	if c.stream, err = r.stream(ctx, s, "subject="+s.ns+".*"+query, reading{near: true, buffer: 256 << 10, seen: c.due}); err != nil {
		return nil, err
	}
	for range connections {
		conn, err := r.open(ctx, s)
		if err != nil {
			return nil, err
		}
		r.group.Go(func() {
			if err := c.acknowledge(conn); err != nil {
				c.failed <- err
			}
		})
	}
	return c, nil
}

// due has an event acknowledged.
func (c *consumer) due(_ int, _ uint64, frame []byte) error {
	id, ok := between(frame, `"id":"`, `"`)
	if !ok {
		return fmt.Errorf("an event without an id: %.300q", frame)
	}
	select {
	case c.events <- id:
	case <-c.ended:
	}
	return nil
}

// acknowledge sends an answer for each event, until the run ends.
func (c *consumer) acknowledge(conn *conn) error {
	for {
		select {
		case id := <-c.events:
			if _, err := conn.do(c.ack(id)); err != nil {
				return fmt.Errorf("acknowledge %s: %w", id, err)
			}
		case <-c.ended:
			return nil
		}
	}
}

// ack is a request for one event, with what is the reply when one is wanted, or
// for all that are waiting.
func (c *consumer) ack(id string) []byte {
	body, query := `{"ok":true}`, "&event_id="
	if c.gathered {
		body, query, id = "", "&up_to=true&event_id=", c.latest(id)
	}
	return fmt.Appendf(nil, "PUT /?consumer_id=%s%s%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s",
		url.QueryEscape(c.consumer), query, url.QueryEscape(id), len(body), body)
}

// latest is the newest of the events that wait.
func (c *consumer) latest(id string) string {
	for {
		select {
		case id = <-c.events:
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
		n := max(r.config.Events/10, 1)
		if gathered {
			n = r.config.Events
		}
		s, n, err := r.filled(ctx, n)
		if err != nil {
			return Figures{}, err
		}
		p, err := s.publisher(r, s, 0, 1)
		if err != nil {
			return Figures{}, err
		}
		before, begun := s.usage(), time.Now()
		query := fmt.Sprintf("&start=oldest&ack=manual&redelivery=1m&inflight=%d", window)
		c, err := r.consume(ctx, s, query, connections, gathered)
		if err != nil {
			return Figures{}, err
		}
		if err := c.reach(ctx, n); err != nil {
			return Figures{}, errors.Join(err, c.failure())
		}
		elapsed, after := time.Since(begun), s.usage()
		f := Figures{}
		f.cost(n, elapsed, before, after)
		return f, errors.Join(closing(ctx, p, []*subscriber{c.subscriber}, n), c.failure())
	}
}

// asking sends requests with reply=true, one after another, to a consumer that
// answers each at once.
func asking(ctx context.Context, r *run) (Figures, error) {
	s, err := r.serve()
	if err != nil {
		return Figures{}, err
	}
	c, err := r.consume(ctx, s, "", 1, false)
	if err != nil {
		return Figures{}, err
	}
	asker, err := r.open(ctx, s)
	if err != nil {
		return Figures{}, err
	}
	request := post("?reply=true&timeout="+r.config.patience.String(), envelope(s.subject, payload(1, r.config.Payload)))
	warm, err := ask(ctx, asker, request, r.warmUp())
	if err != nil {
		return Figures{}, errors.Join(err, c.failure())
	}
	before, begun := s.usage(), time.Now()
	took, err := ask(ctx, asker, request, r.config.Time)
	if err != nil {
		return Figures{}, errors.Join(err, c.failure())
	}
	elapsed, after := time.Since(begun), s.usage()
	f, n := Figures{}, len(took)
	f.spread(took)
	f.cost(n, elapsed, before, after)
	if err := c.reach(ctx, len(warm)+n); err != nil {
		return f, err
	}
	p, err := s.publisher(r, s, 0, 1)
	if err != nil {
		return f, err
	}
	return f, errors.Join(closing(ctx, p, []*subscriber{c.subscriber}, len(warm)+n), c.failure())
}

// ask sends a request again and again, and wants its reply.
func ask(ctx context.Context, asker *conn, request []byte, long time.Duration) ([]time.Duration, error) {
	var took []time.Duration
	for end := time.Now().Add(long); time.Now().Before(end) && ctx.Err() == nil; {
		at := time.Now()
		answer, err := asker.do(request)
		if err != nil {
			return nil, fmt.Errorf("ask: %w", err)
		}
		if !bytes.Contains(answer, []byte(`"ok":true`)) {
			return nil, fmt.Errorf("ask: got %.200q, which is no reply", answer)
		}
		took = append(took, time.Since(at))
	}
	return took, ctx.Err()
}
