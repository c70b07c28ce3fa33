package client

import (
	"math/rand/v2"
	"time"
)

const (
	firstDelay = 250 * time.Millisecond
	maxDelay   = 30 * time.Second // what trying in vain grows to
	maxAsked   = 10 * time.Minute // what a server can ask for at most
)

// backoff says how long to wait before the next try. The zero value is ready.
type backoff struct {
	failures int
	retry    time.Duration // the server's `retry:`
}

// next returns the wait before the next try: twice the last one up to maxDelay, never less
// than the server asked for, and up to half as long again, so that clients that were let go
// together do not come back together.
func (b *backoff) next(asked time.Duration) time.Duration {
	d := min(firstDelay<<min(b.failures, 10), maxDelay)
	b.failures++
	d = max(d, min(max(b.retry, asked), maxAsked))
	return d + rand.N(d/2+1)
}

func (b *backoff) reset() { b.failures = 0 }
