package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// waitingRoom is Delays over a memory: what is not delivered yet is what its log says.
type waitingRoom struct {
	m       *memory
	skew    time.Duration // of the clock that it is told
	mu      sync.Mutex    // guards the rest
	fails   error
	during  func() // called once, when what is due has been looked for
	asked   int
	commits [][]time.Time
}

func (w *waitingRoom) Release(_ context.Context, namespace string, now time.Time, most int) (released []time.Time, next time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked++; w.fails != nil {
		return nil, time.Time{}, w.fails
	}
	waiting := w.m.waiting(namespace)
	slices.SortStableFunc(waiting, func(a, b bus.Event) int {
		return cmp.Compare(a.Timing.DeliverAt.UnixNano(), b.Timing.DeliverAt.UnixNano())
	})
	for _, e := range waiting {
		due := e.Timing.DeliverAt
		if due.After(now.Add(w.skew)) || len(released) == most {
			next = due
			break
		}
		w.m.again(e)
		released = append(released, due)
	}
	if during := w.during; during != nil {
		w.during = nil
		during()
	}
	if len(released) > 0 {
		w.commits = append(w.commits, released)
	}
	return released, next, nil
}

func (w *waitingRoom) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails = err
}

// waiting returns the events that were put off and not delivered.
func (m *memory) waiting(namespace string) []bus.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := make(map[uint64]bool)
	for _, e := range m.logs[namespace].events {
		if e.Timing != nil {
			done[e.Timing.Published] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(m.logs[namespace].events), func(e bus.Event) bool { return !e.Waits() || done[e.Index] })
}

// again appends an event that was put off once more.
func (m *memory) again(e bus.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logs[bus.Namespace(e.Subject)]
	e.Timing = &bus.Timing{DeliverAt: e.Timing.DeliverAt, Published: e.Index}
	e.Index = uint64(len(l.events) + 1)
	l.events = append(l.events, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// scheduled runs a test with a schedule over a memory in a bubble.
type scheduled struct {
	t        *testing.T
	m        *memory
	h        *Hub
	room     *waitingRoom
	schedule *Schedule

	mu       sync.Mutex // guards the rest
	late     []time.Duration
	failures []error
}

func withSchedule(t *testing.T, run func(t *testing.T, s *scheduled)) {
	bubble(t, Options{}, func(t *testing.T, m *memory, h *Hub) {
		s := &scheduled{t: t, m: m, h: h, room: &waitingRoom{m: m}}
		s.start()
		defer func() { s.schedule.Close() }()
		run(t, s)
	})
}

// start is a server's start.
func (s *scheduled) start() {
	s.schedule = NewSchedule(s.room, func(_ string, late []time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.late = append(s.late, late...)
	}, func(_ string, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failures = append(s.failures, err)
	})
	s.schedule.Expect("a", time.Time{})
}

func (s *scheduled) lates() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.late)
}

// looked returns how often the schedule has looked, and in how many commits it has
// delivered.
func (s *scheduled) looked() (times, commits int) {
	synctest.Wait()
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.room.asked, len(s.room.commits)
}

// put publishes an event that waits.
func (s *scheduled) put(delay time.Duration) {
	due := time.Now().Add(delay)
	publishTimed(s.m, "a.x", 0, delay)
	s.schedule.Expect("a", due)
}

// deliveries wants these events, each so long after the test's start, and no more
// for an hour.
func (s *scheduled) deliveries(from *Stream, start time.Time, want ...string) {
	s.t.Helper()
	var got []string
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Hour)
	defer cancel()
	for {
		chunk, err := from.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
		for _, d := range chunk.Deliveries {
			got = append(got, fmt.Sprintf("%s at %s", d.Event.Id, time.Since(start)))
		}
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

func (s *scheduled) live() *Stream {
	return open(s.t, s.h, Spec{Places: []Place{place(s.t, 1, "a.x")}})
}

func TestAnEventIsDeliveredTheMomentItIsDueAndNotBefore(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		from := s.live()
		defer from.Close()
		start := time.Now()
		s.put(90 * time.Second)
		s.put(1500 * time.Millisecond)
		s.m.publish("a.x")
		s.deliveries(from, start, "e_a-3 at 0s", "e_a-2 at 1.5s", "e_a-1 at 1m30s")
		for _, late := range s.lates() {
			if late != 0 {
				t.Errorf("got it %s late, want none", late)
			}
		}
	})
}

func TestWhatComesDueEarlierThanWhatIsSleptForIsNotWaitedWith(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		from := s.live()
		defer from.Close()
		start := time.Now()
		s.put(900 * time.Millisecond)
		synctest.Wait()
		s.put(100 * time.Millisecond)
		synctest.Wait()
		s.put(10 * time.Millisecond)
		s.deliveries(from, start, "e_a-3 at 10ms", "e_a-2 at 100ms", "e_a-1 at 900ms")
	})
}

func TestWhatIsDueTogetherGoesOutInOrderAndAsFewCommits(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		from := s.live()
		defer from.Close()
		start := time.Now()
		const n = 2*releaseMost + 7
		var want []string
		for i := range n {
			publishTimed(s.m, "a.x", 0, 3*time.Second)
			want = append(want, fmt.Sprintf("e_a-%d at 3s", i+1))
		}
		s.schedule.Expect("a", start.Add(3*time.Second))
		s.deliveries(from, start, want...)
		if _, got := s.looked(); got != 3 {
			t.Errorf("got %d commits, want 3", got)
		}
	})
}

func TestWhatCameDueWhileTheServerWasDownGoesOutAtOnceInOrder(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		start := time.Now()
		s.put(3 * time.Second)
		s.put(2 * time.Second)
		s.put(time.Hour)
		s.schedule.Close()
		<-time.After(time.Minute)
		from := s.live()
		defer from.Close()
		nothing(t, from, time.Minute)
		s.start()
		s.deliveries(from, start, "e_a-2 at 2m0s", "e_a-1 at 2m0s", "e_a-3 at 1h0m0s")
		if want := []time.Duration{118 * time.Second, 117 * time.Second, 0}; !slices.Equal(s.lates(), want) {
			t.Errorf("got them %s late, want %s", s.lates(), want)
		}
	})
}

func TestAClockThatIsSetIsNoticedWithinASecond(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		from := s.live()
		defer from.Close()
		start := time.Now()
		s.put(time.Hour)
		<-time.After(10*time.Second + 500*time.Millisecond)
		s.room.mu.Lock()
		s.room.skew = 2 * time.Hour
		s.room.mu.Unlock()
		s.deliveries(from, start, "e_a-1 at 11s")
	})
}

func TestAFailedDeliveryIsTriedAgainAndSaidOnce(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		from := s.live()
		defer from.Close()
		s.room.fail(bus.ErrInsufficientSpace)
		s.put(time.Second)
		s.put(2 * time.Second)
		nothing(t, from, 5*time.Minute)
		if got, _ := s.looked(); got > 100 {
			t.Errorf("got %d tries in 5 minutes, want a back-off", got)
		}
		s.room.fail(nil)
		if chunk := next(t, from); show(chunk) != "a.x 3(1)\na.x 4(1)\n" {
			t.Errorf("got %q, want both", show(chunk))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.failures) != 2 || !errors.Is(s.failures[0], bus.ErrInsufficientSpace) || s.failures[1] != nil {
			t.Errorf("got failures %v, want it once, and that it is over", s.failures)
		}
	})
}

func TestNothingRunsWhileNothingWaits(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		asked, _ := s.looked()
		<-time.After(time.Hour)
		if got, _ := s.looked(); got != asked {
			t.Errorf("got %d looks in an hour in which nothing waited, want none", got-asked)
		}
		s.put(time.Second)
		<-time.After(time.Minute)
		if _, got := s.looked(); got != 1 {
			t.Errorf("got %d commits, want the one", got)
		}
	})
}

func TestADroppedNamespaceIsLookedAtNoMore(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		s.put(time.Second)
		synctest.Wait()
		s.schedule.Drop("a")
		s.schedule.Drop("a")
		<-time.After(time.Minute)
		if _, got := s.looked(); got != 0 {
			t.Errorf("got %d commits, want none", got)
		}
		s.schedule.Expect("a", time.Time{})
		synctest.Wait()
		if _, got := s.looked(); got != 1 {
			t.Errorf("declared again: got %d commits, want one", got)
		}
	})
}

func TestWhatIsStoredWhileTheLastIsDeliveredIsNotForgotten(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		from := s.live()
		defer from.Close()
		start := time.Now()
		s.put(time.Second)
		synctest.Wait()
		<-time.After(500 * time.Millisecond)
		s.room.mu.Lock()
		s.room.during = func() { s.put(time.Second) } // when the first one is delivered
		s.room.mu.Unlock()
		s.deliveries(from, start, "e_a-1 at 1s", "e_a-3 at 2s")
	})
}

func TestANamespaceThatIsGoneIsLeftAlone(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		s.put(time.Second)
		synctest.Wait()
		s.room.fail(bus.ErrUnknownNamespace)
		<-time.After(time.Minute)
		before, _ := s.looked()
		<-time.After(time.Hour)
		if got, _ := s.looked(); got != before || len(s.failures) != 0 {
			t.Errorf("got %d more looks and failures %v, want none", got-before, s.failures)
		}
	})
}

// TestRandomDelaysReachEveryReaderOnceAndNeverEarlyOverRestarts has readers that come
// and go: each resumes where the one before it was.
func TestRandomDelaysReachEveryReaderOnceAndNeverEarlyOverRestarts(t *testing.T) {
	for seed := range uint64(20) {
		withSchedule(t, func(t *testing.T, s *scheduled) {
			rng := rand.New(rand.NewPCG(seed, 1))
			due := make(map[string]time.Time)
			seen := [3][]string{}
			at := [3]uint64{1, 1, 1}
			for range 60 {
				synctest.Wait() // what is due by now has its place
				switch rng.IntN(6) {
				case 0:
					s.schedule.Close()
					<-time.After(time.Duration(rng.IntN(3000)) * time.Millisecond)
					s.start()
				case 1, 2:
					delay := time.Duration(1+rng.IntN(8000)) * time.Millisecond
					due[eventID("a", s.m.next("a"))] = time.Now().Add(delay)
					s.put(delay)
				case 3:
					due[eventID("a", s.m.next("a"))] = time.Now()
					s.m.publish("a.x")
				default:
					<-time.After(time.Duration(rng.IntN(2000)) * time.Millisecond)
				}
				who := rng.IntN(len(seen))
				seen[who], at[who] = s.readOn(t, seen[who], at[who], due)
			}
			<-time.After(time.Minute)
			for who := range seen {
				seen[who], _ = s.readOn(t, seen[who], at[who], due)
				if len(seen[who]) != len(due) || !slices.Equal(seen[who], seen[0]) {
					t.Fatalf("seed %d: reader %d got %d events, want %d, in one order for all", seed, who, len(seen[who]), len(due))
				}
			}
		})
	}
}

// readOn reads what there is from a position on, and returns where it ends.
func (s *scheduled) readOn(t *testing.T, seen []string, from uint64, due map[string]time.Time) ([]string, uint64) {
	t.Helper()
	place := place(t, from, "a.x")
	place.Until = s.m.next("a")
	stream := open(t, s.h, Spec{Places: []Place{place}})
	defer stream.Close()
	for {
		chunk, err := stream.Next(t.Context())
		for _, d := range chunk.Deliveries {
			if at, published := due[d.Event.Id]; !published || time.Now().Before(at) || slices.Contains(seen, d.Event.Id) {
				t.Fatalf("got %s at %s, due at %s, after %s", d.Event.Id, time.Now(), at, seen)
			}
			seen = append(seen, d.Event.Id)
		}
		if errors.Is(err, io.EOF) {
			return seen, place.Until
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// next is one past the last index of a namespace.
func (m *memory) next(namespace string) uint64 {
	_, next := m.Bounds(namespace)
	return next
}

// TestStreamsGetADelayedEventAtItsPlaceWhereverTheyBegin resumes behind the place at
// which it waited, and reads from the oldest on.
func TestStreamsGetADelayedEventAtItsPlaceWhereverTheyBegin(t *testing.T) {
	withSchedule(t, func(t *testing.T, s *scheduled) {
		s.put(time.Minute)
		s.m.publish("a.x")
		behind := open(t, s.h, Spec{Places: []Place{place(t, 2, "a.x")}})
		defer behind.Close()
		wantChunk(t, behind, "a.x 2(1)\n")
		wantChunk(t, behind, "a.x 3(1)\n")
		s.m.publish("a.x")
		for name, from := range map[string]uint64{"oldest": 1, "behind where it waited": 2} {
			late := open(t, s.h, Spec{Places: []Place{place(t, from, "a.x")}})
			if got := show(next(t, late)); got != "a.x 2(1)\na.x 3(1)\na.x 4(1)\n" {
				t.Errorf("%s: got %q, want 2 to 4", name, got)
			}
			late.Close()
		}
	})
}
