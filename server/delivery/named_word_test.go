package delivery

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

// waitFor lets a member wait as its connection does, in a goroutine that is woken.
func waitFor(t *testing.T, m *Member) chan Chunk {
	t.Helper()
	got := make(chan Chunk, 1)
	go func() {
		if chunk, err := m.Next(t.Context()); err == nil {
			got <- chunk
		}
	}()
	synctest.Wait()
	return got
}

func wantSoon(t *testing.T, got chan Chunk, within time.Duration, want string) {
	t.Helper()
	time.Sleep(within)
	synctest.Wait()
	select {
	case chunk := <-got:
		if s := show(chunk); s != want {
			t.Fatalf("got %q, want %q", s, want)
		}
	default:
		t.Fatalf("got nothing within %s, want %q", within, want)
	}
}

func TestANakOfTheLastAttemptFreesTheWindowAtOnce(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour, Attempts: 1, Inflight: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\n")
		got := waitFor(t, m)
		n.settle(Verdict{Kind: Nak}, false, 1)
		wantSoon(t, got, time.Second, "a.x 2(1)\n")
	})
}

func TestRoomGoesToTheConnectionThatHasItAndNotToOneThatHasItsShare(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour, Inflight: 2}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		one := n.join(MemberSpec{})
		defer one.Close()
		wantChunk(t, one, "a.x 1(1)\na.x 2(1)\n")
		waitFor(t, one)
		two := n.join(MemberSpec{}) // and half of the window is its share from now on
		defer two.Close()
		got := waitFor(t, two)
		n.settle(Verdict{}, false, 1)
		wantSoon(t, got, 0, "a.x 3(1)\n")
	})
}

func TestAWipThatBringsARedeliveryForwardWakesSomebody(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: 5 * time.Second}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\n")
		n.settle(Verdict{Kind: Nak, Delay: time.Hour}, false, 1)
		got := waitFor(t, m)
		n.settle(Verdict{Kind: Wip}, false, 1)
		wantSoon(t, got, 6*time.Second, "a.x 1(2)\n")
	})
}

func TestAWipWithAShorterRedeliveryIsHeardByAConnectionThatHasItsShare(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour, Inflight: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\n")
		if err := n.c.Change(AckSpec{Redelivery: time.Second, Inflight: 1}); err != nil {
			t.Fatal(err)
		}
		got := waitFor(t, m)
		n.settle(Verdict{Kind: Wip}, false, 1)
		wantSoon(t, got, time.Second, "a.x 1(2)\n")
	})
}

func TestWhatAStuckConnectionHoldsGoesToOneThatWaitsWhenItsTimeIsOver(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: 5 * time.Second}, func(t *testing.T, n *named) {
		stuck, idle := n.join(MemberSpec{}), n.join(MemberSpec{})
		defer stuck.Close()
		defer idle.Close()
		first := waitFor(t, stuck)
		got := waitFor(t, idle)
		n.m.publish("a.x")
		wantSoon(t, first, 0, "a.x 1(1)\n") // and it never comes back
		wantSoon(t, got, 6*time.Second, "a.x 1(2)\n")
	})
}

func TestOtherSettingsLeaveWhatIsOutWithWhoHasIt(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour, Inflight: 4}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		one, two := n.join(MemberSpec{}), n.join(MemberSpec{})
		defer one.Close()
		defer two.Close()
		wantChunk(t, one, "a.x 1(1)\na.x 2(1)\n")
		if err := n.c.Change(AckSpec{Redelivery: 2 * time.Hour, Inflight: 8}); err != nil {
			t.Fatal(err)
		}
		wantChunk(t, two, "a.x 3(1)\n")
		nothing(t, two, 50*time.Second)
		if state := n.c.State(); state.Unacked != 3 || state.Waiting != 0 {
			t.Fatalf("got %+v, want 3 events with who has them", state)
		}
		publishMany(n.m, 9, "a.x")
		synctest.Wait() // a batch is handed out event by event
		wantChunk(t, two, "a.x 4(1)\na.x 5(1)\na.x 6(1)\n")
	})
}

func TestAnAckUpToThatMeetsAReconnectHoldsForWhatIsTakenMeanwhile(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		m := n.join(MemberSpec{})
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\na.x 3(1)\n")
		m.Close()
		release := n.book.delay()
		answered := make(chan error, 1)
		go func() {
			_, err := n.c.Settle([]string{eventID("a", 3)}, Verdict{}, true)
			answered <- err
		}()
		synctest.Wait()
		m = n.join(MemberSpec{})
		defer m.Close()
		got := waitFor(t, m)
		wantSoon(t, got, 0, "a.x 1(2)\na.x 2(2)\na.x 3(2)\n")
		release()
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
		nothing(t, m, time.Minute)
	})
}

func TestAConsumerThatIsAheadOfItsLogGoesOnAtItsEnd(t *testing.T) {
	withNamed(t, AckSpec{}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		n.book.at["billing"] = &Progress{Next: 9, Open: []Attempt{{Index: 2, Count: 1}, {Index: 7, Count: 1}}, Done: []uint64{11}}
		n.kill() // and the log was brought back from an older copy
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 2(2)\n")
		n.settle(Verdict{}, false, 2)
		publishMany(n.m, 9, "a.x")
		wantChunk(t, m, "a.x 4(1)\na.x 5(1)\na.x 6(1)\na.x 7(1)\na.x 8(1)\na.x 9(1)\na.x 10(1)\na.x 11(1)\na.x 12(1)\n")
	})
}

func TestAReopenedEventIsDeliveredThoughOneMayBeOutAtOnce(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Inflight: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		m := n.join(MemberSpec{})
		wantChunk(t, m, "a.x 1(1)\n")
		n.settle(Verdict{}, false, 1)
		if err := n.c.Reopen(1); err != nil {
			t.Fatal(err)
		}
		m.Close()
		n.kill()
		m = n.join(MemberSpec{})
		defer m.Close()
		got := waitFor(t, m)
		wantSoon(t, got, time.Second, "a.x 1(1)\n")
	})
}

func TestAReplayOfTheJournalIsWhatWasAnswered(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
		release := n.book.delay()
		done := make(chan error, 3)
		go func() { _, err := n.c.Settle([]string{eventID("a", 2)}, Verdict{}, false); done <- err }()
		synctest.Wait() // the note of 2 is under way; what comes now goes into the next
		go func() { done <- n.c.Reopen(1) }()
		synctest.Wait()
		go func() { _, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false); done <- err }()
		synctest.Wait()
		release()
		for range 3 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		live, kept := n.c.progressNow(), n.book.at["billing"]
		for index := uint64(1); index <= 2; index++ {
			_, owedLive := live.owes(index)
			_, owedKept := kept.owes(index)
			if owedLive || owedKept {
				t.Errorf("event %d: owed now %t, after a restart %t, want neither: it was acknowledged", index, owedLive, owedKept)
			}
		}
	})
}

func TestWhatIsSaidOfAnEventInWaitingHoldsWhileSomebodyIsConnected(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Inflight: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		n.kill() // an earlier server may have delivered both
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\n")
		n.settle(Verdict{Kind: Nak, Delay: time.Hour}, false, 2)
		n.settle(Verdict{}, false, 1)
		nothing(t, m, 50*time.Minute)
		wantChunk(t, m, "a.x 2(2)\n")
	})
}

func TestADeadLetterWhoseNoteFailsIsKeptOnce(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second, Attempts: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
		n.book.fail(errors.New("the disk is gone"))
		for range 2 {
			if _, err := n.c.Settle([]string{eventID("a", 2)}, Verdict{Kind: Term}, false); err == nil {
				t.Fatal("got no error, want that of the journal")
			}
		}
		nothing(t, m, time.Hour)
		m.Close()
		m = n.join(MemberSpec{})
		defer m.Close()
		nothing(t, m, time.Hour)
		n.book.fail(nil)
		nothing(t, m, time.Minute)
		if len(n.book.dead) != 2 || n.c.State().Unacked != 0 {
			t.Fatalf("got %d dead letters and %+v, want one for each of 2 events, and nothing left", len(n.book.dead), n.c.State())
		}
	})
}

func TestWhatIsBecomingADeadLetterIsNotAcknowledgedThoughItsLastConnectionHasLeft(t *testing.T) {
	for i := range 4 {
		upTo, connected := i%2 == 1, i > 1
		withNamed(t, AckSpec{Redelivery: time.Hour, Attempts: 1}, func(t *testing.T, n *named) {
			n.m.publish("a.x", "a.x")
			m := n.join(MemberSpec{})
			wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
			release := n.book.delay()
			n.settle(Verdict{Kind: Nak}, false, 1)
			waitFor(t, m) // the letter of 1 is kept, and its note under way
			m.Close()
			if connected { // and has it in flight anew
				m := n.join(MemberSpec{})
				defer m.Close()
				if _, _, _, err := n.c.take(m); err != nil {
					t.Fatal(err)
				}
			}
			index := uint64(1)
			if upTo {
				index = 2
			}
			answered := make(chan []Settled, 1)
			go func() {
				said, _ := n.c.Settle([]string{eventID("a", index)}, Verdict{}, upTo)
				answered <- said
			}()
			synctest.Wait()
			release()
			for _, one := range <-answered {
				if one.EventID == eventID("a", 1) {
					t.Errorf("up to %t: got an answer that 1 is acknowledged, and it is a dead letter", upTo)
				}
			}
			if _, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false); !errors.Is(err, bus.ErrNotDelivered) || len(n.book.dead) != 1 {
				t.Errorf("got %v and %d dead letters, want %v and 1", err, len(n.book.dead), bus.ErrNotDelivered)
			}
		})
	}
}

func TestATermThatIsSaidAgainIsTakenAgain(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
		m.Close()
		n.book.fail(errors.New("the disk is gone"))
		if _, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{Kind: Term}, false); err == nil {
			t.Fatal("got no error, want that of the journal")
		}
		n.book.fail(nil)
		if got := n.settle(Verdict{Kind: Term}, false, 1); got != " 1" {
			t.Fatalf("got%s, want 1: the first time it was not kept", got)
		}
		if got := n.settle(Verdict{Kind: Term}, false, 1); got != " 1!" {
			t.Fatalf("got%s, want 1!: it was done already", got)
		}
	})
}

func TestWhatWasGivenUpCanBeAcknowledgedAfterAReset(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Attempts: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		m := n.join(MemberSpec{})
		wantChunk(t, m, "a.x 1(1)\n")
		n.settle(Verdict{Kind: Nak}, false, 1)
		nothing(t, m, time.Second)
		if err := n.c.Reset(Progress{Next: 1}); err != nil {
			t.Fatal(err)
		}
		wantChunk(t, m, "a.x 1(1)\n")
		m.Close()
		if got := n.settle(Verdict{}, false, 1); got != " 1" {
			t.Fatalf("got%s, want 1", got)
		}
		if len(n.book.dead) != 1 {
			t.Fatalf("got %d dead letters, want 1", len(n.book.dead))
		}
	})
}

func TestANoteThatIsTooLargeForAllThereIsIsWrittenWithout(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
		n.book.refuse = func(note Note) error {
			if note.State != nil {
				return bus.ErrTooLarge.With("the payload has %d bytes", note.size())
			}
			return nil
		}
		if got := n.settle(Verdict{}, false, 1); got != " 1" {
			t.Fatalf("got%s, want 1", got)
		}
	})
}

func TestAPullOfAPausedConsumerEnds(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		n.c.Pause(true)
		m := n.join(MemberSpec{Limit: 1, Until: true, Lease: true})
		defer m.Close()
		if chunk, _, err := m.Poll(); !errors.Is(err, io.EOF) || !chunk.Empty() {
			t.Fatalf("got %s and %v, want the end: nothing is given out", show(chunk), err)
		}
	})
}

func TestWhatIsBeingAcknowledgedDoesNotGoToAnotherWhenItsConnectionLeaves(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		one, two := n.join(MemberSpec{}), n.join(MemberSpec{})
		defer two.Close()
		wantChunk(t, one, "a.x 1(1)\na.x 2(1)\n")
		release := n.book.delay()
		answered := make(chan error, 1)
		go func() {
			_, err := n.c.Settle([]string{eventID("a", 1)}, Verdict{}, false)
			answered <- err
		}()
		synctest.Wait()
		one.Close()
		got := waitFor(t, two)
		wantSoon(t, got, 0, "a.x 2(2)\n")
		release()
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
		nothing(t, two, 30*time.Second)
	})
}
