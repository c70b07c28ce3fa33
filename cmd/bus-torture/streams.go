package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sse is one stream of Server-Sent Events on a connection of its own, so that
// thousands are cheap and each can be as slow as it wants. It is for one goroutine.
type sse struct {
	conn  *net.TCPConn
	body  io.ReadCloser
	lines *bufio.Reader
	id    string // of the last whole event: where to resume
}

// frame is what is between two empty lines.
type frame struct {
	id, event string
	index     uint64 // of an event: msg
	at        time.Time
}

// openStream returns when the server has said hello: what is published from then
// on has to come. With a receive buffer above 0 the window is as small.
func openStream(ctx context.Context, addr string, query url.Values, resume string, buffer int) (*sse, error) {
	d := net.Dialer{Timeout: patience}
	if buffer > 0 { // before it connects, or the window is agreed already
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			return errors.Join(c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer)
			}), err)
		}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &sse{conn: conn.(*net.TCPConn)}
	if err := s.ask(query, resume); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func (s *sse) ask(query url.Values, resume string) error {
	r, err := http.NewRequest(http.MethodGet, "http://bus/?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	if resume != "" {
		r.Header.Set("Last-Event-ID", resume)
	}
	s.conn.SetDeadline(time.Now().Add(patience))
	if err := r.Write(s.conn); err != nil {
		return err
	}
	in := bufio.NewReaderSize(s.conn, 1024)
	resp, err := http.ReadResponse(in, r)
	if err != nil {
		return err
	}
	s.body = resp.Body
	s.lines = bufio.NewReaderSize(resp.Body, 1024)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: a stream got %s", errFault, resp.Status)
	}
	for {
		f, err := s.next()
		if err != nil {
			return fmt.Errorf("before hello: %w", err)
		}
		if f.event == "hello" {
			s.conn.SetDeadline(time.Time{})
			return nil
		}
	}
}

// next reads a frame. io.EOF is a stream that has ended in good order; one that
// was cut off says io.ErrUnexpectedEOF or what the network says.
func (s *sse) next() (frame, error) {
	var f frame
	for {
		line, err := s.lines.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return f, err
		}
		whole := err == nil
		text := bytes.TrimSuffix(line, []byte("\n"))
		switch name, value, _ := bytes.Cut(text, []byte(": ")); {
		case whole && len(text) == 0:
			if f.event != "" {
				f.at = time.Now()
				if f.id != "" {
					s.id = f.id
				}
				return f, nil
			}
		case string(name) == "id":
			f.id = string(value)
		case string(name) == "event":
			f.event = string(value)
		case string(name) == "data" && f.event == "msg":
			f.index = indexIn(value) // it stands before the payload
		}
		for !whole { // the rest of a long line
			_, err := s.lines.ReadSlice('\n')
			if err != nil && err != bufio.ErrBufferFull {
				return f, err
			}
			whole = err == nil
		}
	}
}

// indexIn finds the index in the beginning of an event, 0 where there is none.
func indexIn(data []byte) uint64 {
	_, after, _ := bytes.Cut(data, []byte(`"index":`))
	n := 0
	for n < len(after) && after[n] >= '0' && after[n] <= '9' {
		n++
	}
	index, _ := strconv.ParseUint(string(after[:n]), 10, 64) // digits, or nothing
	return index
}

// drop ends it without a word, as a machine that is gone: with a reset, or by closing.
func (s *sse) drop(reset bool) error {
	if reset {
		s.conn.SetLinger(0)
	}
	return s.conn.Close()
}

// gauges are numbers that the server tells of itself, its memory, goroutines and
// open files among them.
func gauges(ctx context.Context, c *http.Client, base string) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	all := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = n
		}
	}
	for _, name := range []string{"process_resident_memory_bytes", "process_open_fds", "go_goroutines"} {
		if all[name] == 0 {
			return nil, fmt.Errorf("the server does not tell %s", name)
		}
	}
	return all, nil
}

// publishOne publishes an event and returns its index.
func publishOne(ctx context.Context, c *http.Client, base, subject, payload string) (uint64, error) {
	query := url.Values{"subject": {subject}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/?"+query.Encode(), strings.NewReader(payload))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%w: a publish got %s: %s", errFault, resp.Status, bytes.TrimSpace(text))
	}
	return indexIn(text), err
}
