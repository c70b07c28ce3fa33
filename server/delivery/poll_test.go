package delivery

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// polled opens a stream that is polled, and counts how often it was woken.
func polled(t *testing.T, h *Hub, spec Spec) (s *Stream, woken chan struct{}) {
	t.Helper()
	woken = make(chan struct{}, 100)
	spec.Wake = func() { woken <- struct{}{} }
	return open(t, h, spec), woken
}

// polls wants a chunk of so many events, and then nothing.
func polls(t *testing.T, s *Stream, want int) (due time.Time) {
	t.Helper()
	got := 0
	for {
		c, at, err := s.Poll()
		if err != nil {
			t.Fatal(err)
		}
		if c.Empty() {
			due = at
			break
		}
		got += c.Count + len(c.Deliveries)
	}
	if got != want {
		t.Errorf("got %d events, want %d", got, want)
	}
	return due
}

func TestAStreamThatIsPolledIsWokenForWhatComesAndNeverWaits(t *testing.T) {
	for _, shared := range []bool{true, false} {
		bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
			m.publish("a.x", "a.y")
			s, woken := polled(t, h, Spec{Places: []Place{place(t, 1, "a.x")}, Format: lines, Shared: shared})
			defer s.Close()
			polls(t, s, 1)
			for range 3 {
				for len(woken) > 0 {
					<-woken
				}
				m.publish("a.x", "a.x")
				synctest.Wait()
				if len(woken) == 0 {
					t.Fatal("the stream was not woken for an event of its own")
				}
				if due := polls(t, s, 2); !due.IsZero() {
					t.Errorf("got due %v, want never", due)
				}
			}
		})
	}
}

func TestAStreamThatIsPolledSaysWhenWhatIsInFlightIsDue(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		m.publish("a.x")
		s, _ := polled(t, h, Spec{ConsumerID: "c", Places: []Place{place(t, 1, "a.x")}, Ack: &AckSpec{Redelivery: time.Minute}})
		defer s.Close()
		due := polls(t, s, 1)
		if got := time.Until(due); got != time.Minute {
			t.Fatalf("got due in %v, want 1m", got)
		}
		polls(t, s, 0)
		time.Sleep(time.Until(due)) // in the bubble
		c, _, err := s.Poll()
		if err != nil || len(c.Deliveries) != 1 || c.Deliveries[0].Attempt != 2 {
			t.Errorf("got %+v, %v, want the event for the second time", c, err)
		}
	})
}

func TestAStreamThatIsPolledIsWokenByTheEndOfTheHub(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s, woken := polled(t, h, Spec{Places: []Place{place(t, 1, "a.x")}, Format: lines, Shared: true})
		defer s.Close()
		polls(t, s, 0)
		h.Close()
		<-woken
		if _, _, err := s.Poll(); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}
