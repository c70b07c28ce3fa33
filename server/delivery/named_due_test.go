package delivery

import (
	"testing"
	"time"
)

// TestWhatIsDueComesBeforeWhatIsNewHoweverMuchThatIs: a cron job that takes one
// event at a time makes a stream for each, and would come to what it owes only
// when the log has no more.
func TestWhatIsDueComesBeforeWhatIsNewHoweverMuchThatIs(t *testing.T) {
	for how, owe := range map[string]func(n *named){
		"timed out": func(*named) { time.Sleep(time.Second) },
		"refused":   func(n *named) { n.settle(Verdict{Kind: Nak}, false, 1) },
		"refused, and the server killed": func(n *named) {
			n.settle(Verdict{Kind: Nak}, false, 1)
			n.kill()
		},
	} {
		t.Run(how, func(t *testing.T) {
			withNamed(t, AckSpec{Redelivery: 100 * time.Millisecond}, func(t *testing.T, n *named) {
				publishMany(n.m, 1000, "a.x")
				n.leasedUpTo(1, "a.x 1(1)\n")
				owe(n)
				time.Sleep(backoff(1))
				n.leasedUpTo(1, "a.x 1(2)\n")
				n.leasedUpTo(1, "a.x 2(1)\n")
			})
		})
	}
}

func TestAStreamIsGivenWhatIsDueBeforeWhatIsNew(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second, Inflight: 3}, func(t *testing.T, n *named) {
		publishMany(n.m, 1000, "a.x")
		n.leasedUpTo(1, "a.x 1(1)\n")
		n.leasedUpTo(1, "a.x 2(1)\n")
		n.settle(Verdict{}, false, 1)
		time.Sleep(time.Second)
		m := n.join(MemberSpec{})
		defer m.Close()
		wantChunk(t, m, "a.x 2(2)\na.x 3(1)\na.x 4(1)\n")
	})
}

func TestOneAtATimeStaysInOrder(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Second, Inflight: 1}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		for index, want := range []string{"a.x 1(1)\n", "a.x 2(1)\n", "a.x 3(1)\n"} {
			n.leasedUpTo(1, want)
			time.Sleep(time.Second)
			n.leasedUpTo(1, want[:len("a.x 1(")]+"2)\n")
			n.settle(Verdict{}, false, uint64(index+1))
		}
	})
}

// TestWhatWaitsForItsFirstDeliveryIsSettledTooWhateverTheBackoff: a dead letter
// that was asked for again stands at no attempt, of which no back-off says a time.
func TestWhatWaitsForItsFirstDeliveryIsSettledTooWhateverTheBackoff(t *testing.T) {
	withNamed(t, AckSpec{Backoff: []time.Duration{time.Minute, time.Hour}, Inflight: 4}, func(t *testing.T, n *named) {
		publishMany(n.m, 3, "a.x")
		n.leasedUpTo(3, "a.x 1(1)\na.x 2(1)\na.x 3(1)\n")
		n.settle(Verdict{Kind: Term}, false, 1, 2)
		for index := range uint64(2) {
			if err := n.c.Reopen(index + 1); err != nil {
				t.Fatal(err)
			}
		}
		m := n.join(MemberSpec{Limit: 1, Lease: true})
		defer m.Close()
		wantChunk(t, m, "a.x 1(1)\n") // and 2 waits for the next
		if got, want := n.settle(Verdict{}, true, 3), " 3 1 2"; got != want {
			t.Errorf("got%s, want%s", got, want)
		}
	})
}
