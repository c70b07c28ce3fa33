package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// subscriber reads a stream to a target index and checks that it gets exactly
// what it should, in order.
type subscriber struct {
	stream   *Stream
	patterns []bus.Pattern
	from     uint64
	pause    time.Duration // at most, between two reads
	r        *rand.Rand
	got      []uint64
	picks    picks // what it carries below its seam
}

// follow reads until position reaches end.
func (s *subscriber) follow(ctx context.Context, h *Hub, end uint64) error {
	before := uint64(0)
	for {
		at := s.stream.Positions()[0].Next
		if at < before {
			return fmt.Errorf("the position fell back from %d to %d", before, at)
		}
		before = at
		if at >= end {
			return nil
		}
		short, cancel := context.WithTimeout(ctx, time.Minute)
		chunk, err := s.stream.Next(short)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			if at = s.stream.Positions()[0].Next; at < end {
				return fmt.Errorf("nothing for a minute at position %d, want %d", at, end)
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := s.take(h, chunk); err != nil {
			return err
		}
		if s.pause > 0 && s.r.IntN(3) == 0 {
			<-time.After(time.Duration(s.r.Int64N(int64(s.pause))))
		}
	}
}

func (s *subscriber) take(h *Hub, chunk Chunk) error {
	count := 0
	for line := range bytes.Lines(chunk.Frames) {
		_, text, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		index, err := strconv.ParseUint(string(text), 10, 64)
		if err != nil {
			return fmt.Errorf("broken frame %q", line)
		}
		s.got = append(s.got, index)
		count++
	}
	if count != chunk.Count {
		return fmt.Errorf("got Count %d for %d frames", chunk.Count, count)
	}
	for _, d := range chunk.Deliveries {
		s.got = append(s.got, d.Event.Index)
		if s.stream.flights == nil {
			continue
		}
		if _, err := h.Settle(s.stream.id, []string{d.Event.Id}, Verdict{}, s.r.IntN(2) == 0); err != nil {
			return err
		}
	}
	return nil
}

// check compares with what the log says it should have got.
func (s *subscriber) check(t *testing.T, log []bus.Event) {
	t.Helper()
	var want []uint64
	for i := range log {
		for _, p := range s.patterns {
			if log[i].Index >= s.from && p.Match(log[i].Subject) && s.picks.has(log[i].Index) {
				want = append(want, log[i].Index)
				break
			}
		}
	}
	for i := range max(len(s.got), len(want)) {
		if i >= len(s.got) || i >= len(want) || s.got[i] != want[i] {
			t.Errorf("patterns %v from %d: got %d events, want %d; they differ at %d: got %v, want %v",
				s.patterns, s.from, len(s.got), len(want), i, s.got[min(i, len(s.got)):min(i+3, len(s.got))], want[min(i, len(want)):min(i+3, len(want))])
			return
		}
	}
}

// schedule runs publishers and subscribers of all kinds against each other.
func schedule(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	m := newMemory("a")
	m.step = 1 + r.IntN(50)
	h := NewHub(m, []string{"a"}, Options{
		RingBytes: 1 + r.IntN(64*eventOverhead), SlabBytes: 1, ViewBytes: 1 + r.IntN(8<<10), Lookup: m.lookup,
	})
	subjects := []string{"a.p", "a.q", "a.p.q", "a.q.q", "a.r"}
	publish := func(n int) {
		batch := make([]string, n)
		for i := range batch {
			batch[i] = subjects[r.IntN(len(subjects))]
		}
		m.publish(batch...)
	}
	publish(1 + r.IntN(300))
	const total = 2000

	var all sync.WaitGroup
	var readers []*subscriber
	for i := range 2 + r.IntN(12) {
		choice := [][]string{{"a.>"}, {"a.p"}, {"a.*"}, {"a.p", "a.q.q", "a.*.q"}, {"a.r", "a.p.>"}, {"a.nobody"}}[r.IntN(6)]
		s := &subscriber{patterns: patterns(t, choice...), from: 1 + r.Uint64N(400), r: rand.New(rand.NewPCG(seed, uint64(i)))}
		spec := Spec{ConsumerID: fmt.Sprint("c_", i), Places: []Place{{Namespace: "a", Patterns: s.patterns, From: s.from}}, Format: lines, Shared: r.IntN(3) > 0}
		if r.IntN(3) == 0 {
			spec.Places[0] = m.pick(r, s)
		}
		if r.IntN(4) == 0 {
			spec.Ack = &AckSpec{Redelivery: time.Hour, Inflight: 1 + r.IntN(80)}
		}
		s.pause = []time.Duration{0, time.Millisecond, 100 * time.Millisecond}[r.IntN(3)]
		start := time.Duration(r.Int64N(int64(300 * time.Millisecond)))
		readers = append(readers, s)
		s.stream = open(t, h, spec)
		all.Go(func() {
			defer s.stream.Close()
			<-time.After(start)
			if err := s.follow(t.Context(), h, total+1); err != nil {
				t.Errorf("seed %d, %v: %v", seed, choice, err)
			}
		})
	}
	for len(m.logs["a"].events) < total {
		publish(min(1+r.IntN(40), total-len(m.logs["a"].events)))
		if r.IntN(2) == 0 {
			<-time.After(time.Duration(r.Int64N(int64(20 * time.Millisecond))))
		}
	}
	all.Wait()
	for _, s := range readers {
		s.check(t, m.logs["a"].events)
	}
	h.Close()
	wantEmpty(t, h, m)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// wantEmpty fails when closed streams have left anything behind.
func wantEmpty(t *testing.T, h *Hub, m *memory) {
	t.Helper()
	synctest.Wait() // a feed that was stopped closes its reader by itself
	for _, f := range *h.feeds.Load() {
		f.mu.Lock()
		if !f.trie.root.empty() || len(f.views)+len(f.cursors)+len(f.bounded)+len(f.frames)+f.slabs.Len()+f.slabSum != 0 || f.cancel != nil {
			t.Errorf("the feed of %s keeps something of streams that have closed", f.namespace)
		}
		f.mu.Unlock()
	}
	if n := len(h.streams) + len(h.consumers) + len(h.inboxes.listeners); n != 0 {
		t.Errorf("the hub keeps %d streams that have closed", n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readers != 0 {
		t.Errorf("got %d readers open, want 0", m.readers)
	}
}

func TestNoHoleAndNoRepeatAtTheSeam(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { schedule(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func TestSlowReaderNeitherSlowsOthersNorLosesAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory("a")
		h := NewHub(m, []string{"a"}, Options{RingBytes: 10 * eventOverhead, ViewBytes: 4 << 10, Lookup: m.lookup})
		var slow, fast []*Stream
		for range 3 {
			slow = append(slow, open(t, h, Spec{Places: []Place{place(t, 1, "a.>")}, Format: lines, Shared: true}),
				open(t, h, Spec{Places: []Place{place(t, 1, "a.>")}}))
			fast = append(fast, open(t, h, Spec{Places: []Place{place(t, 1, "a.>")}, Format: lines, Shared: true}))
		}
		for _, s := range append(slow, fast...) {
			nothing(t, s, time.Millisecond)
		}
		const total = 5000
		for i := range total {
			m.publish("a.x")
			synctest.Wait()
			start := time.Now()
			for _, s := range fast {
				wantChunk(t, s, fmt.Sprintf("a.x %d\n", i+1))
			}
			if d := time.Since(start); d != 0 {
				t.Fatalf("a good reader waited %v for event %d", d, i+1)
			}
		}
		if f := h.feed("a"); f.slabSum > 8<<10 || f.ring.bytes > 20*eventOverhead {
			t.Errorf("got %d bytes of frames and %d of events kept for slow readers", f.slabSum, f.ring.bytes)
		}
		for _, s := range slow {
			reader := &subscriber{stream: s, patterns: patterns(t, "a.>"), from: 1}
			if err := reader.follow(t.Context(), h, total+1); err != nil {
				t.Error(err)
			}
			reader.check(t, m.logs["a"].events)
			if c := s.cursors[0]; len(c.queue) != 0 {
				t.Errorf("got %d events queued in a stream with nothing pending", len(c.queue))
			}
		}
		for _, s := range append(slow, fast...) {
			s.Close()
		}
		h.Close()
		wantEmpty(t, h, m)
	})
}

func TestDamageUnderTheLiveFeedIsSaidOnceToEachStream(t *testing.T) {
	for _, shared := range []bool{true, false} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			s := open(t, h, Spec{Places: []Place{place(t, 1, "a.>")}, Format: lines, Shared: shared})
			defer s.Close()
			publishMany(m, 2, "a.x")
			next(t, s)
			nothing(t, s, time.Second)
			m.mu.Lock()
			m.logs["a"].damage = []DamageError{{Namespace: "a", From: 4, Next: 6, Err: errors.New("rot")}}
			m.mu.Unlock()
			publishMany(m, 6, "a.x")
			text := ""
			for !bytes.Contains([]byte(text), []byte("a.x 8")) {
				text += show(next(t, s))
			}
			want := "a.x 3\ngap a 4-6 damage\na.x 6\na.x 7\na.x 8\n"
			if !shared {
				want = "a.x 3(1)\ngap a 4-6 damage\na.x 6(1)\na.x 7(1)\na.x 8(1)\n"
			}
			if text != want && text != moveGap(want) {
				t.Errorf("shared %v: got %q, want %q", shared, text, want)
			}
		})
	}
}

// moveGap is how show prints a chunk that begins with the gap.
func moveGap(text string) string {
	gap := []byte("gap a 4-6 damage\n")
	before, after, _ := bytes.Cut([]byte(text), gap)
	return string(before) + string(after) + string(gap)
}

func TestDamageWithoutAnEndIsPassedAtTheTail(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 5, "a.x")
		m.logs["a"].damage = []DamageError{{Namespace: "a", From: 3, Err: io.ErrUnexpectedEOF}}
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.>")}, Format: lines, Shared: true})
		defer s.Close()
		wantChunk(t, s, "a.x 1\na.x 2\n")
		wantChunk(t, s, "gap a 3-6 damage\n")
		nothing(t, s, time.Second)
	})
}
