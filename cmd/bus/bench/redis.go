package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// redisDialect is Redis with one stream and an append-only file.
type redisDialect struct {
	program string
	sync    string // appendfsync
}

// launch gives the server a port that was free a moment ago: it has no way to
// choose one by itself.
func (d redisDialect) launch(r *run, s *server, _ ...string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	ready := func(line string) (string, bool) { return addr, strings.Contains(line, "Ready to accept connections") }
	p, addr, err := startProcess(r.ctx, ready, d.program, "--port", port, "--bind", "127.0.0.1", "--dir", s.dir,
		"--appendonly", "yes", "--appendfsync", d.sync, "--save", "", "--maxclients", "20000")
	if err != nil {
		return err
	}
	s.run(p, addr)
	return nil
}

func (redisDialect) prepare(*run, *server) error { return nil }

func (redisDialect) rest(*run, *server) (int, error) { return 0, nil }

// publisher sends a batch as so many commands in one write. There is no batch
// that is stored whole or not at all.
func (redisDialect) publisher(r *run, s *server, number, batch int) (*publisher, error) {
	conn, err := r.dial(r.ctx, s)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	var request []byte
	for i := range batch {
		request = append(request, command("XADD", s.ns, "*", "d", payload(number*batch+i, r.config.Payload))...)
	}
	return &publisher{batch: batch, exchange: func(answered []uint64) ([]uint64, error) {
		if _, err := conn.Write(request); err != nil {
			return answered, err
		}
		for range batch {
			if _, err := length(in, '$'); err != nil {
				return answered, err
			}
			id, err := entryID(in)
			if err != nil {
				return answered, err
			}
			answered = append(answered, id)
		}
		return answered, nil
	}}, nil
}

// command is a request as Redis reads it.
func command(words ...string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b
}

// length reads the head of an array or a string; -1 stands for none.
func length(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) < 2 || line[0] != kind {
		return 0, fmt.Errorf("got %.200q, wanted %q", line, kind)
	}
	return strconv.Atoi(string(line[1:]))
}

// entryID reads an id, milliseconds-number, as one number that goes up with it.
func entryID(in *bufio.Reader) (uint64, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	ms, digits := number(line)
	if digits == 0 || len(line) <= digits || line[digits] != '-' {
		return 0, fmt.Errorf("got %.200q, wanted an id", line)
	}
	n, more := number(line[digits+1:])
	if more == 0 || n >= 1<<20 || ms >= 1<<43 {
		return 0, fmt.Errorf("got %.200q, wanted an id", line)
	}
	return ms<<20 | n, nil
}

// subscriber asks again for what comes after the last it has: Redis streams
// nothing by itself.
func (redisDialect) subscriber(r *run, s *server, want reading) (*subscriber, error) {
	conn, err := r.dial(r.ctx, s)
	if err != nil {
		return nil, err
	}
	setDefault(&want.buffer, 32<<10)
	in := bufio.NewReaderSize(conn, want.buffer)
	last := uint64(0)
	if want.from == "" {
		if last, err = newest(conn, in, s.ns); err != nil {
			return nil, err
		}
	}
	b := r.subscriber(s, want)
	b.dense = false // ids are times
	b.start(r, func() error {
		for {
			request := command("XREAD", "COUNT", "1000", "BLOCK", "0", "STREAMS", s.ns, fmt.Sprintf("%d-%d", last>>20, last&(1<<20-1)))
			if _, err := conn.Write(request); err != nil {
				return err
			}
			if last, err = entries(in, b); err != nil {
				return err
			}
		}
	})
	return b, nil
}

// newest is the id of the last entry, 0 when there is none.
func newest(conn net.Conn, in *bufio.Reader, ns string) (uint64, error) {
	if _, err := conn.Write(command("XREVRANGE", ns, "+", "-", "COUNT", "1")); err != nil {
		return 0, err
	}
	n, err := length(in, '*')
	if err != nil || n == 0 {
		return 0, err
	}
	return entry(in)
}

// entries reads an answer of XREAD: one stream, its name, its entries.
func entries(in *bufio.Reader, b *subscriber) (last uint64, err error) {
	for _, kind := range []byte("**$") {
		if _, err := length(in, kind); err != nil {
			return 0, err
		}
	}
	if _, err := in.ReadSlice('\n'); err != nil {
		return 0, err
	}
	n, err := length(in, '*')
	if err != nil {
		return 0, err
	}
	if n <= 0 {
		return 0, errors.New("got an answer without an entry")
	}
	for range n {
		if last, err = entry(in); err != nil {
			return 0, err
		}
		if err := b.event(last, nil); err != nil {
			return 0, err
		}
	}
	return last, nil
}

// entry reads one: its id, and its fields, which are passed over.
func entry(in *bufio.Reader) (uint64, error) {
	if _, err := length(in, '*'); err != nil {
		return 0, err
	}
	if _, err := length(in, '$'); err != nil {
		return 0, err
	}
	id, err := entryID(in)
	if err != nil {
		return 0, err
	}
	fields, err := length(in, '*')
	if err != nil {
		return 0, err
	}
	for range fields {
		size, err := length(in, '$')
		if err != nil {
			return 0, err
		}
		if _, err := in.Discard(size + 2); err != nil {
			return 0, err
		}
	}
	return id, nil
}
