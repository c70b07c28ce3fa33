package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// lag is how far the mirror of one namespace is behind its source. It is for many
// goroutines.
type lag struct {
	log *slog.Logger

	mu     sync.Mutex // guards all below
	life   int        // how often it was found out where the target stands
	begun  bool       // it is known where the target stands
	known  bool       // the source has said how far it is, since then
	tail   uint64     // index of its newest event
	copied uint64     // index up to which the target has what was asked for
	stored uint64     // events that this process has written
	newest time.Time  // when the newest copied event was made
	inStep time.Time  // when it was last found to be in step
	late   bool       // it was told to be behind
	said   time.Time  // when that was told last
	first  bool       // it was told to be in step
}

// reached notes an event that the target has.
func (l *lag) reached(index uint64, made time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copied, l.newest = index, earlier(made)
	l.tail = max(l.tail, index)
}

// restart says where the target stands, and forgets what was known
// before: it may have been of another log.
func (l *lag) restart(index uint64, made time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copied, l.tail, l.newest = index, index, earlier(made)
	l.begun, l.known = true, false
	l.life++
}

// earlier is now for an event that says it was made later: its publisher chose that, or
// has another clock.
func earlier(made time.Time) time.Time {
	if now := time.Now(); made.After(now) {
		return now
	}
	return made
}

// wrote counts what was stored.
func (l *lag) wrote(events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored += uint64(events)
}

// now returns up to where the source was copied, and in which life of the mirror: what
// a source said of an earlier one may be of another log.
func (l *lag) now() (copied uint64, life int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.copied, l.life
}

// count returns how many events were stored.
func (l *lag) count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stored
}

// upTo notes an index up to which there is nothing more to copy.
func (l *lag) upTo(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copied = max(l.copied, index)
	l.tail = max(l.tail, l.copied)
}

// seen notes that the source has come to an index.
func (l *lag) seen(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = max(l.tail, index)
}

// told notes how far the source is, and whether all of that is copied but for what
// is not asked for.
func (l *lag) told(life int, tail uint64, all bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun || life != l.life {
		return
	}
	if all {
		l.copied = max(l.copied, tail)
	}
	l.tail, l.known = max(l.tail, tail), true
	if l.tail == l.copied {
		l.inStep = now
	}
}

// behind returns how many events of the namespace come after the newest that was
// looked at, and for how long the target has been without one of them: at most
// the age of the newest that it has. known is false before the source has said
// how far it is.
func (l *lag) behind(now time.Time) (events uint64, age time.Duration, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if events = l.tail - l.copied; events == 0 {
		return 0, 0, l.known
	}
	since := l.newest
	if since.Before(l.inStep) {
		since = l.inStep
	}
	if since.IsZero() {
		return events, 0, l.known
	}
	return events, max(0, now.Sub(since)), l.known
}

// sayAgain is after how long a mirror that is behind says so once more.
const sayAgain = 30 * time.Second

// say logs what has changed.
func (l *lag) say(now time.Time, most time.Duration) {
	events, age, known := l.behind(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case known && events == 0 && (l.late || !l.first):
		l.late, l.first = false, true
		l.log.Info("in step", "index", l.copied)
	case events > 0 && age > most && (!l.late || now.Sub(l.said) >= sayAgain):
		l.late, l.said = true, now
		l.log.Warn("behind", "events", events, "seconds", age.Round(time.Millisecond).Seconds())
	}
}

// watch asks the source how far it is, again and again, until ctx ends.
func (f *feed) watch(ctx context.Context, every, most time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		f.look(ctx)
		f.lag.say(time.Now(), most)
		select {
		case <-tick.C:
		case <-f.begun:
		case <-ctx.Done():
			return
		}
	}
}

// look does not wait for a source that does not answer: what is known stays, and
// the age grows. With patterns the source is asked whether the events behind the
// newest copied one are any that are wanted.
func (f *feed) look(ctx context.Context) {
	_, life := f.lag.now()
	tail, err := f.src.last(ctx, f.wanted.namespace)
	if err != nil {
		return
	}
	copied, _ := f.lag.now()
	all := false
	if tail > copied {
		more, err := f.src.rest(ctx, f.wanted, copied+1)
		all = err == nil && !more
	}
	f.lag.told(life, tail, all, time.Now())
}
