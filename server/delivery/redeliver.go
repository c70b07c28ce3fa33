package delivery

import (
	"time"

	"example.com/bus"
)

// Backoff of an event that is refused at once again and again: at least
// minBackoff after its delivery, doubled with each attempt up to maxBackoff.
// Without it a consumer that answers nak to all would spin with the server.
const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
)

// buryAgain is after which time a dead letter that could not be kept is tried
// again.
const buryAgain = 5 * time.Second

// redeliver puts what is due into the chunk: again, or as dead after the last
// attempt. It runs in Next, so a deadline needs no goroutine, and a late
// acknowledgement that comes before Next still counts. The caller holds s.mu.
func (s *Stream) redeliver() {
	now := time.Now()
	for !s.full() && len(s.chunk.Dead) < chunkEvents {
		due, ok := s.flights.due()
		if !ok || due.After(now) {
			return
		}
		fl := s.flights.heap[0]
		fl.give(nil) // whoever had it has had his time
		if s.flights.spent(fl) {
			s.bury(fl)
			continue
		}
		if s.hub.withheld(fl.event) { // a dead letter is kept all the same: it was tried
			s.flights.remove(fl)
			continue
		}
		if s.taker.isFull() {
			return
		}
		fl.attempt++
		fl.sentAt, fl.noted = now, false
		s.flights.reschedule(fl, now.Add(s.flights.spec.wait(fl.attempt)))
		fl.give(s.taker)
		s.deliver(fl.event, fl.attempt, fl.namespace())
	}
}

// spent reports whether the flight has had its last attempt.
func (fs *flights) spent(fl *flight) bool {
	return fs.spec.Attempts > 0 && fl.attempt >= fs.spec.Attempts
}

// bury says that a flight has had its last attempt. Where dead letters are kept
// it stays until it is one, and is said again when that fails.
func (s *Stream) bury(fl *flight) {
	if s.hub.keepsDead(fl.namespace()) {
		s.flights.reschedule(fl, time.Now().Add(buryAgain))
		if fl.dying {
			return // it takes its time
		}
		fl.dying = true
	} else {
		s.flights.remove(fl)
		s.flights.dead.add(fl.event.Id)
	}
	s.chunk.Dead = append(s.chunk.Dead, Delivery{Event: fl.event, Attempt: fl.attempt, Namespace: fl.namespace()})
}

func (fl *flight) namespace() string {
	if fl.cursor == nil {
		return bus.InboxNamespace
	}
	return fl.cursor.feed.namespace
}

// refuse plans the next attempt of a flight after a nak. When there is none
// left it is dead at once.
func (fs *flights) refuse(fl *flight, delay time.Duration, now time.Time) {
	if fs.spent(fl) {
		fs.reschedule(fl, now)
		return
	}
	fs.reschedule(fl, fl.soonest(delay, now))
}

// putOff has the time of a delivery begin anew. With other settings it may be over
// earlier: who has it sleeps until then, also one who could take no more.
func (fs *flights) putOff(fl *flight, now time.Time) {
	before := fl.due
	fs.reschedule(fl, now.Add(fs.spec.wait(fl.attempt)))
	if fl.owner != nil && fl.due.Before(before) {
		fl.owner.notify()
	}
}

// soonest is when a refused flight may go out again.
func (fl *flight) soonest(delay time.Duration, now time.Time) time.Time {
	due := now.Add(max(delay, 0))
	if soonest := fl.sentAt.Add(backoff(fl.attempt)); due.Before(soonest) {
		return soonest
	}
	return due
}

func backoff(attempt int) time.Duration {
	d := minBackoff
	for ; attempt > 1 && d < maxBackoff; attempt-- {
		d *= 2
	}
	return min(d, maxBackoff)
}
