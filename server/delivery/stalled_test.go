package delivery

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAConsumerThatIsPausedIsNotStalledAndHasAllItsTimeAfterwards(t *testing.T) {
	withNamed(t, AckSpec{}, func(t *testing.T, n *named) {
		stalled := func(after time.Duration, want bool, when string) {
			t.Helper()
			time.Sleep(after) // of the bubble
			synctest.Wait()
			if got := n.c.State().Stalled; got != want {
				t.Errorf("%s: got stalled %v, want %v", when, got, want)
			}
		}
		n.m.publish("a.x")
		stalled(2*stalledAfter, true, "with something to do for long")
		n.c.Pause(true)
		stalled(2*stalledAfter, false, "paused")
		n.c.Pause(false)
		stalled(stalledAfter/2, false, "going on again")
		n.c.Pause(false)
		stalled(stalledAfter, true, "and for long")
	})
}
