package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"example.com/bus"
	"example.com/bus/client"
)

// hostReading is one reading of a namespace of a server. The stream carries what is
// to be delivered. What has expired is in the log all the same, and a copy is of the
// log: it is asked for by its index. With patterns nobody can tell it from what does
// not match, and it is left out. What is put off comes where it is due.
type hostReading struct {
	src     *hostSource
	wanted  wanted
	take    func(batch) error
	problem func(wanted, error) error

	mu      sync.Mutex          // guards all below, and is held while take is called
	waiting map[string]struct{} // ids of what waited at the beginning, and has not come
	next    uint64              // index of what comes next; with patterns, or later
	asked   uint64              // index of the last event that was asked for

	// A server that comes back may have been put back from an older copy of its log,
	// and have grown since: what was read last has to be there still.
	newest *bus.Event // what was read last; nil: nothing
	anew   bool       // it is not known whether it is still there
}

// errHole says that an event is missing and nobody said so.
var errHole = errors.New("an event is missing that a stream should have carried")

// begin makes ready to read from an index on, or from the oldest event with 0.
func (s *hostSource) begin(ctx context.Context, w wanted, from uint64, take func(batch) error) (r *hostReading, info bus.NamespaceInfo, err error) {
	info, err = s.info(ctx, w.namespace)
	if err != nil {
		return nil, info, err
	}
	if from == 0 {
		from = info.First
	}
	return &hostReading{src: s, wanted: w, take: take, problem: s.problem, next: max(from, 1)}, info, nil
}

// run hands over what a stream brings until that ends, and returns whether there
// were gaps.
func (r *hostReading) run(ctx context.Context, options ...client.GetOption) (gaps bool, err error) {
	for event, err := range r.src.client.Get(ctx, append(options, r.wanted.subjects()...)...) {
		if err != nil {
			gaps = true
			err = r.gap(ctx, err)
		} else {
			err = r.event(ctx, &event.Event)
		}
		if err != nil {
			return gaps, err
		}
	}
	return gaps, nil
}

// subjects asks a server for what is wanted.
func (w wanted) subjects() (options []client.GetOption) {
	for _, p := range w.patterns {
		options = append(options, client.WithSubject(p.String()))
	}
	if len(w.patterns) == 0 {
		options = append(options, client.WithSubject(w.namespace+".>"))
	}
	return options
}

// event takes an event of the stream, behind those that it has passed over. One that
// cannot come now is refused: what is copied must be the log, whatever the server is.
func (r *hostReading) event(ctx context.Context, e *bus.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	where := fmt.Sprintf("%s sent an event of %q at index %d behind index %d of %s", shown(r.src.url), e.Subject, e.Index, r.next-1, r.wanted.namespace)
	if bus.Namespace(e.Subject) != r.wanted.namespace || !r.wanted.match(e.Subject) {
		return fmt.Errorf("%s, which was not asked for; is it a bus server?", where)
	}
	if e.Index <= r.asked {
		return nil // asked for while it was on its way
	}
	err := errHole
	if e.Index >= r.next {
		err = r.fill(ctx, e.Index)
	}
	if errors.Is(err, errHole) {
		return fmt.Errorf("%s, which is out of order; is it a bus server?", where)
	}
	if err != nil {
		return err
	}
	return r.give(e)
}

// give hands an event on. The caller holds mu.
func (r *hostReading) give(e *bus.Event) error {
	delete(r.waiting, e.Id)
	r.next, r.newest = e.Index+1, e
	return r.take(batch{[]bus.Event{*e}, e.Index})
}

// isAnew notes that the connection is another one than before.
func (r *hostReading) isAnew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.anew = true
}

// stillThere looks, on a connection that is another one, for what was read last. What
// retention has deleted, or damage taken, says nothing. The caller holds mu.
func (r *hostReading) stillThere(ctx context.Context) error {
	if !r.anew || r.newest == nil {
		return nil
	}
	have, err := r.src.event(ctx, r.wanted.namespace, strconv.FormatUint(r.newest.Index, 10))
	if err == nil {
		err = unlessSame(have, r.newest, r.wanted.namespace)
	}
	if err = unlessNotThere(err); err == nil {
		r.anew = false
	}
	return err
}

// gap decides on what the stream says is missing, and goes on behind it.
func (r *hostReading) gap(ctx context.Context, err error) error {
	if err := r.problem(r.wanted, err); err != nil {
		return err
	}
	gap, ok := errors.AsType[*client.GapError](err)
	if !ok || gap.Namespace != r.wanted.namespace {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if gap.Lost > 0 && gap.Lost < gap.ResumedIndex {
		if err := r.fill(ctx, gap.ResumedIndex-gap.Lost); err != nil && !errors.Is(err, errHole) {
			return err
		}
	}
	r.next = max(r.next, gap.ResumedIndex)
	return r.passed()
}

// passed says up to where there is nothing more to come: behind a gap at the end of the
// log, or where all was deleted, no event does.
func (r *hostReading) passed() error { return r.take(batch{upTo: r.next - 1}) }

// fill asks for the events below an index that the stream has passed over. errHole
// when one of them was to be delivered. The caller holds mu.
func (r *hostReading) fill(ctx context.Context, below uint64) error {
	if err := r.stillThere(ctx); err != nil || len(r.wanted.patterns) > 0 {
		return err
	}
	for r.next < below {
		e, err := r.src.event(ctx, r.wanted.namespace, strconv.FormatUint(r.next, 10))
		switch {
		case isRemoved(err): // on purpose, and nothing is missing
			r.src.damages.passed(err, false) // the stream has told of those that were deleted
			r.next = min(max(r.next+1, behindRemoved(err)), below)
			err = r.passed()
		case notThere(err):
			err = r.retained(ctx, below)
		case err != nil:
		case e.Timing == nil:
			err = errHole
		case e.Waits(): // it comes when it is due
			r.next++
			err = r.passed()
		default:
			r.asked = e.Index
			err = r.give(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// behindRemoved is where the next event stands behind those that were removed, as a
// server says it; 0: it does not.
func behindRemoved(err error) uint64 {
	if refusal, ok := bus.AsError(err); ok {
		return refusal.Index
	}
	return 0
}

// retained goes on where the retention has left something: it may have deleted what
// is asked for behind the back of the stream.
func (r *hostReading) retained(ctx context.Context, below uint64) error {
	info, err := r.src.info(ctx, r.wanted.namespace)
	if err != nil {
		return err
	}
	if info.First <= r.next {
		return errHole
	}
	r.next = min(info.First, below)
	return nil
}

// catchUp asks for what the stream has passed over at the very end of the log, where
// no later event shows it. It returns when ctx ends.
func (r *hostReading) catchUp(ctx context.Context) {
	seen := uint64(0)
	for pause(ctx, lookAtSource) {
		r.mu.Lock()
		quiet := r.next == seen // what is on its way comes by itself
		seen = r.next
		r.mu.Unlock()
		if !quiet {
			continue
		}
		last := r.src.tail.Load() // asked all the time, to know the lag
		if last < seen {
			continue
		}
		r.mu.Lock()
		r.anew = true           // the stream may be away, and somebody else answer
		_ = r.fill(ctx, last+1) // whatever it is, the stream will say it, or the next try
		r.mu.Unlock()
	}
}
