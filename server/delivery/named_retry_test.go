package delivery

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// leased pulls what there is.
func (n *named) leased(want string) {
	n.t.Helper()
	n.leasedUpTo(0, want)
}

// leasedUpTo pulls what there is, up to a limit.
func (n *named) leasedUpTo(limit int, want string) {
	n.t.Helper()
	m := n.join(MemberSpec{Limit: limit, Until: true, Lease: true})
	defer m.Close()
	got := ""
	for {
		chunk, err := m.Next(n.t.Context())
		if got += show(chunk); errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			n.t.Fatal(err)
		}
	}
	if got != want {
		n.t.Fatalf("got %q, want %q", got, want)
	}
}

func TestARetriedDeadLetterIsAcknowledgedWhileNobodyIsConnected(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second, Attempts: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		n.leased("a.x 1(1)\n")
		time.Sleep(time.Second)
		n.leased("")
		synctest.Wait() // it is kept beside the work
		if len(n.book.dead) != 1 {
			t.Fatalf("got %+v, want one dead letter", n.book.dead)
		}
		if err := n.c.Reopen(1); err != nil {
			t.Fatal(err)
		}
		n.leased("a.x 1(1)\n")
		if got, want := n.settle(Verdict{}, false, 1), " 1"; got != want {
			t.Fatalf("got%s, want%s", got, want)
		}
		if state := n.c.State(); state.Unacked != 0 || state.Floor != 1 {
			t.Fatalf("got %+v, want it settled", state)
		}
	})
}

func TestAnAckBehindATermOfANamedConsumerIsAlready(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute}, func(t *testing.T, n *named) {
		n.m.publish("a.x")
		n.leased("a.x 1(1)\n")
		n.settle(Verdict{Kind: Term}, false, 1)
		if got, want := n.settle(Verdict{}, false, 1), " 1!"; got != want {
			t.Fatalf("got%s, want%s", got, want)
		}
	})
}

func TestAReopenedEventLeavesWhatIsOutWhereItIs(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Minute, Attempts: 2}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x", "a.x")
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\na.x 3(1)\n")
		n.settle(Verdict{Kind: Term}, false, 1)
		for range 5 { // each of several retries, as of a list
			if err := n.c.Reopen(1); err != nil {
				t.Fatal(err)
			}
			wantChunk(t, m, "a.x 1(1)\n")
			n.settle(Verdict{Kind: Term}, false, 1)
		}
		nothing(t, m, 50*time.Second)
		n.settle(Verdict{}, false, 2)
		wantChunk(t, m, "a.x 3(2)\n")
		if _, err := n.c.Settle([]string{eventID("a", 3)}, Verdict{}, false); err != nil {
			t.Fatal(err)
		}
		for _, d := range n.book.dead {
			if d.Reason != ReasonTerm || d.Event.Index != 1 {
				t.Errorf("got %+v dead, want only the one that was refused", d)
			}
		}
	})
}

func TestDeadLettersAreKeptInTheOrderInWhichTheyWereGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, hold := newMemory("a"), make(chan struct{})
		kept := make(chan uint64, 2)
		h := NewHub(m, []string{"a"}, Options{Bury: func(d DeadLetter) error {
			if d.Event.Index == 1 {
				<-hold // a disk that takes its time
			}
			kept <- d.Event.Index
			return nil
		}})
		s, err := h.Open(Spec{Places: []Place{{Namespace: "a", Patterns: patterns(t, "a.x"), From: 1}}, Ack: &AckSpec{Redelivery: time.Second, Attempts: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			m.publish("a.x")
			next(t, s)
			time.Sleep(time.Millisecond)
		}
		for range 2 { // each times out by itself
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			for ctx.Err() == nil {
				_, _ = s.Next(ctx)
			}
			cancel()
		}
		close(hold)
		if first, second := <-kept, <-kept; first != 1 || second != 2 {
			t.Errorf("got %d and then %d, want them in order", first, second)
		}
		s.Close()
		h.Close()
	})
}
