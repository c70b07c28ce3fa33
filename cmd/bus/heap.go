package main

import (
	"math"
	"os"
	"runtime/debug"
)

// heapRoom is how many bytes of garbage a server makes, at the least, before it
// collects. Next to nothing of a bus lives on the heap, and by the collector's
// rule, twice what lives, it would run for each few megabytes: a fifth of what
// batches, replays and acknowledgements cost went there. More would give a little
// more, and be seen in what idle streams seem to take.
const heapRoom = 8 << 20

// keepHeapRoom returns what has to be kept alive for that. It is never written
// to, so that it takes addresses and no memory. nil: somebody has said what the
// collector is to do, with GOGC or GOMEMLIMIT.
func keepHeapRoom() []byte {
	if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return nil
	}
	return make([]byte, heapRoom)
}
