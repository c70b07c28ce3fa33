package disk

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.com/bus"
	"example.com/bus/immuta"
)

var errClosing = immuta.ErrClosed

// Newest returns, sorted, the index of the newest event of each subject that matches
// one of the patterns and was delivered, or need not wait for that, of all events below next: all of one moment, and all of them
// readable. The first call reads the log; events that are lost to damage are passed
// over there, and listed. bus.ErrTooManySubjects for more than most indexes, and
// where a namespace has more subjects than Options.LastSubjects.
func (e *Engine) Newest(ctx context.Context, namespace string, patterns []bus.Pattern, most int) (indexes []uint64, next uint64, lost []bus.DamageError, err error) {
	n, err := e.namespace(namespace)
	if err != nil {
		return nil, 0, nil, err
	}
	for {
		indexes, next, lost, err = n.lasts.newest(ctx, patterns, most)
		if err == nil {
			err = n.lasts.visible(ctx, next)
		}
		if !errors.Is(err, errFrozen) {
			break
		}
		n.lasts.forget()
	}
	if err != nil {
		return nil, 0, nil, err
	}
	slices.Sort(indexes)
	return indexes, next, lost, nil
}

// forget has a log that failed read anew: something that counted as stored will not
// become readable, and may have hidden what is.
func (l *lasts) forget() {
	l.lock()
	defer l.unlock()
	if l.reading == nil {
		l.known.Store(false)
		l.table = nil
	}
}

func (l *lasts) newest(ctx context.Context, patterns []bus.Pattern, most int) (indexes []uint64, next uint64, lost []bus.DamageError, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, 0, nil, ctx.Err()
	}
	subjects, next, lost, err := l.moment(ctx, patterns)
	first, _ := l.of.log.Bounds()
	for i, last := range l.copied {
		if last < first || subjects != nil && !matchesAny(patterns, subjects[i]) {
			continue
		}
		if len(indexes) == most {
			return nil, 0, nil, bus.ErrTooManySubjects.With("the patterns match more than %d subjects of namespace %s, of which the newest events are not sent at once: ask for fewer, or begin with start=oldest", most, l.name)
		}
		indexes = append(indexes, last)
	}
	return indexes, next, lost, err
}

// moment copies into l.copied what there is: of all subjects, which it returns, or
// when all patterns are plain subjects, of those. Patterns are matched later, without
// a lock: a commit would wait for that.
func (l *lasts) moment(ctx context.Context, patterns []bus.Pattern) (subjects []string, next uint64, lost []bus.DamageError, err error) {
	l.copied = l.copied[:0]
	for {
		if err := l.await(ctx); err != nil {
			return nil, 0, nil, err
		}
		l.lock()
		if l.known.Load() {
			break
		}
		l.unlock() // there are too many since
	}
	defer l.unlock()
	if slices.ContainsFunc(patterns, wild) {
		l.copied = append(l.copied, l.table.last...)
		for slot, at := range l.table.places {
			l.copied[slot] = at
		}
		return l.table.subjects, l.next, l.lost, nil
	}
	for i, p := range patterns {
		if slices.ContainsFunc(patterns[:i], func(o bus.Pattern) bool { return o.String() == p.String() }) {
			continue
		}
		if slot, ok := l.table.slots[p.String()]; ok {
			l.copied = append(l.copied, l.table.place(slot))
		}
	}
	return nil, l.next, l.lost, nil
}

func wild(p bus.Pattern) bool { return strings.ContainsAny(p.String(), "*>") }

func matchesAny(patterns []bus.Pattern, subject string) bool {
	return slices.ContainsFunc(patterns, func(p bus.Pattern) bool { return p.Match(subject) })
}
