package main

import (
	"context"
	"testing"
	"testing/synctest"

	"example.com/bus"
)

func TestAMirrorWhoseTargetIsAwayReadsNoFurtherThanItsMemoryAllows(t *testing.T) {
	for name, c := range map[string]struct{ payload, want int }{
		"small events": {1, aheadReads},
		"large events": {1 << 20, 8},
		"huge events":  {30 << 20, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancelCause(t.Context())
			a, ended := newAhead(), make(chan error, 1)
			b := batch{events: []bus.Event{{Payload: make([]byte, c.payload)}}}
			go func() {
				for {
					if err := a.put(ctx, b); err != nil {
						ended <- err
						return
					}
				}
			}()
			for round := range 3 {
				synctest.Wait()
				if got := len(a.arrived); got != c.want {
					t.Errorf("%s, round %d: got %d read ahead, want %d", name, round, got, c.want)
				}
				a.done(<-a.arrived)
			}
			stop(errEnough)
			if err := <-ended; err != errEnough {
				t.Errorf("%s: got %v, want %v", name, err, errEnough)
			}
		})
	}
}
