package delivery

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// bubble runs a test with a hub over an empty memory, and closes the hub.
func bubble(t *testing.T, o Options, test func(t *testing.T, m *memory, h *Hub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory("a", "b")
		if o.Lookup == nil {
			o.Lookup = m.lookup
		}
		h := NewHub(m, []string{"a", "b"}, o)
		test(t, m, h)
		h.Close()
		synctest.Wait()
		if m.readers != 0 {
			t.Errorf("got %d readers open at the end, want 0", m.readers)
		}
	})
}

func TestSharedStreamReplaysThenFollows(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.x", "a.y", "a.x")
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.x")}, Format: lines, Shared: true})
		defer s.Close()
		if c := wantChunk(t, s, "a.x 1\na.x 3\n"); c.Count != 2 {
			t.Errorf("got Count %d, want 2", c.Count)
		}
		nothing(t, s, time.Second)
		m.publish("a.y", "a.x")
		m.publish("a.x")
		synctest.Wait()
		if c := wantChunk(t, s, "a.x 5\na.x 6\n"); c.Count != 2 {
			t.Errorf("got Count %d, want 2", c.Count)
		}
		m.publish("a.y")
		nothing(t, s, time.Second)
		if got, want := s.Positions()[0].Next, uint64(8); got != want {
			t.Errorf("got position %d, want %d: a stream that nothing matches stays at the tail", got, want)
		}
	})
}

func TestDeliveriesOfSeveralNamespaces(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.x", "a.y")
		m.publish("b.x")
		s := open(t, h, Spec{Places: []Place{place(t, 0, "a.>"), place(t, 0, "b.>")}, Format: lines, Shared: true})
		defer s.Close()
		wantChunk(t, s, "a.x 1(1)\na.y 2(1)\nb.x 1(1)\n")
		nothing(t, s, time.Second)
		m.publish("b.y")
		wantChunk(t, s, "b.y 2(1)\n")
	})
}

func TestBoundedStreamEnds(t *testing.T) {
	for _, shared := range []bool{true, false} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			m.publish("a.x", "a.x", "a.x")
			p := place(t, 1, "a.x")
			p.Until = 3
			s := open(t, h, Spec{Places: []Place{p}, Format: lines, Shared: shared})
			defer s.Close()
			if c := next(t, s); c.Count+len(c.Deliveries) != 2 {
				t.Errorf("got %s, want 2 events", show(c))
			}
			for range 2 {
				if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
					t.Errorf("got %v, want io.EOF", err)
				}
			}
			if got := s.Positions()[0].Next; got != 3 {
				t.Errorf("got position %d, want 3", got)
			}
		})
	}
}

func TestBoundBeyondTheTailEndsWhenTheLogReachesIt(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		p := place(t, 1, "a.x")
		p.Until = 4
		s := open(t, h, Spec{Places: []Place{p}, Format: lines, Shared: true})
		defer s.Close()
		nothing(t, s, time.Second)
		m.publish("a.x", "a.y")
		wantChunk(t, s, "a.x 1\n")
		go m.publish("a.y", "a.x") // passes the bound without a match below it
		if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want io.EOF", err)
		}
	})
}

func TestGapsAreSaidAndPassed(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		for range 10 {
			m.publish("a.x")
		}
		m.retain("a", 3)
		m.logs["a"].damage = []DamageError{{Namespace: "a", From: 5, Next: 8, Err: errors.New("rot")}}
		s := open(t, h, Spec{Places: []Place{place(t, 1, "a.>")}, Format: lines, Shared: true})
		defer s.Close()
		var got string
		for range 3 {
			got += show(next(t, s))
		}
		want := "a.x 3\na.x 4\ngap a 1-3 retention\ngap a 5-8 damage\na.x 8\na.x 9\na.x 10\n"
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestCloseEndsAWaitingNext(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Places: []Place{place(t, 0, "a.>")}, Format: lines, Shared: true})
		go func() {
			synctest.Wait()
			s.Close()
			s.Close()
		}()
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

func TestHubCloseHandsOnWhatIsPendingFirst(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		shared := open(t, h, Spec{Places: []Place{place(t, 0, "a.>")}, Format: lines, Shared: true})
		single := open(t, h, Spec{Places: []Place{place(t, 0, "a.>")}})
		for _, s := range []*Stream{shared, single} {
			nothing(t, s, time.Second)
		}
		m.publish("a.x")
		synctest.Wait()
		h.Close()
		wantChunk(t, shared, "a.x 1\n")
		wantChunk(t, single, "a.x 1(1)\n")
		for _, s := range []*Stream{shared, single} {
			if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
			s.Close()
		}
		if _, err := h.Open(Spec{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Open: got %v, want ErrClosed", err)
		}
	})
}

func TestAFailedSourceEndsItsStreams(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Places: []Place{place(t, 0, "a.>")}, Format: lines, Shared: true})
		defer s.Close()
		nothing(t, s, time.Second)
		broken := errors.New("engine is closed")
		go m.fail(broken)
		if _, err := s.Next(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
	})
}

func TestNextAfterCancelLosesNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := open(t, h, Spec{Places: []Place{place(t, 0, "a.>")}, Format: lines, Shared: true})
		defer s.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		m.publish("a.x")
		wantChunk(t, s, "a.x 1\n")
	})
}

func TestOpenRefusesWhatItCannotCarry(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		for name, test := range map[string]struct {
			spec Spec
			want error
		}{
			"namespace": {Spec{Places: []Place{place(t, 0, "c.x")}}, bus.ErrUnknownNamespace},
			"twice":     {Spec{Places: []Place{place(t, 0, "a.x"), place(t, 0, "a.y")}}, bus.ErrInvalidParameter},
			"pattern":   {Spec{Places: []Place{{Namespace: "a", Patterns: patterns(t, "b.x")}}}, bus.ErrInvalidSubject},
			"inbox":     {Spec{Inboxes: []string{"a.x"}}, bus.ErrInvalidSubject},
			"window":    {Spec{Ack: &AckSpec{Inflight: -1}}, bus.ErrInvalidParameter},
		} {
			if _, err := h.Open(test.spec); !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", name, err, test.want)
			}
		}
		s := open(t, h, Spec{ConsumerID: "c_1", Places: []Place{place(t, 0, "a.x")}})
		if got := h.Streams("a") + h.Streams("b"); got != 1 {
			t.Errorf("got %d consumers, want 1", got)
		}
		if _, err := h.Open(Spec{ConsumerID: "c_1"}); !errors.Is(err, ErrConsumerBusy) {
			t.Errorf("got %v, want ErrConsumerBusy", err)
		}
		s.Close()
		open(t, h, Spec{ConsumerID: "c_1"}).Close()
	})
}
