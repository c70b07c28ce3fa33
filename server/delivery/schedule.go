package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/bus"
)

// Delays is what a Schedule needs of the engine that keeps events. Release appends
// the events of a namespace that wait and have come due by now once more, at most
// most of them, and returns when those were due and when the next is, the zero time
// when none waits. With an error it has delivered nothing.
type Delays interface {
	Release(ctx context.Context, namespace string, now time.Time, most int) (released []time.Time, next time.Time, err error)
}

// How a Schedule waits.
const (
	// releaseMost is how many events that are due together are one commit.
	releaseMost = 1000
	// lookAgain is how long it sleeps at most while something waits: timers do not
	// hear that the clock was set, nor that a machine has slept.
	lookAgain = time.Second
	// releaseRetry and releaseRetryMost are the waits after a failure.
	releaseRetry     = 100 * time.Millisecond
	releaseRetryMost = 10 * time.Second
)

// Schedule has events delivered when they come due. While something waits in a
// namespace, one goroutine looks after it. All methods may be called from many
// goroutines.
type Schedule struct {
	src      Delays
	released func(namespace string, late []time.Duration)
	failed   func(namespace string, err error)

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex // guards the rest
	closed bool
	duties map[string]*duty
}

// duty is one namespace.
type duty struct {
	running bool
	asked   bool          // to look, since it looked last
	next    time.Time     // when it will; zero: it is at it
	wake    chan struct{} // room for one
	cancel  context.CancelFunc
}

// NewSchedule starts nothing: Expect does. released hears of each commit how late its
// events were; failed of the first failure of a namespace in a row, and with nil when
// it works again. Both are called without a lock.
func NewSchedule(src Delays, released func(namespace string, late []time.Duration), failed func(namespace string, err error)) *Schedule {
	s := &Schedule{src: src, released: released, failed: failed, duties: make(map[string]*duty)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Expect says that an event of a namespace was stored that is due at a time, or with
// the zero time that there may be some: after a start. It never waits.
func (s *Schedule) Expect(namespace string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.duties[namespace]
	if d == nil {
		d = &duty{wake: make(chan struct{}, 1)}
		s.duties[namespace] = d
	}
	switch {
	case s.closed:
	case !d.running:
		ctx, cancel := context.WithCancel(s.ctx)
		d.running, d.next, d.cancel = true, time.Time{}, cancel
		s.work.Go(func() { s.run(ctx, namespace, d) })
	case d.next.IsZero() || at.Before(d.next):
		d.asked = true
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// Drop looks after a namespace no more. It does not wait.
func (s *Schedule) Drop(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.duties[namespace]; d != nil && d.cancel != nil {
		d.cancel()
	}
	delete(s.duties, namespace)
}

// Close ends it and waits for what it is doing: nothing is half done. A second call
// does nothing.
func (s *Schedule) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

// run delivers what is due until nothing waits any more.
func (s *Schedule) run(ctx context.Context, namespace string, d *duty) {
	defer d.cancel()
	failures := 0
	for ctx.Err() == nil {
		s.at(d, time.Time{})
		now := time.Now()
		released, next, err := s.src.Release(ctx, namespace, now, releaseMost)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, bus.ErrUnknownNamespace): // it was deleted while something was stored in it
			if s.over(d) {
				return
			}
			continue
		case err != nil:
			if failures++; failures == 1 {
				s.failed(namespace, err)
			}
			pause(ctx, min(releaseRetry<<min(failures-1, 10), releaseRetryMost))
			continue
		case failures > 0:
			failures = 0
			s.failed(namespace, nil)
		}
		if len(released) > 0 {
			s.late(namespace, released)
		}
		if next.IsZero() {
			if s.over(d) {
				return
			}
			continue
		}
		if wait := min(next.Sub(now.Round(0)), lookAgain); wait > 0 {
			s.sleep(ctx, d, wait)
		}
	}
}

// at notes when the namespace is looked at next. What was asked for before that is
// being done.
func (s *Schedule) at(d *duty, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.next = next; next.IsZero() {
		d.asked = false
	}
}

// over ends the goroutine of a namespace in which nothing waits, unless something was
// stored since it looked.
func (s *Schedule) over(d *duty) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.running = d.asked
	return !d.running
}

// sleep ends early when something comes that is due before.
func (s *Schedule) sleep(ctx context.Context, d *duty, wait time.Duration) {
	s.mu.Lock()
	if d.next = time.Now().Add(wait).Round(0); d.asked {
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.wake:
	case <-ctx.Done():
	}
}

func (s *Schedule) late(namespace string, released []time.Time) {
	now := time.Now().Round(0)
	late := make([]time.Duration, len(released))
	for i, due := range released {
		late[i] = max(now.Sub(due), 0)
	}
	s.released(namespace, late)
}

func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
