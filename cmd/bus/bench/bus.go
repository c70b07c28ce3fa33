package bench

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// busDialect is HTTP/1.1 as our own server speaks it.
type busDialect struct{}

// launch runs the bus of s on its directory. Pings would be counted: there are none.
func (busDialect) launch(r *run, s *server, flags ...string) error {
	durability := r.config.Sync
	if r.sync != "" {
		durability = r.sync
	}
	args := append([]string{"server", "--addr", "127.0.0.1:0", "--path", s.dir, "--namespaces", s.ns, "--sync", durability,
		"--heartbeat", "1h", "--log-format", "json", "--log-level", "INFO"}, flags...)
	p, addr, err := startProcess(r.ctx, listening, r.config.Program, args...)
	if err != nil {
		return err
	}
	s.run(p, addr)
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

// prepare waits until the server says that it is ready.
func (busDialect) prepare(r *run, s *server) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(r.config.patience); ; {
		req, err := http.NewRequestWithContext(r.ctx, http.MethodGet, "http://"+s.addr+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("it answers %s", resp.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server at %s is not ready: %w", s.addr, err)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// rest publishes an event with a key: that waits until the keys of before the start
// have been read, which would otherwise be measured along with what comes next.
func (busDialect) rest(r *run, s *server) (int, error) {
	c, err := r.open(r.ctx, s)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_, err = c.do(post("", `{"subject":"`+s.subject+`","key":"bench-`+token()+`","payload":"at rest"}`))
	return 1, err
}

// publisher sends one body again and again.
func (busDialect) publisher(r *run, s *server, number, batch int) (*publisher, error) {
	return r.posting(s, batch, []string{bodyOf(s.subject, number, batch, r.config.Payload)})
}

func bodyOf(subject string, number, batch, size int) string {
	if batch == 1 {
		return envelope(subject, payload(number, size))
	}
	return batchOf(subject, number*batch, batch, size)
}

// posting sends bodies in turn, each of batch events.
func (r *run) posting(s *server, batch int, bodies []string) (*publisher, error) {
	c, err := r.open(r.ctx, s)
	if err != nil {
		return nil, err
	}
	requests := make([][]byte, len(bodies))
	for i, body := range bodies {
		requests[i] = post("", body)
	}
	turn := 0
	return &publisher{batch: batch, exchange: func(answered []uint64) ([]uint64, error) {
		body, err := c.do(requests[turn%len(requests)])
		turn++
		if err != nil {
			return answered, err
		}
		err = indexes(body, func(index uint64) error { answered = append(answered, index); return nil })
		return answered, err
	}}, nil
}

// subscriber opens a stream of what is published.
func (busDialect) subscriber(r *run, s *server, want reading) (*subscriber, error) {
	subject := s.ns + ".*"
	if !s.fresh() {
		subject = s.subject // what others publish is none of ours
	}
	query := "subject=" + subject
	if want.from != "" {
		query += "&start=" + want.from
	}
	b, err := r.stream(r.ctx, s, query, want)
	if err != nil {
		return nil, err
	}
	return b.subscriber, nil
}

// token is a segment of a subject that nobody else publishes to.
func token() string { return strings.ToLower(rand.Text()[:12]) }
