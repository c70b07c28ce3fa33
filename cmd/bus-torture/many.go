package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	manyGroups = 100 // of streams; each of them gets every hundredth event
	manyRate   = 100 // events a second
	spare      = 20  // goroutines and descriptors that may differ from before
	// streamMemory bounds what a stream may add to the server's memory. The
	// figure is told; this is only where it is no longer of the kind.
	streamMemory = 200 << 10
	leavesWithin = 30 * time.Second
	stopsWithin  = 10 * time.Second
)

// manyStreams says how many streams there are, and for how long.
type manyStreams struct {
	streams int
	load    time.Duration
}

// herd is many streams, and what each of them has to get.
type herd struct {
	*life
	streams []*sse
	got     [][]uint64 // by stream
	ended   []error
	due     [][]uint64   // by group, what was published for it and for all
	arrived atomic.Int64 // events, over all streams
	running sync.WaitGroup
}

// many runs C5: streams that are mostly idle and get all that is theirs, then go
// all at once and leave nothing behind.
func (h *harness) many(ctx context.Context, check, binary string, want manyStreams) error {
	if err := moreFiles(uint64(want.streams) + 1000); err != nil {
		return err
	}
	begun := time.Now()
	l, err := h.newLife(check, binary, h.seed, max(h.life, 0))
	if err != nil {
		return err
	}
	m := &herd{life: l, due: make([][]uint64, manyGroups)}
	said, err := m.live(ctx, want)
	m.leave(false)
	if err = l.end(err); err != nil {
		return err
	}
	h.say(check, "%s; %s", said, time.Since(begun).Round(time.Second))
	return nil
}

func (m *herd) live(ctx context.Context, want manyStreams) (string, error) {
	if err := m.server.start(ctx); err != nil {
		return "", err
	}
	before, err := m.atRest(ctx)
	if err != nil {
		return "", err
	}
	if err := m.gather(ctx, want.streams, ofGroup); err != nil {
		return "", err
	}
	full, err := gauges(ctx, m.http, m.server.url())
	if err != nil {
		return "", err
	}
	if err := errors.Join(m.publish(ctx, want.load), m.complete(ctx)); err != nil {
		return "", err
	}
	loaded, err := gauges(ctx, m.http, m.server.url())
	if err != nil {
		return "", err
	}
	each := (loaded["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]) / float64(want.streams)
	if each > streamMemory {
		return "", fmt.Errorf("%w: %.0f KiB of memory a stream, want at most %d", errFault, each/1024, streamMemory>>10)
	}
	deliveries := 0
	for _, got := range m.got {
		deliveries += len(got)
	}
	m.leave(true)
	took, err := m.backTo(ctx, before)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d streams, %d of %d events each got, %d deliveries, none lost or twice; %.1f KiB of memory and %.1f goroutines a stream; all left: back to %v goroutines within %s",
		want.streams, len(m.due[0]), m.published(), deliveries, each/1024, (full["go_goroutines"]-before["go_goroutines"])/float64(want.streams),
		before["go_goroutines"], took.Round(10*time.Millisecond)), nil
}

// atRest is the server as it is without streams, but after it has had one: what
// it makes once stays.
func (m *herd) atRest(ctx context.Context) (map[string]float64, error) {
	if err := m.gather(ctx, 20, ofGroup); err != nil {
		return nil, err
	}
	m.leave(true)
	m.streams, m.got, m.ended = nil, nil, nil
	for deadline := time.Now().Add(patience); ; pause(ctx, 20*time.Millisecond) {
		all, err := gauges(ctx, m.http, m.server.url())
		if err != nil || streamsIn(all) == 0 {
			return all, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w: 20 streams that have left are still there after %s", errFault, patience)
		}
	}
}

// streamsIn is how many streams the server says it has.
func streamsIn(all map[string]float64) float64 {
	sum := 0.0
	for name, n := range all {
		if strings.HasPrefix(name, "bus_streams{") {
			sum += n
		}
	}
	return sum
}

// ofGroup are an idle stream's: the events of its group, and those for all.
func ofGroup(i int) []string { return []string{fmt.Sprintf("a.g%d.>", i%manyGroups), "a.all.>"} }

// gather opens streams, some at a time.
func (m *herd) gather(ctx context.Context, n int, subjects func(i int) []string) error {
	first := len(m.streams)
	m.streams = append(m.streams, make([]*sse, n)...)
	m.got = append(m.got, make([][]uint64, n)...)
	m.ended = append(m.ended, make([]error, n)...)
	failed := make([]error, n)
	var dialing sync.WaitGroup
	const atOnce = 32
	for worker := range atOnce {
		dialing.Go(func() {
			for i := worker; i < n && ctx.Err() == nil; i += atOnce {
				m.streams[first+i], failed[i] = openStream(ctx, m.server.addr, url.Values{"subject": subjects(i)}, "", 0)
			}
		})
	}
	dialing.Wait()
	if err := errors.Join(append(failed, ctx.Err())...); err != nil {
		return err
	}
	for i := first; i < len(m.streams); i++ {
		m.running.Go(func() { m.follow(i) })
	}
	return nil
}

// follow notes what a stream gets until it ends.
func (m *herd) follow(i int) {
	for {
		f, err := m.streams[i].next()
		if err != nil {
			m.ended[i] = err
			return
		}
		if f.event == "msg" {
			m.got[i] = append(m.got[i], f.index)
			m.arrived.Add(1)
		}
	}
}

// publish sends the groups their events in turn, and one in a second to all.
func (m *herd) publish(ctx context.Context, load time.Duration) error {
	tick := time.NewTicker(time.Second / manyRate)
	defer tick.Stop()
	for n := range int(load.Seconds() * manyRate) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		group := n % manyGroups
		subject := fmt.Sprintf("a.g%d.x", group)
		if n%manyRate == manyRate-1 {
			subject = "a.all.x"
		}
		index, err := publishOne(ctx, m.http, m.server.url(), subject, fmt.Sprintf(`{"n":%d}`, n))
		if err != nil {
			return err
		}
		for g := range m.due {
			if g == group || subject == "a.all.x" {
				m.due[g] = append(m.due[g], index)
			}
		}
	}
	// The end of all: a stream that has it has everything before it.
	index, err := publishOne(ctx, m.http, m.server.url(), "a.all.x", `{"n":"last"}`)
	for g := range m.due {
		m.due[g] = append(m.due[g], index)
	}
	return err
}

// published is how many events there were.
func (m *herd) published() uint64 { return m.due[0][len(m.due[0])-1] }

// complete waits until as many events have arrived as are due. Which they are is
// looked at when nobody writes there any more.
func (m *herd) complete(ctx context.Context) error {
	var want int64
	for i := range m.streams {
		want += int64(len(m.due[i%len(m.due)]))
	}
	return until(ctx, "what every stream is due", func() bool { return m.arrived.Load() >= want })
}

// leave drops all streams at the same time, half of them by a reset, and waits
// for those who read them.
func (m *herd) leave(abruptly bool) {
	for i, s := range m.streams {
		if s != nil {
			s.drop(abruptly && i%2 == 0)
		}
	}
	m.running.Wait()
}

// judge says which stream has not got what was due to it.
func (m *herd) judge() error {
	for i, got := range m.got {
		if due := m.due[i%len(m.due)]; !slices.Equal(got, due) {
			return fmt.Errorf("%w: stream %d got %d events, want %d: %s", errFault, i, len(got), len(due), difference(got, due))
		}
	}
	return nil
}

// difference tells the first place where two lists are not the same.
func difference(got, want []uint64) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("it ends before %d", want[i])
		case i >= len(want):
			return fmt.Sprintf("it goes on with %d", got[i])
		case got[i] != want[i]:
			return fmt.Sprintf("got %d in the place of %d", got[i], want[i])
		}
	}
	return "nowhere"
}

// backTo waits until the server has as many goroutines and open files as before,
// and holds what the streams got against what was due.
func (m *herd) backTo(ctx context.Context, before map[string]float64) (time.Duration, error) {
	begun := time.Now()
	if err := m.judge(); err != nil {
		return 0, err
	}
	for ; ; pause(ctx, 20*time.Millisecond) {
		now, err := gauges(ctx, m.http, m.server.url())
		if err != nil {
			return 0, err
		}
		goroutines, files := now["go_goroutines"]-before["go_goroutines"], now["process_open_fds"]-before["process_open_fds"]
		if goroutines <= spare && files <= spare {
			return time.Since(begun), nil
		}
		if time.Since(begun) > leavesWithin {
			return 0, fmt.Errorf("%w: %s after all streams have left there are %v goroutines and %v open files more than before", errFault, leavesWithin, goroutines, files)
		}
	}
}

// moreFiles asks for so many open files, for this process and for those it starts.
func moreFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= n {
		return nil
	}
	if limit.Max < n {
		return fmt.Errorf("%d open files are needed, the hard limit is %d", n, limit.Max)
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
