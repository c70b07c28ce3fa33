package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/client"
	"example.com/bus/crypto"
	"example.com/bus/server/disk"
)

// How a directory is watched. Nobody tells of a change there, so the file is
// looked at; to look costs a system call.
const (
	lookEvery = 15 * time.Millisecond
	// quietFor is after how long a file that does not change is read once more: a
	// file system may give two writes the same time, and a network's tells late.
	quietFor = 2 * time.Second
)

// openFollowed opens one namespace of a directory so that it can be followed.
func openFollowed(path, namespace string, ring *crypto.Keyring, d *damages) (*dirSource, error) {
	reopen := func() (*disk.Engine, error) {
		return openEngine(path, disk.Options{ReadOnly: true, Namespaces: []string{namespace}, MaxEvent: disk.MaxEventLimit}, ring)
	}
	engine, err := reopen()
	if err != nil {
		return nil, err
	}
	s := newDirSource(engine, d)
	s.delivered = true
	s.path, s.reopen = filepath.Join(path, namespace+".log"), reopen
	return s, nil
}

// follow reads to the end, and again after each change: what a server appends is
// seen by who opens the log anew, which takes as long for a long log as for a
// short one.
func (s *dirSource) follow(ctx context.Context, w wanted, from uint64, last *bus.Event, take func(batch) error) error {
	newest := last
	each := func(b batch) error {
		if len(b.events) > 0 {
			newest = &b.events[len(b.events)-1]
		}
		return take(w.only(b))
	}
	for {
		seen, _ := os.Stat(s.path) // before it is opened: what comes later is a change
		if err := s.renew(w.namespace, from); err != nil {
			return err
		}
		if err := s.stillThere(ctx, w.namespace, newest); err != nil {
			return err
		}
		next, err := s.readOn(ctx, wanted{namespace: w.namespace}, from, each)
		if err != nil {
			return err
		}
		from = next
		if err := s.awaitChange(ctx, seen); err != nil {
			return err
		}
	}
}

// renew opens the log as it is now. from is where it has been read up to: a log
// that ends before, or is another one, has to be looked at anew.
func (s *dirSource) renew(namespace string, from uint64) error {
	engine, err := s.reopen()
	if err != nil {
		return err
	}
	old := s.engine.Swap(engine)
	defer old.Close() // it was only read
	if was, is := old.Incarnation(namespace), engine.Incarnation(namespace); was != is {
		return &movedError{fmt.Sprintf("namespace %s of the source is another log now", namespace)}
	}
	if _, next := engine.Bounds(namespace); from > next {
		return &movedError{fmt.Sprintf("namespace %s of the source ends at index %d, %d were copied", namespace, next-1, from-1)}
	}
	return nil
}

// stillThere makes sure that a log which is as long as before is the one that was
// read: one that was put back from an older copy may have grown since. What retention
// has deleted, or damage taken, says nothing.
func (s *dirSource) stillThere(ctx context.Context, namespace string, newest *bus.Event) error {
	if newest == nil {
		return nil
	}
	have, err := s.event(ctx, namespace, strconv.FormatUint(newest.Index, 10))
	if err != nil {
		return unlessNotThere(err)
	}
	return unlessSame(have, newest, namespace)
}

// unlessSame is a *movedError when another event stands where one was read.
func unlessSame(have, newest *bus.Event, namespace string) error {
	if have.Id == newest.Id && have.Index == newest.Index && sameStored(have, newest) {
		return nil
	}
	return &movedError{fmt.Sprintf("event %s of namespace %s of the source is another one now than was copied", newest.Id, namespace)}
}

// deleted tells what retention has deleted before it was copied.
func (s *dirSource) deleted(namespace string, from, next uint64) {
	if from > 0 && next > from && s.reopen != nil {
		gap := &client.GapError{Namespace: namespace, Requested: "#" + strconv.FormatUint(from, 10), ResumedIndex: next, Lost: next - from, Reason: "retention"}
		fmt.Fprintln(s.damages.talk, "bus:", gap)
	}
}

// awaitChange returns when the file is no longer what was seen, and once when it
// has not changed for a while.
func (s *dirSource) awaitChange(ctx context.Context, seen fs.FileInfo) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now, err := os.Stat(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // between two steps of a roll; who opens it anew hears if there is more to it
		}
		if err != nil {
			return err
		}
		if seen == nil || !os.SameFile(seen, now) || now.Size() != seen.Size() || !now.ModTime().Equal(seen.ModTime()) {
			return nil
		}
		if !s.still.Equal(now.ModTime()) && time.Since(now.ModTime()) > quietFor {
			s.still = now.ModTime()
			return nil
		}
	}
}

// last returns the index of the newest event that can be read, 0 when there is
// none. Of a log that is followed it looks for itself: who follows may be held up.
func (s *dirSource) last(_ context.Context, namespace string) (uint64, error) {
	engine := s.engine.Load()
	if s.reopen != nil {
		var err error
		if engine, err = s.reopen(); err != nil {
			return 0, err
		}
		defer engine.Close() // it was only read
	}
	_, next := engine.Bounds(namespace)
	return max(next, 1) - 1, nil
}

// span is of the log as it was opened last.
func (s *dirSource) span(_ context.Context, namespace string) (logSpan, error) {
	engine := s.engine.Load()
	first, next := engine.Bounds(namespace)
	prefix := bus.FormatID(bus.Position{Incarnation: engine.Incarnation(namespace)})
	return logSpan{first, max(next, 1) - 1, prefix[:len(prefix)-1]}, nil // without the digit of index 0
}

// event reads one event, by its index or by its id behind byID.
func (s *dirSource) event(ctx context.Context, namespace, name string) (*bus.Event, error) {
	engine := s.engine.Load()
	index, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		if index, err = engine.Find(ctx, namespace, strings.TrimPrefix(name, byID)); err != nil {
			return nil, err
		}
	}
	if first, next := engine.Bounds(namespace); index < first || index >= next {
		return nil, bus.ErrUnknownEvent.With("index %d; %s holds %d to %d", index, namespace, first, next-1)
	}
	reader := engine.Reader(namespace, index)
	defer reader.Close()
	events, err := reader.Next()
	if err != nil {
		return nil, err
	}
	if events[0].Index != index {
		return nil, bus.ErrUnknownEvent.With("index %d; %s holds none in front of %d any more", index, namespace, events[0].Index)
	}
	return &events[0], nil
}

// rest tells of what was not looked at yet: what is read of a directory is told
// whether it matches or not.
func (s *dirSource) rest(context.Context, wanted, uint64) (bool, error) { return true, nil }
