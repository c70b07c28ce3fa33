package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/bus"
)

// memory is a Source in memory.
type memory struct {
	mu      sync.Mutex
	logs    map[string]*memoryLog
	failed  error
	step    int         // events a Reader.Next at most
	readers int         // open ones
	payload []byte      // of the events to come; nil: their index
	timing  *bus.Timing // of the events to come
	reading func()      // called by each Reader.Next, without a lock
	group   uint64      // events that Skip knows as one; 0: it knows nothing
	asked   int         // calls of Skip
}

type memoryLog struct {
	events  []bus.Event // event i has index i+1
	first   uint64
	changed chan struct{}
	damage  []DamageError
	removed []RemovedError
	spoilt  error // what is wrong with the end
}

func newMemory(namespaces ...string) *memory {
	m := &memory{logs: make(map[string]*memoryLog), step: 100, group: 7}
	for _, namespace := range namespaces {
		m.logs[namespace] = &memoryLog{first: 1, changed: make(chan struct{})}
	}
	return m
}

// publish appends one commit and returns its events.
func (m *memory) publish(subjects ...string) []bus.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[bus.Namespace(subjects[0])]
	from := len(l.events)
	for _, subject := range subjects {
		index := uint64(len(l.events) + 1)
		l.events = append(l.events, bus.Event{
			Id: eventID(bus.Namespace(subject), index), Subject: subject, Index: index,
			CreatedAt: time.Now(), Payload: m.payload, Timing: m.timing,
		})
		if m.payload == nil {
			l.events[index-1].Payload = strconv.AppendUint(nil, index, 10)
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return l.events[from:len(l.events):len(l.events)]
}

func eventID(namespace string, index uint64) string { return fmt.Sprintf("e_%s-%d", namespace, index) }

// retain drops everything below first.
func (m *memory) retain(namespace string, first uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs[namespace].first = first
}

// remove takes events out of the middle of "a".
func (m *memory) remove(from, next uint64, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs["a"].removed = append(m.logs["a"].removed, RemovedError{Namespace: "a", From: from, Next: next, Reason: reason})
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = err
	for _, l := range m.logs {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func (m *memory) Bounds(namespace string) (first, next uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[namespace]
	return l.first, uint64(len(l.events) + 1)
}

func (m *memory) Wait(ctx context.Context, namespace string, from uint64) error {
	for {
		m.mu.Lock()
		l := m.logs[namespace]
		next, changed, err := uint64(len(l.events)+1), l.changed, m.failed
		m.mu.Unlock()
		if next > from || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Skip knows all there is, up to the first damage, in groups of some events when
// it is told to.
func (m *memory) Skip(namespace string, from uint64, patterns []bus.Pattern) (at, until uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	l := m.logs[namespace]
	if m.group == 0 || from < l.first {
		return from, from + 1
	}
	end := uint64(len(l.events) + 1)
	for at = from; at < end; at = until {
		until = (at-1)/m.group*m.group + m.group + 1
		if l.mayHold(at, min(until, end), patterns) {
			return at, until
		}
	}
	return min(at, end), end
}

// mayHold reports whether a range holds a match, or damage.
func (l *memoryLog) mayHold(from, next uint64, patterns []bus.Pattern) bool {
	for i := range l.damage {
		if d := &l.damage[i]; d.From < next && (d.Next == 0 || d.Next > from) {
			return true
		}
	}
	return slices.ContainsFunc(l.events[from-1:next-1], func(e bus.Event) bool {
		return slices.ContainsFunc(patterns, func(p bus.Pattern) bool { return p.Match(e.Subject) })
	})
}

func (m *memory) Reader(namespace string, from uint64) Reader {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readers++
	return &memoryReader{m: m, l: m.logs[namespace], at: from}
}

// lookup is Options.Lookup.
func (m *memory) lookup(namespace, id string) (*bus.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[namespace]
	for i := range l.events {
		if r := l.removedAt(uint64(i + 1)); r != nil && l.events[i].Id == id {
			return nil, r
		}
		if l.events[i].Id == id {
			return &l.events[i], nil
		}
	}
	return nil, bus.ErrUnknownEvent
}

// removedAt is what a Reader says at an index.
func (l *memoryLog) removedAt(index uint64) *RemovedError {
	for _, r := range l.removed {
		if index >= r.From && index < r.Next {
			r.From = index
			return &r
		}
	}
	return nil
}

type memoryReader struct {
	m  *memory
	l  *memoryLog
	at uint64
}

func (r *memoryReader) Next() ([]bus.Event, error) {
	if r.m.reading != nil {
		r.m.reading()
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.failed != nil {
		return nil, r.m.failed
	}
	at := max(r.at, r.l.first)
	end := uint64(len(r.l.events) + 1)
	for i := range r.l.damage {
		d := &r.l.damage[i]
		if at >= d.From && (at < d.Next || d.Next == 0) && end > d.From {
			return nil, d
		}
		if at < d.From {
			end = min(end, d.From)
		}
	}
	if removed := r.l.removedAt(at); removed != nil && at < end {
		return nil, removed
	}
	for _, removed := range r.l.removed {
		if removed.From > at {
			end = min(end, removed.From)
		}
	}
	if at >= end && r.l.spoilt != nil {
		return nil, &DamageError{Namespace: "a", From: at, Err: r.l.spoilt}
	}
	if at >= end {
		return nil, io.EOF
	}
	end = min(end, at+uint64(r.m.step))
	r.at = end
	return r.l.events[at-1 : end-1 : end-1], nil
}

func (r *memoryReader) Seek(index uint64) { r.at = index }

func (r *memoryReader) Close() {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.readers--
}

var lines = &Format{Name: "lines", Encode: func(dst []byte, e *bus.Event) []byte {
	dst = append(dst, e.Subject...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, e.Index, 10)
	return append(dst, '\n')
}}

func patterns(t testing.TB, texts ...string) []bus.Pattern {
	t.Helper()
	var all []bus.Pattern
	for _, text := range texts {
		p, err := bus.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// place is a Place of the namespace of the patterns.
func place(t testing.TB, from uint64, texts ...string) Place {
	t.Helper()
	return Place{Namespace: bus.Namespace(texts[0]), Patterns: patterns(t, texts...), From: from}
}

func open(t testing.TB, h *Hub, spec Spec) *Stream {
	t.Helper()
	s, err := h.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// taker is a Stream, or a Member.
type taker interface {
	Next(ctx context.Context) (Chunk, error)
}

func next(t testing.TB, s taker) Chunk {
	t.Helper()
	chunk, err := s.Next(t.Context())
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return chunk
}

// nothing fails when there is something to send within d of the bubble's time.
func nothing(t testing.TB, s taker, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if chunk, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next: got %s, %v, want nothing", show(chunk), err)
	}
}

// show makes a chunk readable: index(attempt) of deliveries, the frames' lines.
func show(c Chunk) string {
	text := string(c.Frames)
	for _, d := range c.Deliveries {
		text += fmt.Sprintf("%s %d(%d)\n", d.Event.Subject, d.Event.Index, d.Attempt)
	}
	for _, g := range c.Gaps {
		text += fmt.Sprintf("gap %s %d-%d %s\n", g.Namespace, g.From, g.Next, g.Reason)
	}
	for _, d := range c.Dead {
		text += fmt.Sprintf("dead %d(%d)\n", d.Event.Index, d.Attempt)
	}
	return text
}

func wantChunk(t testing.TB, s taker, want string) Chunk {
	t.Helper()
	chunk := next(t, s)
	if got := show(chunk); got != want {
		t.Fatalf("got chunk %q, want %q", got, want)
	}
	return chunk
}
