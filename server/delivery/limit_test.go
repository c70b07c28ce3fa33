package delivery

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"example.com/bus"
)

func TestFramesAreBuiltOncePerEventAndFormat(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		var encoded atomic.Int64
		counting := &Format{Name: "counting", Encode: func(dst []byte, e *bus.Event) []byte {
			encoded.Add(1)
			return lines.Encode(dst, e)
		}}
		var streams []*Stream
		for i := range 30 {
			texts := [][]string{{"a.>"}, {"a.x"}, {"a.*", "a.x.>"}}[i%3]
			s := open(t, h, Spec{Places: []Place{place(t, 1, texts...)}, Format: counting, Shared: true})
			defer s.Close()
			nothing(t, s, time.Millisecond)
			streams = append(streams, s)
		}
		const events = 10
		publishMany(m, events, "a.x")
		for _, s := range streams {
			if got := next(t, s).Count; got != events {
				t.Errorf("got %d frames, want %d", got, events)
			}
		}
		if got := encoded.Load(); got != events {
			t.Errorf("got %d events encoded for 30 streams in 3 views, want %d", got, events)
		}
		if got := len(h.feed("a").views); got != 3 {
			t.Errorf("got %d views, want 3", got)
		}
	})
}

func TestSamePatternsInAnotherOrderShareAView(t *testing.T) {
	one, two := patterns(t, "a.x", "a.y", "a.x"), patterns(t, "a.y", "a.x")
	if keyOf(lines, one) != keyOf(lines, two) {
		t.Error("got two keys, want one")
	}
	if keyOf(lines, one) == keyOf(&Format{}, two) {
		t.Error("got one key for two formats, want two")
	}
}

func TestAnyEventFits(t *testing.T) {
	for _, shared := range []bool{true, false} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			whole := &Format{Encode: func(dst []byte, e *bus.Event) []byte { return append(dst, e.Payload...) }}
			s := open(t, h, Spec{Places: []Place{place(t, 1, "a.x")}, Format: whole, Shared: shared})
			defer s.Close()
			m.payload = []byte(strings.Repeat("1", 3*chunkBytes))
			for range 2 { // replayed, then live
				publishMany(m, 3, "a.x")
				for got := 0; got < 3; {
					c := next(t, s)
					got += c.Count + len(c.Deliveries)
					if want := c.Count * 3 * chunkBytes; len(c.Frames) != want {
						t.Errorf("got %d bytes in %d frames, want %d", len(c.Frames), c.Count, want)
					}
				}
				nothing(t, s, time.Second)
			}
		})
	}
}

func TestQuietStreamsHoldNoBuffer(t *testing.T) {
	const streams = 2000
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 1000, "a.x")
		var before, after runtime.MemStats
		all := make([]*Stream, streams)
		pattern := place(t, 1, "a.x")
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range all {
			all[i] = open(t, h, Spec{ConsumerID: fmt.Sprint("c_", i), Places: []Place{pattern}, Format: lines, Shared: i%2 == 0})
			defer all[i].Close()
			for n := 0; n < 1000; {
				c := next(t, all[i])
				n += c.Count + len(c.Deliveries)
			}
			nothing(t, all[i], time.Microsecond)
		}
		publishMany(m, 200, "a.x")
		for _, s := range all {
			for n := 0; n < 200; {
				c := next(t, s)
				n += c.Count + len(c.Deliveries)
			}
			nothing(t, s, time.Microsecond)
		}
		<-time.After(2 * idleSlabs)
		runtime.GC()
		runtime.ReadMemStats(&after)
		got := int(after.HeapAlloc-before.HeapAlloc) / streams
		t.Logf("%d bytes a quiet stream", got)
		if got > 2<<10 {
			t.Errorf("got %d bytes a quiet stream, want at most 2048", got)
		}
		f := h.feed("a")
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.slabSum != 0 {
			t.Errorf("got %d bytes of frames kept, want 0", f.slabSum)
		}
	})
}

func TestCloseDuringAReadLeavesNoReader(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 10, "a.x")
		gate := make(chan struct{})
		m.reading = func() { <-gate }
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.x")}, Format: lines, Shared: true})
		end := make(chan error)
		go func() {
			_, err := s.Next(t.Context())
			end <- err
		}()
		synctest.Wait() // it reads
		s.Close()
		close(gate)
		if err := <-end; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		wantEmpty(t, h, m)
	})
}

func TestRetentionBehindASlowReaderIsAGap(t *testing.T) {
	bubble(t, Options{RingBytes: 1}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.x")}})
		defer s.Close()
		nothing(t, s, time.Second)
		for range 1000 {
			m.publish("a.x")
		}
		synctest.Wait()
		m.retain("a", 900)
		got, gaps := 0, []Gap(nil)
		for s.Positions()[0].Next < 1001 {
			c := next(t, s)
			got += len(c.Deliveries)
			gaps = append(gaps, c.Gaps...)
		}
		if len(gaps) != 1 || gaps[0].Reason != ReasonRetention || gaps[0].Next != 900 || got != int(gaps[0].From)-1+101 {
			t.Errorf("got %d events and gaps %+v, want everything before and after one gap that ends at 900", got, gaps)
		}
	})
}

func TestRetentionOfAllThereIsIsAGapForWhoReadsAndForWhoWaits(t *testing.T) {
	bubble(t, Options{RingBytes: 1}, func(t *testing.T, m *memory, h *Hub) {
		slow := open(t, h, Spec{Places: []Place{place(t, 1, "a.x")}})
		defer slow.Close()
		nothing(t, slow, time.Second)
		for range 1000 {
			m.publish("a.x")
		}
		synctest.Wait()
		m.retain("a", 1001) // nothing is left, and nothing new comes
		late := open(t, h, Spec{Places: []Place{place(t, 500, "a.x")}})
		defer late.Close()
		for _, s := range []*Stream{slow, late} {
			var gaps []Gap
			for s.Positions()[0].Next < 1001 {
				gaps = append(gaps, next(t, s).Gaps...)
			}
			if len(gaps) != 1 || gaps[0].Reason != ReasonRetention || gaps[0].Next != 1001 {
				t.Errorf("got the gaps %+v, want one that ends at 1001", gaps)
			}
			nothing(t, s, time.Second) // it waits now
		}
		m.publish("a.x")
		if got := next(t, late).Deliveries; len(got) != 1 || got[0].Event.Index != 1001 {
			t.Errorf("got %d events, want the one at 1001", len(got))
		}
	})
}

func TestAGapIsSaidBetweenTheEventsAroundIt(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		publishMany(m, 6, "a.x")
		m.step = 1
		m.logs["a"].damage = []DamageError{{Namespace: "a", From: 3, Next: 5, Err: errors.New("rot")}}
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.x")}, Format: lines, Shared: true})
		defer s.Close()
		wantChunk(t, s, "a.x 1\na.x 2\n")
		if got, want := s.Positions()[0].Next, uint64(3); got != want {
			t.Errorf("got position %d, want %d: who resumes must still hear of the gap", got, want)
		}
		text := show(next(t, s))
		if !strings.Contains(text, "gap a 3-5 damage") {
			t.Errorf("got %q, want the gap", text)
		}
	})
}

func TestAStreamWithALimitEndsOnceAllItCarriedIsSettled(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.1", "a.2", "a.3")
		s := open(t, h, Spec{ConsumerID: "c", Limit: 2, Places: []Place{place(t, 1, "a.>")}, Ack: &AckSpec{Redelivery: time.Minute}})
		defer s.Close()
		if got := len(next(t, s).Deliveries); got != 2 {
			t.Fatalf("got %d events, want 2", got)
		}
		nothing(t, s, time.Second)
		settle(t, h, Verdict{Kind: Ack}, false, 1, 2)
		if chunk, err := s.Next(t.Context()); err != io.EOF {
			t.Errorf("after all acks: got %s, %v, want EOF", show(chunk), err)
		}
		if got := s.Positions()[0].Next; got != 3 {
			t.Errorf("resume point: got %d, want 3: the third was not carried", got)
		}
	})
}

func TestAStreamWithALimitEndsAfterItWithoutAcknowledgement(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Limit: 2, Format: lines, Shared: true, Inboxes: []string{"_bus_.x"}, Places: []Place{place(t, 1, "a.>")}})
		defer s.Close()
		h.Deliver("_bus_.x", bus.Event{Id: "i", Subject: "_bus_.x"})
		next(t, s)
		m.publish("a.1", "a.2")
		if got := len(next(t, s).Deliveries); got != 1 {
			t.Errorf("got %d events after an inbox event, want 1", got)
		}
		if _, err := s.Next(t.Context()); err != io.EOF {
			t.Errorf("got %v, want EOF", err)
		}
		if got := s.Positions()[0].Next; got != 2 {
			t.Errorf("resume point: got %d, want 2", got)
		}
	})
}

func TestAnEventInFlightKeepsNoOtherInMemory(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.1")
		s := open(t, h, Spec{ConsumerID: "c", Places: []Place{place(t, 1, "a.>")}, Ack: &AckSpec{Redelivery: time.Minute}})
		defer s.Close()
		old := next(t, s).Deliveries[0].Event // read from the log
		nothing(t, s, time.Second)
		m.publish("a.2")
		live := next(t, s).Deliveries[0].Event // from the feed
		for i, e := range []*bus.Event{old, live} {
			stored := m.logs["a"].events[i]
			if e.Index != stored.Index || &e.Payload[0] == &stored.Payload[0] || unsafe.StringData(e.Subject) == unsafe.StringData(stored.Subject) {
				t.Errorf("event %d shares memory with its commit", e.Index)
			}
		}
	})
}

func TestTheWindowIsFullOfBytesToo(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.payload = make([]byte, 10<<20)
		m.publish("a.1", "a.2", "a.3")
		s := open(t, h, Spec{ConsumerID: "c", Places: []Place{place(t, 1, "a.>")}, Ack: &AckSpec{Redelivery: time.Minute}})
		defer s.Close()
		out := 0
		for out < 2 {
			out += len(next(t, s).Deliveries)
		}
		nothing(t, s, time.Second)
		settle(t, h, Verdict{Kind: Ack}, false, 1)
		if got := next(t, s).Deliveries[0].Event.Index; got != 3 {
			t.Errorf("got event %d once there was room, want 3", got)
		}
	})
}

func TestAnInboxIsFullOfBytesToo(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Inboxes: []string{"_bus_.x"}})
		defer s.Close()
		taken := 0
		for range 10 {
			taken += h.Deliver("_bus_.x", bus.Event{Id: "i", Subject: "_bus_.x", Payload: make([]byte, 1<<20)})
		}
		if taken < 4 || taken > 5 {
			t.Errorf("got %d events of 1 MiB taken, want 4 MiB's worth", taken)
		}
		for {
			if _, err := s.Next(t.Context()); err != nil {
				if !errors.Is(err, ErrSlowInbox) {
					t.Errorf("got %v, want ErrSlowInbox", err)
				}
				return
			}
		}
	})
}
