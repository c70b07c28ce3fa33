package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"example.com/bus/immuta"
)

var (
	lives   = flag.Int("sim.lives", 0, "how many lives to run; 0: as many as a usual test run has time for")
	seed    = flag.Uint64("sim.seed", 0, "run the life of this seed alone")
	from    = flag.Uint64("sim.from", 1, "the seed of the first life")
	telling = flag.Bool("sim.trace", false, "tell what happens in the life of -sim.seed")
)

// usualLives take about 20 seconds with the race detector.
const usualLives = 60

// run lives a life in a bubble of its own, on one processor: the scheduler is
// then the only chance that the seed does not decide, and it has little to choose.
func run(t *testing.T, l life, sabotage func(immuta.FS) immuta.FS) (w *world) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	defer func() {
		if p := recover(); p != nil { // the bubble says so when a goroutine never ends
			fmt.Fprintf(os.Stderr, "seed %d: %v\n%s\n", l.seed, p, strings.Join(w.trace, "\n"))
			panic(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, l.seed)
		w = newWorld(l)
		w.sabotage = sabotage
		w.live()
	})
	return w
}

func TestLifeKeepsEveryPromise(t *testing.T) {
	if *seed != 0 {
		judge(t, lifeOf(*seed))
		return
	}
	count := *lives
	if count == 0 {
		count = usualLives
	}
	for n := range uint64(count) {
		if judge(t, lifeOf(*from+n)); t.Failed() {
			return
		}
	}
}

// judge runs a life, and when it fails says how to repeat it, and the shortest
// life that still fails.
func judge(t *testing.T, l life) {
	t.Helper()
	w := run(t, l, nil)
	if *telling && *seed != 0 {
		t.Log("\n" + strings.Join(w.trace, "\n"))
	}
	if w.failure == "" {
		return
	}
	short := shrink(t, l)
	t.Errorf("seed %d (sync=%s block=%d sealed=%v): %s\nreplay: go test ./server/sim -run Life -sim.seed=%d -sim.trace\nshortest life of %d steps of %d: %s\n%s",
		l.seed, l.sync, l.block, l.sealed, w.failure, l.seed, len(short.life.steps), len(l.steps), short.failure, strings.Join(short.trace, "\n"))
}

// shrink leaves out steps, many at a time and then few, while it still fails.
func shrink(t *testing.T, l life) *world {
	best := run(t, l, nil)
	for size := len(l.steps) / 2; size > 0; size /= 2 {
		for at := 0; at < len(best.life.steps); {
			try := best.life
			try.steps = slices.Delete(slices.Clone(try.steps), at, min(at+size, len(try.steps)))
			if w := run(t, try, nil); w.failure != "" {
				best = w
				continue
			}
			at += size
		}
	}
	return best
}
