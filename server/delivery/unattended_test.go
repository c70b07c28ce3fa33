package delivery

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// pulled takes up to limit events, as a pull that is answered and gone.
func (n *named) pulled(limit int) (got string) {
	n.t.Helper()
	m := n.join(MemberSpec{Limit: limit, Until: true, Lease: true})
	defer m.Close()
	for {
		chunk, err := m.Next(n.t.Context())
		if got += show(chunk); err != nil {
			return got
		}
	}
}

func (n *named) refused(v Verdict, upTo bool, index uint64) {
	n.t.Helper()
	if _, err := n.c.Settle([]string{eventID("a", index)}, v, upTo); !errors.Is(err, bus.ErrNotDelivered) {
		n.t.Fatalf("event %d: got %v, want that it was not delivered", index, err)
	}
}

func TestAfterARestartAnAckUpToSettlesAllThatWasDeliveredBeforeIt(t *testing.T) {
	for _, connected := range []bool{false, true} {
		withNamed(t, AckSpec{Redelivery: time.Hour, Inflight: 5}, func(t *testing.T, n *named) {
			n.m.publish("a.x", "a.y", "a.x", "a.x", "a.y", "a.x", "a.x", "a.x")
			n.pulled(3)
			n.settle(Verdict{}, false, 3)
			n.pulled(4)
			n.kill()
			if connected { // and 6 is out again: of 1 and 4 it is noted that somebody has them
				m := n.join(MemberSpec{Limit: 1})
				defer m.Close()
				wantChunk(t, m, "a.x 6(1)\n")
			}
			n.settle(Verdict{}, true, 7)
			n.kill()
			if got, want := n.pulled(9), "a.x 8(1)\n"; got != want {
				t.Fatalf("got %q, want %q: the others are acknowledged", got, want)
			}
		})
	}
}

func TestWhatWasNeverDeliveredIsNotAcknowledged(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		publishMany(n.m, 4, "a.x")
		n.c = nil
		n.spec.Name = "another"
		c, err := n.h.Declare(n.spec, Progress{Next: 1}) // when there are events already
		if err != nil {
			t.Fatal(err)
		}
		n.c = c
		for _, kind := range []Kind{Ack, Nak, Term, Wip} {
			n.refused(Verdict{Kind: kind}, false, 2)
		}
		n.refused(Verdict{}, true, 3)
		if got, want := n.pulled(9), "a.x 1(1)\na.x 2(1)\na.x 3(1)\na.x 4(1)\n"; got != want || len(n.book.dead) > 0 {
			t.Fatalf("got %q and %d dead letters, want %q and none", got, len(n.book.dead), want)
		}
	})
}

func TestAnAckOfBeforeAResetTakesNothingAwayFromWhatIsDeliveredAgain(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		publishMany(n.m, 4, "a.x")
		n.kill()
		n.pulled(4)
		if err := n.c.Reset(Progress{Next: 1}); err != nil {
			t.Fatal(err)
		}
		n.refused(Verdict{}, false, 2)
		n.refused(Verdict{}, true, 4)
		if got, want := n.pulled(9), "a.x 1(1)\na.x 2(1)\na.x 3(1)\na.x 4(1)\n"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestTheLastAttemptOfAPullThatIsGoneEndsInADeadLetter(t *testing.T) {
	for name, c := range map[string]struct {
		say  *Verdict
		wait time.Duration
	}{
		"its time is over":       {nil, time.Minute},
		"it was refused":         {&Verdict{Kind: Nak}, 0},
		"it was refused at last": {&Verdict{Kind: Nak, Delay: time.Hour}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			withNamed(t, AckSpec{Redelivery: time.Minute, Attempts: 1}, func(t *testing.T, n *named) {
				publishMany(n.m, 2, "a.x")
				n.pulled(1)
				n.tend(0)
				if c.say != nil {
					n.settle(*c.say, false, 1)
				}
				time.Sleep(c.wait)
				n.c.Pause(true)
				n.tend(0)
				n.c.Pause(false)
				n.tend(1)
				n.refused(Verdict{}, false, 1)
				n.tend(1)
				n.kill()
				n.tend(1)
				if got, want := n.pulled(9), "a.x 2(1)\n"; got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
			})
		})
	}
}

// tend has it look, and wants so many dead letters in all.
func (n *named) tend(want int) {
	n.t.Helper()
	if err := n.c.Tend(); err != nil || len(n.book.dead) != want {
		n.t.Fatalf("got %v and %d dead letters, want %d", err, len(n.book.dead), want)
	}
}

func TestADeadLetterThatNobodyWaitsForIsTriedAgain(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Attempts: 1}, func(t *testing.T, n *named) {
		publishMany(n.m, 1, "a.x")
		n.pulled(1)
		time.Sleep(time.Minute)
		n.book.lost = errors.New("no room for dead letters")
		if err := n.c.Tend(); err == nil {
			t.Fatal("got no error, want that of the disk")
		}
		n.book.lost = nil
		n.book.fail(errors.New("no room for notes"))
		if err := n.c.Tend(); err == nil {
			t.Fatal("got no error, want that of the disk")
		}
		n.book.fail(nil)
		n.tend(1)
		n.tend(1)
	})
}

func TestADeadLetterThatIsGivenUpIsNoDeadLetterAgain(t *testing.T) {
	for _, kind := range []Kind{Wip, Term} { // of the first nothing is said any more
		synctest.Test(t, func(t *testing.T) {
			m, b := newMemory(bus.DeadNamespace), newBook()
			h := NewHub(m, []string{bus.DeadNamespace}, Options{Lookup: m.lookup, Bury: b.bury})
			defer h.Close()
			subject := bus.DeadNamespace + ".orders.billing"
			m.publish(subject)
			s, err := h.Open(Spec{ConsumerID: "c", Places: []Place{{Namespace: bus.DeadNamespace, Patterns: patterns(t, subject), From: 1}}, Ack: &AckSpec{Redelivery: time.Second, Attempts: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			wantChunk(t, s, fmt.Sprintf("%s 1(1)\n", subject))
			if _, err := h.Settle("c", []string{eventID(bus.DeadNamespace, 1)}, Verdict{Kind: kind}, false); err != nil {
				t.Fatal(err)
			}
			if kind == Wip {
				if chunk, err := s.Next(t.Context()); err != nil || len(chunk.Dead) != 1 {
					t.Fatalf("got %s, %v, want it given up", show(chunk), err)
				}
			}
			synctest.Wait()
			if len(b.dead) != 0 {
				t.Fatalf("got %d dead letters of a dead letter, want none", len(b.dead))
			}
		})
	}
}

func TestAnAckThatIsBeingWrittenIsNotOvertakenByADeadLetter(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Attempts: 1}, func(t *testing.T, n *named) {
		publishMany(n.m, 1, "a.x")
		n.pulled(1)
		time.Sleep(time.Minute)
		release := n.book.delay()
		var settled []Settled
		var failed, tended error
		go func() { settled, failed = n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false) }()
		synctest.Wait()
		go func() { tended = n.c.Tend() }()
		synctest.Wait()
		release()
		synctest.Wait()
		if failed != nil || tended != nil || len(settled) != 1 || settled[0].Already || len(n.book.dead) != 0 {
			t.Fatalf("got %v, %v, %v and %d dead letters, want it acknowledged and none", settled, failed, tended, len(n.book.dead))
		}
		n.tend(0)
	})
}

func TestWhoConnectsWaitsForOneEventThatIsGivenUpAndNotForAll(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Attempts: 1, Inflight: 1000}, func(t *testing.T, n *named) {
		publishMany(n.m, 200, "a.x")
		n.pulled(200)
		time.Sleep(time.Minute)
		const note = 10 * time.Millisecond
		n.book.refuse = func(Note) error { time.Sleep(note); return nil }
		go n.c.Tend()
		synctest.Wait()
		begun := time.Now()
		n.join(MemberSpec{}).Close()
		if took := time.Since(begun); took > 2*note {
			t.Errorf("got a connection after %s, want it behind the one event", took)
		}
	})
}

func TestAPullThatSawNothingHasHadNoAttemptHoweverOftenItWasGivenOne(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second, Attempts: 4}, func(t *testing.T, n *named) {
		publishMany(n.m, 1, "a.x")
		m := n.join(MemberSpec{Limit: 9, Lease: true})
		for attempt := range 3 {
			wantChunk(t, m, fmt.Sprintf("a.x 1(%d)\n", attempt+1))
		}
		m.Break(true)
		if got, want := n.pulled(1), "a.x 1(1)\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
