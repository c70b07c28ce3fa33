package server

import (
	"context"
	"time"
)

// streamClock is a stream's sense of time: when to ping, when a bounded read
// has waited long enough, when a stream is old. It keeps one context with the
// nearest deadline, made anew only when that has passed.
type streamClock struct {
	parent context.Context
	ctx    context.Context
	cancel context.CancelFunc

	heartbeat time.Duration
	nextPing  time.Time
	wait      time.Duration // 0: none
	waitUntil time.Time
	age       time.Time // zero: never
}

func newStreamClock(parent context.Context, c Config, wait time.Duration) *streamClock {
	now := time.Now()
	k := &streamClock{parent: parent, heartbeat: c.Heartbeat, nextPing: now.Add(c.Heartbeat), wait: wait, waitUntil: now.Add(wait)}
	if c.MaxStreamAge > 0 {
		k.age = now.Add(c.MaxStreamAge)
	}
	k.arm()
	return k
}

func (k *streamClock) arm() {
	deadline := k.nextPing
	if k.wait > 0 && k.waitUntil.Before(deadline) {
		deadline = k.waitUntil
	}
	if !k.age.IsZero() && k.age.Before(deadline) {
		deadline = k.age
	}
	k.ctx, k.cancel = context.WithDeadline(k.parent, deadline)
}

// again arms the clock after a deadline has passed.
func (k *streamClock) again() {
	k.cancel()
	k.arm()
}

func (k *streamClock) stop() { k.cancel() }

// sawEvent starts the wait of a bounded read anew.
func (k *streamClock) sawEvent() {
	if k.wait > 0 {
		k.waitUntil = time.Now().Add(k.wait)
		k.again()
	}
}

func (k *streamClock) waited(now time.Time) bool { return k.wait > 0 && !now.Before(k.waitUntil) }

func (k *streamClock) aged(now time.Time) bool { return !k.age.IsZero() && !now.Before(k.age) }

func (k *streamClock) pingDue(now time.Time) bool {
	if now.Before(k.nextPing) {
		return false
	}
	k.nextPing = now.Add(k.heartbeat)
	return true
}
