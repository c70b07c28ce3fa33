package main

import (
	"context"
	"errors"
	"io"
	"time"

	"example.com/bus"
)

// subjects are the newest events that a target has of its subjects, where it removes
// older ones. An event that it has removed is unknown there: written once more it
// would be the newest, and the next compaction would take the one that really is. So
// what is older is left out, whether it was ever there or not.
type subjects struct {
	newest map[string]*newestEvent // by subject; empty: the target keeps everything

	// lines says that the order of the source is that of the lines of a dump, in which
	// what was put off may stand where it was published: at the target that comes
	// later, when it is due.
	lines bool
}

// newestEvent is what is to be known of one.
type newestEvent struct {
	id    string
	at    uint64    // where it stands in the source; 0: that does not have it
	since time.Time // when it became the newest there
	waits bool      // it was put off there
}

// addFrom takes what a target has of a namespace. One that has not removed anything
// lacks only what was never there: that is written, in whatever order.
func (s *subjects) addFrom(ctx context.Context, out sink, w wanted) error {
	d := &damages{talk: io.Discard, skip: true} // of the target: it is no damage of the copy
	target := readBack(out, d)
	compacts, err := compacted(ctx, target, w.namespace, d)
	if err != nil || !compacts {
		return err
	}
	if s.newest == nil {
		s.newest = make(map[string]*newestEvent)
	}
	return target.read(ctx, wanted{namespace: w.namespace}, func(events []bus.Event) error {
		for i := range events {
			if e := &events[i]; w.match(e.Subject) {
				s.newest[e.Subject] = &newestEvent{id: e.Id, since: becameNewest(e), waits: e.GivenIndex() != e.Index}
			}
		}
		return nil
	})
}

// becameNewest is when an event was delivered, as far as it says so itself.
func becameNewest(e *bus.Event) time.Time {
	if e.Timing != nil && e.Timing.DeliverAt.After(e.CreatedAt) {
		return e.Timing.DeliverAt
	}
	return e.CreatedAt
}

// compacted tells whether a log removes what is older, or has done so: no setting tells
// what it was when the log was written.
func compacted(ctx context.Context, target followed, namespace string, d *damages) (bool, error) {
	if host, ok := target.(*hostSource); ok {
		info, err := host.info(ctx, namespace)
		if err != nil {
			return false, hostError(err, host.url)
		}
		if info.Retention != nil && info.Retention.Compact || info.Removed.Compacted > 0 {
			return true, nil
		}
	}
	err := target.read(ctx, wanted{namespace: namespace}, func([]bus.Event) error {
		if d.compacted() {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return d.compacted(), err
}

// seen notes where the source has events. Its order is that of its deliveries, as it
// is the order of a target.
func (s *subjects) seen(each func(func(*bus.Event)) error) error {
	if len(s.newest) == 0 {
		return nil
	}
	return each(func(e *bus.Event) {
		if n := s.newest[e.Subject]; n != nil && n.id == e.Id {
			n.at = e.Index
		}
	})
}

// have tells whether the target has a newer event of the same subject: the source says
// which of two is the newer, or the log that gave both their ids, or their times.
func (s *subjects) have(e *bus.Event) bool {
	n := s.newest[e.Subject]
	if n == nil || n.id == e.Id {
		return false
	}
	if n.at > 0 {
		return e.Index < n.at || s.lines && n.waits && e.CreatedAt.Before(n.since)
	}
	mine, given := bus.ParseEventID(e.Id)
	its, both := bus.ParseEventID(n.id)
	if given && both && mine.Incarnation == its.Incarnation {
		return mine.Index < its.Index
	}
	return !becameNewest(e).After(n.since)
}
