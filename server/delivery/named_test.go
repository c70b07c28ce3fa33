package delivery

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// book is a Journal in memory, and keeps what was said of every consumer.
type book struct {
	mu     sync.Mutex
	at     map[string]*Progress
	notes  int
	failed error
	dead   []DeadLetter
	lost   error // of dead letters
	hold   chan struct{}
	refuse func(Note) error
}

func newBook() *book { return &book{at: make(map[string]*Progress)} }

func (b *book) Write(_ context.Context, n Note) error {
	b.mu.Lock()
	hold := b.hold
	b.mu.Unlock()
	if hold != nil {
		<-hold
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed != nil {
		return b.failed
	}
	if b.refuse != nil {
		if err := b.refuse(n); err != nil {
			return err
		}
	}
	b.notes++
	if b.at[n.Consumer] == nil {
		b.at[n.Consumer] = &Progress{}
	}
	b.at[n.Consumer].Apply(n)
	return nil
}

// fail has what comes fail, nil: no more.
func (b *book) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
}

// delay makes notes wait until release is called.
func (b *book) delay() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	hold := make(chan struct{})
	b.hold = hold
	return func() {
		b.mu.Lock()
		b.hold = nil
		b.mu.Unlock()
		close(hold)
	}
}

func (b *book) bury(d DeadLetter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost != nil {
		return b.lost
	}
	b.dead = append(b.dead, d)
	return nil
}

// named is a hub with one named consumer, that can be killed.
type named struct {
	t    *testing.T
	m    *memory
	book *book
	spec ConsumerSpec
	h    *Hub
	c    *Consumer
}

func withNamed(t *testing.T, ack AckSpec, test func(t *testing.T, n *named)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &named{t: t, m: newMemory("a"), book: newBook()}
		n.spec = ConsumerSpec{Namespace: "a", Name: "billing", Patterns: patterns(t, "a.x"), Ack: ack}
		n.start()
		test(t, n)
		n.h.Close()
		synctest.Wait()
		if n.m.readers != 0 {
			t.Errorf("got %d readers open at the end, want 0", n.m.readers)
		}
	})
}

// start is a server that comes up with what was written down.
func (n *named) start() {
	n.t.Helper()
	n.spec.Resumed = n.h != nil
	n.h = NewHub(n.m, []string{"a"}, Options{Lookup: n.m.lookup, Journal: n.book, Bury: n.book.bury})
	at := Progress{Next: 1}
	if p := n.book.at[n.spec.Name]; p != nil {
		at = p.clone()
	}
	c, err := n.h.Declare(n.spec, at)
	if err != nil {
		n.t.Fatal(err)
	}
	n.c = c
}

// kill ends the server without a word, and starts the next.
func (n *named) kill() {
	n.t.Helper()
	n.h.Close()
	synctest.Wait()
	n.start()
}

func (n *named) join(spec MemberSpec) *Member {
	n.t.Helper()
	m, err := n.c.Join(spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return m
}

func (n *named) settle(v Verdict, upTo bool, indexes ...uint64) string {
	n.t.Helper()
	var ids []string
	for _, index := range indexes {
		ids = append(ids, eventID("a", index))
	}
	settled, err := n.c.Settle(ids, v, upTo)
	if err != nil {
		n.t.Fatalf("Settle %v: %v", indexes, err)
	}
	text := ""
	for _, s := range settled {
		if text += " -"; s.EventID != "" {
			text = text[:len(text)-1] + s.EventID[len("e_a-"):]
		}
		if s.Already {
			text += "!"
		}
	}
	return text
}

func TestANamedConsumerGoesOnWhereItWasWithoutSayingWhere(t *testing.T) {
	for _, how := range []string{"reconnect", "kill"} {
		t.Run(how, func(t *testing.T) {
			withNamed(t, AckSpec{Redelivery: time.Minute}, func(t *testing.T, n *named) {
				n.m.publish("a.x", "a.y", "a.x", "a.x", "a.y", "a.x")
				m := n.join(MemberSpec{})
				wantChunk(t, m, "a.x 1(1)\na.x 3(1)\na.x 4(1)\na.x 6(1)\n")
				n.settle(Verdict{}, false, 1, 4)
				if m.Close(); how == "kill" {
					n.kill()
				}
				m = n.join(MemberSpec{})
				defer m.Close()
				chunk := next(t, m)
				for len(chunk.Deliveries) < 2 {
					chunk.Deliveries = append(chunk.Deliveries, next(t, m).Deliveries...)
				}
				if got := []uint64{chunk.Deliveries[0].Event.Index, chunk.Deliveries[1].Event.Index}; !slices.Equal(got, []uint64{3, 6}) {
					t.Fatalf("got %v, want 3 and 6: 1 and 4 were acknowledged", got)
				}
				n.settle(Verdict{}, false, 3, 6)
				n.m.publish("a.x")
				wantChunk(t, m, "a.x 7(1)\n")
				nothing(t, m, 10*time.Second)
			})
		})
	}
}

func TestConnectionsOfOneNameShareTheWork(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour, Inflight: 4}, func(t *testing.T, n *named) {
		one, two := n.join(MemberSpec{}), n.join(MemberSpec{})
		defer one.Close()
		publishMany(n.m, 6, "a.x")
		wantChunk(t, one, "a.x 1(1)\na.x 2(1)\n")
		wantChunk(t, two, "a.x 3(1)\na.x 4(1)\n")
		nothing(t, one, time.Second)
		n.settle(Verdict{}, false, 3)
		wantChunk(t, two, "a.x 5(1)\n")
		two.Close() // what it has goes to the other, as the window allows
		wantChunk(t, one, "a.x 4(2)\na.x 5(2)\n")
		n.settle(Verdict{}, true, 5)
		wantChunk(t, one, "a.x 6(1)\n")
	})
}

func TestAnEventWakesOneOfThoseWhoWait(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		woken := make([]int, 3)
		var members []*Member
		for i := range woken {
			m := n.join(MemberSpec{Wake: func() { woken[i]++ }})
			defer m.Close()
			members = append(members, m)
		}
		for _, m := range members {
			if chunk, _, err := m.Poll(); err != nil || !chunk.Empty() {
				t.Fatalf("got %s and %v, want nothing yet", show(chunk), err)
			}
		}
		clear(woken)
		for range woken {
			n.m.publish("a.x")
			synctest.Wait()
			looked, took := 0, 0
			for range members { // who is woken may have to wake another, who is to know when it is due
				for i, m := range members {
					for ; woken[i] > 0; woken[i] = 0 {
						chunk, _, err := m.Poll()
						if looked++; err != nil {
							t.Fatalf("member %d: %v", i, err)
						}
						if took += len(chunk.Deliveries); len(chunk.Deliveries) > 0 {
							m.Poll()
						}
					}
				}
			}
			if took != 1 || looked > 2 {
				t.Fatalf("%d looked and took %d events, want 1 taken by one of 2 at most", looked, took)
			}
		}
		for i, m := range members {
			if m.held > 2 {
				t.Errorf("member %d has %d of 3 events, want the work to go around", i, m.held)
			}
		}
	})
}

func TestAnAckIsDurableBeforeItIsAnswered(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		next(t, m)
		n.book.failed = errors.New("the disk is gone")
		if _, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false); !errors.Is(err, n.book.failed) {
			t.Fatalf("got %v, want that of the journal", err)
		}
		n.book.failed = nil
		wantChunk(t, m, "a.x 1(2)\na.x 2(2)\n")
		release := n.book.delay()
		answered := make(chan error, 1)
		go func() {
			_, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false)
			answered <- err
		}()
		synctest.Wait()
		select {
		case err := <-answered:
			t.Fatalf("answered with %v before it was written", err)
		default:
		}
		release()
		if err := <-answered; err != nil || len(n.book.at["billing"].Open)+len(n.book.at["billing"].Done) == 0 {
			t.Fatalf("got %v and %+v", err, n.book.at["billing"])
		}
	})
}

func TestANakIsKeptOverARestart(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second, Attempts: 3}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		m := n.join(MemberSpec{})
		next(t, m)
		n.settle(Verdict{Kind: Nak, Delay: time.Hour}, false, 1)
		m.Close()
		n.kill()
		m = n.join(MemberSpec{})
		defer m.Close()
		nothing(t, m, 59*time.Minute)
		wantChunk(t, m, "a.x 1(2)\n")
	})
}

func TestAnEventBecomesADeadLetterBeforeItLeaves(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second, Attempts: 2}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		next(t, m)
		n.settle(Verdict{Kind: Term}, false, 2)
		n.book.lost = errors.New("no room")
		wantChunk(t, m, "a.x 1(2)\n")
		nothing(t, m, 3*time.Second)
		if len(n.book.dead) != 1 || n.c.State().Unacked != 1 {
			t.Fatalf("got %+v and %+v, want 2 dead and 1 still there", n.book.dead, n.c.State())
		}
		n.book.lost = nil
		nothing(t, m, 10*time.Second)
		if len(n.book.dead) != 2 || n.book.dead[0].Reason != ReasonTerm || n.book.dead[1].Reason != ReasonAttempts || n.book.dead[1].Attempts != 2 {
			t.Fatalf("got %+v", n.book.dead)
		}
		if state := n.c.State(); state.Unacked != 0 || state.Dead != 2 || state.Floor != 2 {
			t.Fatalf("got %+v", state)
		}
		if _, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false); !errors.Is(err, bus.ErrNotDelivered) {
			t.Fatalf("an ack behind that: got %v, want %v", err, bus.ErrNotDelivered)
		}
		if err := n.c.Reopen(1); err != nil {
			t.Fatal(err)
		}
		wantChunk(t, m, "a.x 1(1)\n")
	})
}

func TestALeaseStaysOutWhenItsConnectionLeaves(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute}, func(t *testing.T, n *named) {
		publishMany(n.m, 5, "a.x")
		pull := func(limit int, want string) {
			t.Helper()
			m := n.join(MemberSpec{Limit: limit, Until: true, Lease: true})
			defer m.Close()
			got := ""
			for {
				chunk, err := m.Next(t.Context())
				if got += show(chunk); errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		pull(2, "a.x 1(1)\na.x 2(1)\n")
		pull(2, "a.x 3(1)\na.x 4(1)\n")
		if got, want := n.settle(Verdict{}, false, 1, 3), " 1 3"; got != want {
			t.Fatalf("nobody is connected: got%s, want%s", got, want)
		}
		pull(9, "a.x 5(1)\n")
		time.Sleep(time.Minute)
		pull(9, "a.x 2(2)\na.x 4(2)\na.x 5(2)\n")
		if got, want := n.settle(Verdict{}, true, 5), " 5 2 4"; got != want {
			t.Fatalf("up to: got%s, want%s", got, want)
		}
		time.Sleep(time.Hour)
		pull(9, "")
	})
}

func TestAConsumerIsPausedMovedChangedAndEnded(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		n.c.Pause(true)
		nothing(t, m, time.Hour)
		n.c.Pause(false)
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\na.x 3(1)\n")
		n.settle(Verdict{}, true, 3)
		if err := n.c.Reset(Progress{Next: 2}); err != nil {
			t.Fatal(err)
		}
		wantChunk(t, m, "a.x 2(1)\na.x 3(1)\n")
		if err := n.c.Change(AckSpec{Redelivery: time.Second, Backoff: []time.Duration{2 * time.Second, 5 * time.Second}}); err != nil {
			t.Fatal(err)
		}
		wantChunk(t, m, "a.x 2(2)\na.x 3(2)\n")
		nothing(t, m, 4*time.Second)
		wantChunk(t, m, "a.x 2(3)\na.x 3(3)\n")
		if err := n.h.Forget(n.c, bus.ErrUnknownConsumer, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Next(t.Context()); !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Fatalf("got %v, want the reason it was ended with", err)
		}
		if _, err := n.c.Join(MemberSpec{}); !errors.Is(err, bus.ErrUnknownConsumer) {
			t.Fatalf("got %v, want the reason it was ended with", err)
		}
	})
}
