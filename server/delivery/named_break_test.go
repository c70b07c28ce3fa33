package delivery

import (
	"testing"
	"testing/synctest"
	"time"
)

// cut pulls what there is, and breaks off before it is told to the end.
func (n *named) cut(unseen bool, want string) {
	n.t.Helper()
	m := n.join(MemberSpec{Limit: 5, Lease: true})
	wantChunk(n.t, m, want)
	m.Break(unseen)
	m.Close() // the answer ends all the same
}

func TestAPullThatBreaksOffLeavesNothingOut(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour, Attempts: 3}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		n.cut(false, "a.x 1(1)\na.x 2(1)\n")
		n.cut(false, "a.x 1(2)\na.x 2(2)\n")
		waits := n.join(MemberSpec{Lease: true})
		defer waits.Close()
		wantChunk(t, waits, "a.x 1(3)\na.x 2(3)\n")
	})
}

func TestWhatABrokenPullHadGoesToThoseWhoWait(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{Limit: 5, Lease: true})
		waits := n.join(MemberSpec{})
		defer waits.Close()
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
		nothing(t, waits, time.Minute)
		m.Break(false)
		wantChunk(t, waits, "a.x 1(2)\na.x 2(2)\n")
	})
}

func TestAnAttemptThatNobodySawDoesNotCount(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour, Attempts: 1}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		for range 5 {
			n.cut(true, "a.x 1(1)\na.x 2(1)\n")
		}
		n.kill()
		n.cut(true, "a.x 1(1)\na.x 2(1)\n")
		if got, want := n.settle(Verdict{}, false, 2), " 2"; got != want {
			t.Errorf("got%s, want%s", got, want)
		}
		n.cut(true, "a.x 1(1)\n")
		if len(n.book.dead) > 0 {
			t.Errorf("got %+v given up, want nothing: nobody saw it", n.book.dead)
		}
	})
}

func TestWhatIsAcknowledgedAsItsPullBreaksOffGoesToNobody(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		n.m.publish("a.x", "a.x")
		m := n.join(MemberSpec{Limit: 5, Lease: true})
		wantChunk(t, m, "a.x 1(1)\na.x 2(1)\n")
		release := n.book.delay()
		answered := make(chan string)
		go func() { answered <- n.settle(Verdict{}, false, 1) }()
		synctest.Wait()
		m.Break(true)
		n.cut(true, "a.x 2(1)\n")
		if release(); <-answered != " 1" {
			t.Error("want it acknowledged")
		}
		n.cut(true, "a.x 2(1)\n")
	})
}

// TestARefusalOfWhatAnEarlierServerDeliveredIsOfThatDelivery: that a pull broke off
// since says nothing of it.
func TestARefusalOfWhatAnEarlierServerDeliveredIsOfThatDelivery(t *testing.T) {
	for how, connected := range map[string]bool{"nobody is connected": false, "somebody waits": true} {
		t.Run(how, func(t *testing.T) {
			withNamed(t, AckSpec{Redelivery: time.Hour, Attempts: 3}, func(t *testing.T, n *named) {
				n.m.publish("a.x")
				n.leasedUpTo(1, "a.x 1(1)\n")
				n.kill()
				if connected {
					defer n.join(MemberSpec{}).Close()
				}
				n.cut(true, "a.x 1(1)\n")
				n.settle(Verdict{Kind: Nak}, false, 1)
				time.Sleep(backoff(1))
				n.leasedUpTo(1, "a.x 1(2)\n")
			})
		})
	}
}
