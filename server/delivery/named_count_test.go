package delivery

import (
	"testing"
	"time"
)

// TestStreamsAreCountedWhileConsumersConnect is for the race detector: metrics are
// asked for at any moment.
func TestStreamsAreCountedWhileConsumersConnect(t *testing.T) {
	withNamed(t, AckSpec{Redelivery: time.Hour}, func(t *testing.T, n *named) {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for counting := true; counting; {
				n.h.Streams("a")
				select {
				case <-stop:
					counting = false
				default:
				}
			}
		}()
		for range 200 {
			m, err := n.c.Join(MemberSpec{})
			if err != nil {
				t.Error(err)
				break
			}
			m.Close()
		}
		close(stop)
		<-done
	})
}
