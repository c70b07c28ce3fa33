package server

import "time"

// streamClock is a stream's sense of time: when to ping, when a bounded read
// has waited long enough, when a stream is old. Times that never come are zero.
type streamClock struct {
	heartbeat time.Duration
	nextPing  time.Time
	wait      time.Duration // 0: none
	waitUntil time.Time
	age       time.Time
}

func newStreamClock(c Config, wait time.Duration) streamClock {
	now := time.Now()
	k := streamClock{heartbeat: c.Heartbeat, nextPing: now.Add(c.Heartbeat), wait: wait}
	if wait > 0 {
		k.waitUntil = now.Add(wait)
	}
	if c.MaxStreamAge > 0 {
		k.age = now.Add(c.MaxStreamAge)
	}
	return k
}

// next is when the nearest of them is due.
func (k *streamClock) next() time.Time {
	return earlier(k.nextPing, earlier(k.waitUntil, k.age))
}

// earlier returns the first of two times that come.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sawEvent starts the wait of a bounded read anew.
func (k *streamClock) sawEvent() {
	if k.wait > 0 {
		k.waitUntil = time.Now().Add(k.wait)
	}
}

func (k *streamClock) waited(now time.Time) bool { return passed(k.waitUntil, now) }

func (k *streamClock) aged(now time.Time) bool { return passed(k.age, now) }

func passed(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

func (k *streamClock) pingDue(now time.Time) bool {
	if now.Before(k.nextPing) {
		return false
	}
	k.nextPing = now.Add(k.heartbeat)
	return true
}
