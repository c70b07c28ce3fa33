package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"example.com/bus"
	"example.com/bus/immuta"
)

// keeper deletes what the policies of an engine no longer keep. It is one
// goroutine, beside the appends, and there is none while no namespace has a
// policy.
type keeper struct {
	engine *Engine
	now    func() time.Time
	logger *slog.Logger
	wake   chan struct{} // room for one: there may be something to do

	mu      sync.Mutex // guards what follows
	stop    context.CancelFunc
	done    chan struct{} // nil: it was not started
	stopped bool
}

// How long the keeper waits at most: an age passes without anything happening,
// and what has failed is tried again.
const (
	keeperMin   = time.Second
	keeperMax   = time.Minute
	keeperRetry = time.Minute
)

func newKeeper(e *Engine, o Options) *keeper {
	k := &keeper{engine: e, now: o.Now, logger: o.Logger, wake: make(chan struct{}, 1)}
	if k.now == nil {
		k.now = time.Now
	}
	return k
}

// kick says that there may be something to do. It never waits.
func (k *keeper) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// start runs the goroutine, once.
func (k *keeper) start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done != nil || k.stopped {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	k.stop, k.done = stop, make(chan struct{})
	go k.run(ctx)
}

// end waits for the goroutine.
func (k *keeper) end() {
	k.mu.Lock()
	k.stopped = true
	done, stop := k.done, k.stop
	k.mu.Unlock()
	if done != nil {
		stop()
		<-done
	}
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		timer.Reset(k.pass(ctx))
		select {
		case <-k.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// pass looks at every namespace, and returns when to look again at the latest.
func (k *keeper) pass(ctx context.Context) (again time.Duration) {
	again = math.MaxInt64
	for _, name := range k.engine.Namespaces() {
		n := k.engine.log(name)
		if n == nil {
			continue // it is being removed
		}
		r := n.policy.Load()
		if !r.Limits() {
			continue
		}
		if r.MaxAge > 0 {
			again = min(again, max(keeperMin, min(r.MaxAge/(4*retentionParts), keeperMax)))
		}
		err := n.retain(ctx, *r, k.now())
		if r.Compact {
			again = min(again, compactEvery)
			more, failed := n.compact(ctx)
			if more {
				again = 0
			}
			err = errors.Join(err, failed)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, immuta.ErrClosed) {
			again = min(again, keeperRetry)
			k.logger.Warn("what is past the retention could not be deleted, or not be compacted; it is tried again", "namespace", name, "retention", r.String(), "error", err)
		}
	}
	return again
}

// SetRetention changes the policy of a namespace from now on, whatever it was;
// the zero value keeps everything from here on. It does not outlive the engine.
func (e *Engine) SetRetention(namespace string, r Retention) error {
	n, err := e.namespace(namespace)
	if err != nil {
		return err
	}
	if err := r.Check(); err != nil {
		return fmt.Errorf("retention of namespace %s: %w", namespace, err)
	}
	if e.lock == nil {
		return n.appendError(immuta.ErrReadOnly)
	}
	n.policy.Store(&r)
	n.log.SetSegmentBytes(r.segmentBytes())
	n.expect(r)
	e.keeper.start()
	e.keeper.kick()
	return nil
}

// Retain is SetRetention for a policy as it travels.
func (e *Engine) Retain(namespace string, info bus.RetentionInfo) error {
	r, err := policyOf(info)
	if err != nil {
		return err
	}
	return e.SetRetention(namespace, r)
}

// CheckRetention refuses what Retain would, whatever the namespace.
func (e *Engine) CheckRetention(info bus.RetentionInfo) error {
	_, err := policyOf(info)
	return err
}

func policyOf(info bus.RetentionInfo) (Retention, error) {
	r := Retention{MaxBytes: info.MaxBytes, MaxEvents: info.MaxEvents, DiscardNew: info.Discard == "new", Compact: info.Compact}
	if info.MaxAge != "" {
		age, err := time.ParseDuration(info.MaxAge)
		if err != nil {
			return r, bus.ErrInvalidParameter.With("max_age is %.80q, wanted a duration", info.MaxAge)
		}
		r.MaxAge = age
	}
	if err := r.Check(); err != nil {
		return r, bus.ErrInvalidParameter.With("retention: %v", err)
	}
	return r, nil
}

// Purge deletes the events of a namespace that are below an index, as far as
// they fill whole segments, the last one being closed for it: up to a segment's
// worth of them stays. It may be called whatever the policy is.
func (e *Engine) Purge(ctx context.Context, namespace string, before uint64) error {
	n, err := e.namespace(namespace)
	if err != nil {
		return err
	}
	if segments := n.log.Segments(); before > segments[len(segments)-1].First {
		if err := n.log.Roll(ctx); err != nil {
			return n.appendError(err)
		}
	}
	if err := n.trim(before); err != nil {
		return n.appendError(err)
	}
	return nil
}

// retain does to a namespace what its policy says.
func (n *namespace) retain(ctx context.Context, r Retention, now time.Time) error {
	segments := n.log.Segments()
	var failed error // what is closed can be deleted all the same
	if last := segments[len(segments)-1]; r.closes(last, now) {
		failed = n.log.Roll(ctx)
		segments = n.log.Segments()
	}
	n.expect(r)
	return errors.Join(failed, n.trim(r.before(segments, now)))
}

// closes says whether the segment that is appended to is old or long enough.
func (r Retention) closes(last immuta.Segment, now time.Time) bool {
	events := last.Next - last.First
	old := r.MaxAge > 0 && events > 0 && !last.From.IsZero() && now.Sub(last.From) >= r.MaxAge/retentionParts
	return old || r.MaxEvents > 0 && events >= r.segmentEvents()
}

// before is the index in front of which all may go. Nothing goes before it is
// due when the clock is set back: a commit is never older than the one before.
func (r Retention) before(segments []immuta.Segment, now time.Time) uint64 {
	before, next := segments[0].First, segments[len(segments)-1].Next
	bytes := int64(0)
	for _, s := range segments {
		bytes += s.Bytes
	}
	for _, s := range segments {
		tooOld := r.MaxAge > 0 && now.Sub(s.To) > r.MaxAge
		tooBig := r.MaxBytes > 0 && !r.DiscardNew && bytes > r.MaxBytes
		tooMany := r.MaxEvents > 0 && !r.DiscardNew && next-s.Next >= r.MaxEvents
		if s.Open || !tooOld && !tooBig && !tooMany {
			break
		}
		before, bytes = s.Next, bytes-s.Bytes
	}
	return before
}

// expect says which append has the keeper look at the namespace again.
func (n *namespace) expect(r Retention) {
	at := uint64(math.MaxUint64)
	if each := r.segmentEvents(); each > 0 {
		segments := n.log.Segments()
		at = segments[len(segments)-1].First + each
	}
	n.wakeAt.Store(at)
}

// trim deletes the segments below an index and counts them.
func (n *namespace) trim(before uint64) error {
	t, err := n.log.Trim(before)
	n.deleted.segments.Add(uint64(t.Segments))
	n.deleted.events.Add(t.Records)
	n.deleted.bytes.Add(uint64(t.Bytes))
	if t.Segments > 0 {
		first, _ := n.log.Bounds()
		n.lostDelayed(n.ids.forget(first), "the retention has deleted them", "first_index", first)
		n.lasts.trimmed(first)
		if n.subjects != nil {
			n.subjects.forget(first)
		}
	}
	return err
}
