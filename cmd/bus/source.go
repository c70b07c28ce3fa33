package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/bus"
	"example.com/bus/crypto"
	"example.com/bus/server/disk"
	"github.com/urfave/cli/v2"
)

// source is where dump and copy read: a directory, also one that a server is
// writing to, or a server.
type source interface {
	// namespaces returns what is there, sorted.
	namespaces(ctx context.Context) ([]string, error)
	// read hands out the events of a namespace that match, in index order, up
	// to the end that it had when read began. The events may be kept. It returns
	// ctx's error when that ends.
	read(ctx context.Context, w wanted, take func([]bus.Event) error) error
	// delivering is the same as streams have it: each event where it was delivered. It
	// tells nobody of damage, and need not be closed.
	delivering() source
	close() error
}

// followed is a source that goes on, and can be asked for single events. A
// mirror asks its target as well.
type followed interface {
	// read is that of source.
	read(ctx context.Context, w wanted, take func([]bus.Event) error) error
	// follow hands out the events that match from an index on, or from the oldest
	// with 0, and then those that come. It returns ctx's error when that ends, and a
	// *movedError when what it has handed out, or last, which was found there before
	// (nil: none), is no longer what is there.
	follow(ctx context.Context, w wanted, from uint64, last *bus.Event, take func(batch) error) error
	// last returns the index of the newest event, 0 when there is none.
	last(ctx context.Context, namespace string) (uint64, error)
	// span returns what the log holds.
	span(ctx context.Context, namespace string) (logSpan, error)
	// event returns the event with an index, or with an id behind byID, or
	// bus.ErrUnknownEvent, or says that it cannot be read.
	event(ctx context.Context, namespace, name string) (*bus.Event, error)
	// rest is false when it is certain that nothing from an index on matches.
	rest(ctx context.Context, w wanted, from uint64) (bool, error)
	close() error
}

// logSpan is what a log holds: the indexes first to last, none when last is less.
type logSpan struct {
	first, last uint64
	prefix      string // what the ids begin with that this log gives
}

// gave tells whether the log has given an id, and for which index.
func (l logSpan) gave(id string) (index uint64, ok bool) {
	p, given := bus.ParseEventID(id)
	return p.Index, given && l.prefix != "" && strings.HasPrefix(id, l.prefix)
}

// batch is what has been read of a namespace up to an index: the events that
// match, perhaps none.
type batch struct {
	events []bus.Event
	upTo   uint64
}

// movedError says that a source or target is not what it was when a mirror last
// looked: it has to find out anew where it stands.
type movedError struct{ text string }

func (e *movedError) Error() string { return e.text }

// wanted is what to read of one namespace. Without patterns it is everything.
type wanted struct {
	namespace string
	patterns  []bus.Pattern
}

// match tells whether a subject is selected.
func (w wanted) match(subject string) bool {
	return len(w.patterns) == 0 || slices.ContainsFunc(w.patterns, func(p bus.Pattern) bool { return p.Match(subject) })
}

// only leaves the events of a batch that match. Without patterns it is as it was.
func (w wanted) only(b batch) batch {
	if len(w.patterns) > 0 {
		b.events = slices.DeleteFunc(slices.Clone(b.events), func(e bus.Event) bool { return !w.match(e.Subject) })
	}
	return b
}

// selectionFlags narrow what is dumped or copied.
func selectionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "namespaces", Usage: "only these; repeatable, or with commas; all when absent"},
		&cli.StringSliceFlag{Name: "subject", Usage: "only subjects that match, as in orders.eu.>; repeatable"},
		&cli.BoolFlag{Name: "skip-damaged", Usage: "go on behind events that cannot be read, and exit with 3 at the end"},
	}
}

// selection returns what the flags select of what there is.
func selection(ctx context.Context, c *cli.Context, src source) ([]wanted, error) {
	there, err := src.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	var asked names
	_ = asked.UnmarshalText([]byte(strings.Join(c.StringSlice("namespaces"), ","))) // takes any text
	patterns := make(map[string][]bus.Pattern)
	for _, text := range c.StringSlice("subject") {
		p, err := bus.ParsePattern(text)
		if err != nil {
			return nil, usageError("--subject: %w", err)
		}
		patterns[p.Namespace()] = append(patterns[p.Namespace()], p)
	}
	if err := allThere(asked, patterns, there); err != nil {
		return nil, err
	}
	var all []wanted
	for _, name := range there {
		_, matched := patterns[name]
		if len(asked) > 0 && !slices.Contains(asked, name) || len(patterns) > 0 && !matched {
			continue
		}
		all = append(all, wanted{namespace: name, patterns: patterns[name]})
	}
	if len(all) == 0 {
		return nil, usageError("--namespaces and --subject select nothing; there is %s", strings.Join(there, ", "))
	}
	return all, nil
}

// allThere refuses a name that selects nothing: a typo must not read as an
// empty dump.
func allThere(asked names, patterns map[string][]bus.Pattern, there []string) error {
	for name := range patterns {
		asked = append(asked[:len(asked):len(asked)], name)
	}
	for _, name := range asked {
		if !slices.Contains(there, name) {
			return usageError("there is no namespace %q; there is %s", name, strings.Join(there, ", "))
		}
	}
	return nil
}

// namesOf returns the namespaces, in the order in which they are read.
func namesOf(all []wanted) []string {
	var list []string
	for _, w := range all {
		list = append(list, w.namespace)
	}
	return list
}

// openSource opens what a flag names.
func openSource(place string, ring *crypto.Keyring, d *damages) (source, error) {
	if isURL(place) {
		if ring != nil {
			return nil, usageError("a secret is given for %s, but a server has its own; leave it out", shown(place))
		}
		return newHostSource(place, d), nil
	}
	if err := checkDirectory(place); err != nil {
		return nil, err
	}
	engine, err := openEngine(place, disk.Options{ReadOnly: true, MaxEvent: disk.MaxEventLimit}, ring)
	if err != nil {
		return nil, err
	}
	return newDirSource(engine, d), nil
}

// isURL tells a server from a directory.
func isURL(place string) bool {
	return strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://")
}

// checkDirectory tells a name that was mistyped from an empty directory.
func checkDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return hint(err, "name the directory of the logs")
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is a file; name the directory of the logs", path)
	}
	return nil
}

// dirSource reads the logs of a directory as they were when it was opened.
type dirSource struct {
	engine  atomic.Pointer[disk.Engine] // another one after each change, when it is followed
	damages *damages
	reopen  func() (*disk.Engine, error) // nil: it is not followed
	path    string                       // of the log that is followed
	still   time.Time                    // when that was last written, if it was read again long after

	// delivered says that what waits for its delivery is not read before that, as a
	// stream has it: a mirror keeps the order of streams. Else an event that was put off
	// is read once, where it was published.
	delivered bool
}

func newDirSource(engine *disk.Engine, d *damages) *dirSource {
	s := &dirSource{damages: d}
	s.engine.Store(engine)
	return s
}

func (s *dirSource) namespaces(context.Context) ([]string, error) {
	return s.engine.Load().Namespaces(), nil
}

func (s *dirSource) delivering() source {
	same := newDirSource(s.engine.Load(), &damages{talk: io.Discard, skip: true})
	same.delivered = true
	return same
}

func (s *dirSource) close() error { return s.engine.Load().Close() }

func (s *dirSource) read(ctx context.Context, w wanted, take func([]bus.Event) error) error {
	_, err := s.readOn(ctx, w, 0, func(b batch) error { return take(b.events) })
	return err
}

// readOn goes from block to block, from an index on or from the oldest event with
// 0, up to the end, and returns where that is. Without patterns it hands on the
// blocks as they are.
func (s *dirSource) readOn(ctx context.Context, w wanted, from uint64, take func(batch) error) (next uint64, err error) {
	engine := s.engine.Load()
	first, _ := engine.Bounds(w.namespace)
	next = max(first, from)
	reader := engine.Reader(w.namespace, next)
	defer reader.Close()
	if next > from { // no event need come that shows it
		s.deleted(w.namespace, from, next)
		err = take(batch{upTo: next - 1})
	}
	for err == nil && ctx.Err() == nil {
		b := batch{}
		b.events, err = reader.Next()
		if errors.Is(err, io.EOF) {
			return next, nil
		}
		if damage, ok := errors.AsType[*bus.DamageError](err); ok {
			if err := s.damaged(damage, err); err != nil || damage.Next == 0 {
				return next, err
			}
			next = damage.Next
			reader.Seek(next)
			err = take(batch{upTo: next - 1})
			continue
		}
		if removed, ok := bus.AsRemoved(err); ok {
			s.damages.passed(err, removed.Reason == bus.RemovedDeleted)
			next = removed.Next
			reader.Seek(next)
			err = take(batch{upTo: next - 1})
			continue
		}
		if err != nil {
			return next, err
		}
		s.deleted(w.namespace, next, b.events[0].Index)
		next = b.events[len(b.events)-1].Index + 1
		b.upTo = next - 1
		if b.events, err = s.once(w.namespace, b.events); err == nil {
			err = take(w.only(b))
		}
	}
	return next, cmp.Or(err, context.Cause(ctx))
}

// damaged tells what is gone for good, and decides on what is not.
func (s *dirSource) damaged(damage *bus.DamageError, err error) error {
	if !damage.Repaired.IsZero() {
		return s.damages.gone(newLost(damage))
	}
	return s.damages.met(err)
}
