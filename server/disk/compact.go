package disk

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

const (
	// compactEvery is how often a namespace is looked at, at the least; each segment
	// that is closed has it looked at, too.
	compactEvery = 10 * time.Second

	// compactAt is how long the segment that is appended to gets before it is closed
	// because half of it is needless. It doubles with every segmentsPerDouble closed
	// ones, up to mostSegment: of each that was compacted a file is left, and there
	// are not to be a million of them.
	compactAt         = 1 << 20
	segmentsPerDouble = 16

	// lookShare: a look copies the last index of each subject, so it waits for one
	// new event to every few of them.
	lookShare = 8
)

// compaction is what is known of a namespace whose events are compacted. Whoever
// holds namespace.removing may use it.
type compaction struct {
	logger   *slog.Logger
	closeAt  int64
	unsynced bool // what is readable may not be on stable storage

	looked uint64              // end of the log at the last look that was finished
	closed int                 // segments then
	of     map[uint64]*segment // closed ones that were read, by their first index
	after  time.Time           // not before then: it has failed
	tryAt  uint64              // where the log has to begin before too many subjects may be fewer; 0: there are not too many
}

// alive is which events were the newest of their subjects, all at one moment.
type alive struct {
	indexes []uint64 // sorted
	next    uint64   // of events from here on nothing is said
	lost    []bus.DamageError
}

// within returns those of a range.
func (a *alive) within(first, next uint64) []uint64 {
	from := sort.Search(len(a.indexes), func(i int) bool { return a.indexes[i] >= first })
	to := sort.Search(len(a.indexes), func(i int) bool { return a.indexes[i] >= next })
	return a.indexes[from:to]
}

// compact removes from a closed segment the events that are not the newest of their
// subject, where that is at least half of a segment. It writes one at a time, and says
// when there may be more: others have a keeper to themselves in between. A look costs a few bytes a
// subject and reads nothing of the log; only what pays is read, and then written
// anew, so that every event is written once more for each time that what is left of
// its segment halves.
func (n *namespace) compact(ctx context.Context) (more bool, err error) {
	select {
	case n.removing <- struct{}{}:
		defer n.removing.Unlock()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	c, now := &n.compaction, n.now()
	if wait := c.after.Sub(now); wait > 0 && wait <= keeperRetry { // or a clock was set back
		return false, nil
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			c.after = now.Add(keeperRetry)
		}
	}()
	segments := n.log.Segments()
	last, closed := segments[len(segments)-1], segments[:len(segments)-1]
	if segments[0].First < c.tryAt || len(closed) == c.closed && !c.due(now) && last.Next < c.looked+1+uint64(n.lasts.size.Load())/lookShare {
		return false, nil
	}
	a, err := n.alive(ctx)
	switch {
	case errors.Is(err, bus.ErrTooManySubjects):
		c.tooMany(n.name, segments[0].First, last.Next)
		return false, nil
	case errors.Is(err, errFrozen): // the log takes no more, and says so elsewhere
		return false, nil
	case err != nil:
		return false, err
	}
	c.tryAt = 0
	c.forget(segments[0].First)
	for _, s := range closed {
		if did, err := n.compactOne(ctx, s, a, now); did || err != nil {
			return did, err
		}
	}
	c.looked, c.closed = a.next, len(closed)
	if n.pays(last, a, now) && last.Bytes >= c.longEnough(len(closed)) {
		return true, n.log.Roll(ctx)
	}
	return false, nil
}

// tooMany says once that nothing is compacted, and puts off the next try until half of
// the log is deleted: to find out costs reading all of it.
func (c *compaction) tooMany(namespace string, first, next uint64) {
	if c.tryAt == 0 {
		c.logger.Warn("the namespace has too many subjects to be compacted: nothing of it is removed; divide it, or leave compact out", "namespace", namespace)
	}
	c.tryAt = first + (next-first)/2 + 1
}

// forget drops what is known of segments that are deleted.
func (c *compaction) forget(first uint64) {
	if c.of == nil {
		c.of = make(map[uint64]*segment)
	}
	maps.DeleteFunc(c.of, func(at uint64, _ *segment) bool { return at < first })
}

// longEnough is how long the open segment is at least when it is closed.
func (c *compaction) longEnough(closed int) int64 {
	return max(c.closeAt, min(mostSegment, c.closeAt<<min(closed/segmentsPerDouble, 20)))
}

// unsure reports whether events of a segment could not be read when the newest ones
// were looked for: one of them may be the newest after all.
func (a *alive) unsure(s immuta.Segment) bool {
	return slices.ContainsFunc(a.lost, func(d bus.DamageError) bool { return d.From < s.Next && (d.Next == 0 || d.Next > s.First) })
}

// alive returns what is to stay: the newest event of each subject, of all that is
// readable at one moment, and those that wait for their delivery. Who was delivered
// since that moment is newer.
func (n *namespace) alive(ctx context.Context) (*alive, error) {
	a, err := n.lasts.alive(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.ids.await(ctx); err != nil {
		return nil, err
	}
	n.ids.mu.Lock()
	a.indexes = append(a.indexes, n.ids.delays.indexes(0, math.MaxInt)...)
	n.ids.mu.Unlock()
	slices.Sort(a.indexes)
	a.indexes = slices.Compact(a.indexes)
	return a, nil
}

// alive returns the newest event of each subject, the one that was published last and
// the one that was delivered last. The first call reads the log.
func (l *lasts) alive(ctx context.Context) (*alive, error) {
	if err := l.await(ctx); err != nil {
		return nil, err
	}
	l.lock()
	if !l.known.Load() {
		l.unlock()
		return nil, l.tooMany()
	}
	a := &alive{indexes: slices.Clone(l.table.last), next: l.next, lost: l.lost}
	for _, at := range l.table.places {
		a.indexes = append(a.indexes, at)
	}
	l.unlock()
	return a, l.visible(ctx, a.next)
}
