package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	goodReaders = 200
	slowEvents  = 500
	slowPayload = 16 << 10 // 8 MB in all, more than both ends of a connection hold
	slowTimeout = "2s"     // for one write of the server
	smallWindow = 2 << 10  // bytes of receive buffer; the kernel doubles it
	// slowMemory is what the server may take for all of it: the connections'
	// buffers are the kernel's, and the log's end is kept once for all.
	slowMemory = 192 << 20
)

// sloth is a reader that does not keep up, in its way.
type sloth struct {
	name   string
	buffer int                                 // 0: what the kernel gives
	read   func(ctx context.Context, s *sloth) // until it was let go
	stream *sse
	got    []uint64
	failed error
}

// sloths are the three kinds. What one reads it reads as a client would: whole
// events count.
func sloths() []*sloth {
	return []*sloth{
		{name: "never reads", read: func(context.Context, *sloth) {}},
		{name: "reads 1 kB/s", buffer: 16 << 10, read: func(ctx context.Context, s *sloth) {
			s.stream.lines.Reset(&trickle{ctx, s.stream.body})
			s.rest()
		}},
		{name: "has a window of no bytes", buffer: smallWindow, read: func(context.Context, *sloth) {}},
	}
}

// trickle gives a kilobyte a second, until its context ends; then what there is.
type trickle struct {
	ctx  context.Context
	from io.Reader
}

func (t *trickle) Read(b []byte) (int, error) {
	pause(t.ctx, time.Second)
	if t.ctx.Err() == nil {
		b = b[:min(len(b), 1000)]
	}
	return t.from.Read(b)
}

// rest reads what comes until the stream ends, in whatever way.
func (s *sloth) rest() {
	for {
		f, err := s.stream.next()
		if err != nil {
			return
		}
		switch f.event {
		case "msg":
			s.got = append(s.got, f.index)
		case "gap":
			s.failed = fmt.Errorf("%w: a gap was said to the reader that %s, and nothing is gone", errFault, s.name)
		}
	}
}

// slow runs C4 on real sockets: readers that do not read are let go, and neither
// hold others up nor lose anything by it.
func (h *harness) slow(ctx context.Context, check, binary string) error {
	begun := time.Now()
	if err := moreFiles(goodReaders + 100); err != nil {
		return err
	}
	l, err := h.newLife(check, binary, h.seed, max(h.life, 0))
	if err != nil {
		return err
	}
	l.server.flags = append(l.drawFlags(int(h.seed%2), []string{"always"}), "--write-timeout", slowTimeout)
	c := &crawl{herd: &herd{life: l, due: [][]uint64{nil}}, slow: sloths()}
	said, err := c.live(ctx)
	c.leave(false)
	if err = l.end(err); err != nil {
		return err
	}
	h.say(check, "%s; %s", said, time.Since(begun).Round(100*time.Millisecond))
	return nil
}

// crawl is good readers with some that are not.
type crawl struct {
	*herd
	slow    []*sloth
	stalled time.Duration // the longest time without an event for the good ones
	peak    float64       // of the server's memory
}

func everything(int) []string { return []string{"a.>"} }

func (c *crawl) live(ctx context.Context) (string, error) {
	if err := c.server.start(ctx); err != nil {
		return "", err
	}
	var reading sync.WaitGroup
	crawling, hurry := context.WithCancel(ctx)
	defer reading.Wait()
	defer hurry()
	for _, s := range c.slow {
		var err error
		if s.stream, err = openStream(ctx, c.server.addr, url.Values{"subject": {"a.>"}}, "", s.buffer); err != nil {
			return "", err
		}
		defer s.stream.drop(false)
		reading.Go(func() { s.read(crawling, s) })
	}
	if err := c.gather(ctx, goodReaders, everything); err != nil {
		return "", err
	}
	if err := errors.Join(c.feed(ctx), c.complete(ctx), c.letGo(ctx)); err != nil {
		return "", err
	}
	hurry()
	reading.Wait()
	c.leave(false)
	if err := c.allGot(); err != nil {
		return "", err
	}
	missed, err := c.resume(ctx)
	return fmt.Sprintf("%d readers got each of %d events, the longest wait of one for an event %s; %d slow ones let go, and resumed without a hole after %s events; %.0f MiB of memory at most",
		goodReaders, slowEvents, c.stalled.Round(time.Millisecond), len(c.slow), strings.Join(missed, ", "), c.peak/(1<<20)), err
}

// feed publishes more than the slow ones can take, at a pace that the good ones
// can on a small machine.
func (c *crawl) feed(ctx context.Context) error {
	payload := `"` + strings.Repeat("x", slowPayload) + `"`
	last := time.Now()
	for n := range slowEvents {
		index, err := publishOne(ctx, c.http, c.server.url(), "a.x", payload)
		if err != nil {
			return err
		}
		c.due[0] = append(c.due[0], index)
		if n%20 == 0 {
			if err := c.weigh(ctx); err != nil {
				return err
			}
		}
		// All good ones have to have this one before there are too many more.
		for deadline := time.Now().Add(patience); c.arrived.Load() < int64(goodReaders*max(0, n-10)) && time.Now().Before(deadline) && ctx.Err() == nil; {
			pause(ctx, time.Millisecond)
		}
		c.stalled = max(c.stalled, time.Since(last))
		last = time.Now()
	}
	return ctx.Err()
}

// weigh looks at the server's memory.
func (c *crawl) weigh(ctx context.Context) error {
	all, err := gauges(ctx, c.http, c.server.url())
	if err != nil {
		return err
	}
	if c.peak = max(c.peak, all["process_resident_memory_bytes"]); c.peak > slowMemory {
		return fmt.Errorf("%w: the server has %.0f MiB of memory, want at most %d", errFault, c.peak/(1<<20), slowMemory>>20)
	}
	return nil
}

// letGo waits until the server has let go of all that do not read, and of no other.
func (c *crawl) letGo(ctx context.Context) error {
	for deadline := time.Now().Add(patience); ; pause(ctx, 20*time.Millisecond) {
		all, err := gauges(ctx, c.http, c.server.url())
		if err != nil {
			return err
		}
		switch n := all["bus_slow_evictions_total"]; {
		case int(n) == len(c.slow):
			return c.weigh(ctx)
		case int(n) > len(c.slow) || time.Now().After(deadline):
			return fmt.Errorf("%w: the server has let %v streams go, want %d", errFault, n, len(c.slow))
		}
	}
}

// allGot says which of the good ones has not got everything.
func (c *crawl) allGot() error {
	for i, got := range c.got {
		if d := difference(got, c.due[0]); d != "nowhere" {
			return fmt.Errorf("%w: reader %d got %d events, want %d: %s", errFault, i, len(got), len(c.due[0]), d)
		}
	}
	return nil
}

// resume reads what is left of each slow one's stream, and goes on after the
// last event that came whole.
func (c *crawl) resume(ctx context.Context) ([]string, error) {
	var all []string
	for _, s := range c.slow {
		s.stream.conn.SetReadDeadline(time.Now().Add(patience))
		s.rest()
		all = append(all, fmt.Sprint(len(s.got)))
		from := s.stream.id
		again, err := openStream(ctx, c.server.addr, url.Values{"subject": {"a.>"}, "until": {"newest"}}, from, 0)
		if err != nil {
			return all, err
		}
		s.stream.drop(false)
		s.stream = again
		again.conn.SetReadDeadline(time.Now().Add(patience))
		s.rest()
		if d := difference(s.got, c.due[0]); d != "nowhere" || s.failed != nil {
			return all, errors.Join(fmt.Errorf("%w: the reader that %s got %d events over two streams, want %d: %s", errFault, s.name, len(s.got), len(c.due[0]), d), s.failed)
		}
	}
	return all, nil
}
