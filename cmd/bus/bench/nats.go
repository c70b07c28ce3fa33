package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// natsDialect is NATS with a JetStream stream in files, and push consumers that
// need no acknowledgement: what a bus does for a plain subscriber.
type natsDialect struct {
	program string
	sync    string // sync_interval
}

var natsListening = regexp.MustCompile(`Listening for client connections on (\S+)`)

func (d natsDialect) launch(r *run, s *server, _ ...string) error {
	config := filepath.Join(s.dir, "nats.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q, sync_interval: %q }\n", s.dir, d.sync)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	ready := func(line string) (string, bool) {
		found := natsListening.FindStringSubmatch(line)
		if found == nil {
			return "", false
		}
		return found[1], true
	}
	p, addr, err := startProcess(r.ctx, ready, d.program, "-c", config)
	if err != nil {
		return err
	}
	s.run(p, addr)
	return nil
}

// prepare makes the stream, or finds the one that is there.
func (natsDialect) prepare(r *run, s *server) error {
	c, err := r.nats(s, 16<<10)
	if err != nil {
		return err
	}
	return c.request("$JS.API.STREAM.CREATE.bench", map[string]any{
		"name": "bench", "subjects": []string{"bench.>"}, "storage": "file", "retention": "limits", "num_replicas": 1,
	})
}

func (natsDialect) rest(*run, *server) (int, error) { return 0, nil }

// nats is one connection.
type nats struct {
	net.Conn
	in    *bufio.Reader
	inbox string
	body  []byte // of the last message
}

// nats connects, and subscribes to an inbox of its own.
func (r *run) nats(s *server, buffer int) (*nats, error) {
	conn, err := r.dial(r.ctx, s)
	if err != nil {
		return nil, err
	}
	c := &nats{Conn: conn, in: bufio.NewReaderSize(conn, buffer), inbox: "_INBOX." + token()}
	c.SetReadDeadline(time.Now().Add(r.config.patience))
	defer c.SetReadDeadline(time.Time{})
	if _, err := fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB %s 1\r\nPING\r\n", c.inbox); err != nil {
		return nil, err
	}
	return c, c.pong()
}

// pong waits until all that was sent before a PING has been obeyed.
func (c *nats) pong() error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(line, []byte("PONG")):
			return nil
		case bytes.HasPrefix(line, []byte("-ERR")):
			return fmt.Errorf("got %.200q", line)
		}
	}
}

// request asks the API, and wants an answer without an error.
func (c *nats) request(subject string, question any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "PUB %s %s %d\r\n%s\r\n", subject, c.inbox, len(body), body); err != nil {
		return err
	}
	if _, _, err := c.message(true); err != nil {
		return err
	}
	var answer struct {
		Error *struct{ Description string }
	}
	if err := json.Unmarshal(c.body, &answer); err != nil {
		return fmt.Errorf("got %.200q: %w", c.body, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", subject, answer.Error.Description)
	}
	return nil
}

// message reads up to the next message and returns its reply subject, which is
// good until the next call. The body is kept when asked for.
func (c *nats) message(keep bool) (reply []byte, size int, err error) {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, 0, err
		}
		switch line = bytes.TrimRight(line, "\r\n"); {
		case bytes.HasPrefix(line, []byte("PING")):
			if _, err := io.WriteString(c, "PONG\r\n"); err != nil {
				return nil, 0, err
			}
		case bytes.HasPrefix(line, []byte("MSG ")):
			reply, size, err := natsHead(line)
			if err != nil || !keep {
				return reply, size, err
			}
			c.body = grow(c.body[:0], size+2)
			_, err = io.ReadFull(c.in, c.body)
			c.body = c.body[:size]
			return nil, size, err
		case bytes.HasPrefix(line, []byte("+OK")), bytes.HasPrefix(line, []byte("INFO ")):
		default:
			return nil, 0, fmt.Errorf("got %.200q", line)
		}
	}
}

// natsHead reads MSG subject sid [reply] size.
func natsHead(line []byte) (reply []byte, size int, err error) {
	at := bytes.LastIndexByte(line, ' ')
	digits := line[at+1:]
	n, read := number(digits)
	if read == 0 || read != len(digits) || n > 1<<26 {
		return nil, 0, fmt.Errorf("got %.200q, wanted a size", line)
	}
	rest := line[len("MSG "):at]
	if bytes.Count(rest, []byte(" ")) == 2 {
		reply = rest[bytes.LastIndexByte(rest, ' ')+1:]
	}
	return reply, int(n), nil
}

// publisher sends a batch as so many messages in one write, and then reads the
// receipts. There is no batch that is stored whole or not at all.
func (natsDialect) publisher(r *run, s *server, number, batch int) (*publisher, error) {
	c, err := r.nats(s, 64<<10)
	if err != nil {
		return nil, err
	}
	var request []byte
	for i := range batch {
		body := payload(number*batch+i, r.config.Payload)
		request = fmt.Appendf(request, "PUB %s %s %d\r\n%s\r\n", s.subject, c.inbox, len(body), body)
	}
	return &publisher{batch: batch, exchange: func(answered []uint64) ([]uint64, error) {
		if _, err := c.Write(request); err != nil {
			return answered, err
		}
		for range batch {
			if _, _, err := c.message(true); err != nil {
				return answered, err
			}
			seq, err := natsReceipt(c.body)
			if err != nil {
				return answered, err
			}
			answered = append(answered, seq)
		}
		return answered, nil
	}}, nil
}

func natsReceipt(body []byte) (uint64, error) {
	at := bytes.Index(body, []byte(`"seq":`))
	if at < 0 || bytes.Contains(body, []byte(`"error"`)) || bytes.Contains(body, []byte(`"duplicate"`)) {
		return 0, fmt.Errorf("got %.200q, which is no receipt", body)
	}
	seq, _ := number(bytes.TrimLeft(body[at+len(`"seq":`):], " "))
	return seq, nil
}

func (natsDialect) subscriber(r *run, s *server, want reading) (*subscriber, error) {
	setDefault(&want.buffer, 32<<10)
	c, err := r.nats(s, want.buffer)
	if err != nil {
		return nil, err
	}
	deliver := "_DELIVER." + token()
	if _, err := fmt.Fprintf(c, "SUB %s 2\r\n", deliver); err != nil {
		return nil, err
	}
	policy := "new"
	if want.from == "oldest" {
		policy = "all"
	}
	// Asked for on another connection: what is delivered may come before the answer.
	asker, err := r.nats(s, 16<<10)
	if err != nil {
		return nil, err
	}
	defer asker.Close()
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return nil, err
	}
	if err := c.pong(); err != nil {
		return nil, err
	}
	if err := asker.request("$JS.API.CONSUMER.CREATE.bench", map[string]any{
		"stream_name": "bench",
		"config": map[string]any{"deliver_subject": deliver, "deliver_policy": policy, "ack_policy": "none",
			"replay_policy": "instant", "mem_storage": true, "num_replicas": 1, "inactive_threshold": int64(time.Hour)},
	}); err != nil {
		return nil, err
	}
	b := r.subscriber(s, want)
	b.start(r, func() error { return c.follow(b) })
	return b, nil
}

// follow counts messages until the connection ends.
func (c *nats) follow(b *subscriber) error {
	for {
		reply, size, err := c.message(false)
		if err != nil {
			return err
		}
		seq, err := natsSequence(reply)
		if err != nil {
			return err
		}
		if _, err := c.in.Discard(size + 2); err != nil {
			return err
		}
		if err := b.event(seq, nil); err != nil {
			return err
		}
	}
}

// natsSequence reads the stream's number of a message from the subject that its
// acknowledgement would go to: $JS.ACK.stream.consumer.delivered.SEQUENCE.….
func natsSequence(reply []byte) (uint64, error) {
	rest := reply
	for range 5 {
		at := bytes.IndexByte(rest, '.')
		if at < 0 {
			return 0, errors.New("a message without its place in the stream: " + strconv.Quote(string(reply)))
		}
		rest = rest[at+1:]
	}
	seq, digits := number(rest)
	if digits == 0 {
		return 0, errors.New("a message without its place in the stream: " + strconv.Quote(string(reply)))
	}
	return seq, nil
}
