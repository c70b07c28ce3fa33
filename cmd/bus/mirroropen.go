package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"
)

// How often a mirror looks how far its source is, and how far behind it may be
// before that is told.
const (
	lookAtSource  = time.Second
	defaultMaxLag = 30 * time.Second
)

// mirrorEvents is copy with --follow. What can be checked on this machine is
// checked first, and is an error at once; servers are waited for.
func mirrorEvents(c *cli.Context, e ends) error {
	screen := newScreen(c.App.ErrWriter)
	m := &mirror{log: loggerFor(screen, screen.terminal, logLevel(slog.LevelInfo), "auto"), every: lookAtSource, maxLag: c.Duration("max-lag")}
	d := &damages{talk: lines{m.log}, skip: c.Bool("skip-damaged")}
	web, err := openStatus(c.String("status-addr"), m)
	if err != nil {
		return err
	}
	defer web.close()
	out, err := m.open(c, e, d)
	if interrupted(c.Context, err) {
		return ended(c, nil, d, &transfer{})
	}
	if err != nil {
		return err
	}
	web.serve()
	done := screen.watch(m)
	err = m.run(c.Context)
	done()
	if interrupted(c.Context, err) {
		err = nil
	}
	for _, f := range m.feeds {
		err = errors.Join(err, f.src.close())
	}
	return ended(c, errors.Join(err, out.close()), d, m.total())
}

// open makes a feed of each namespace that is asked for. The target is opened
// last.
func (m *mirror) open(c *cli.Context, e ends, d *damages) (sink, error) {
	from := &side{log: m.log.With("end", "source", "place", shown(e.from)), url: isURL(e.from)}
	to := &side{log: m.log.With("end", "target", "place", shown(e.to)), url: isURL(e.to)}
	var all []wanted
	err := from.patiently(c.Context, func() error {
		src, err := openSource(e.from, e.fromRing, d)
		if err != nil {
			return lasting(err)
		}
		defer src.close() // the feeds have their own
		all, err = selection(c.Context, c, src)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out sink
	err = to.patiently(c.Context, func() (err error) {
		out, err = openSink(c.Context, e.to, namesOf(all), e.toRing, m.log)
		return lastingIn(e.to, err)
	})
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		f, err := m.feed(e, w, d, out)
		if err != nil {
			return nil, errors.Join(err, out.close())
		}
		m.feeds = append(m.feeds, f)
	}
	return out, nil
}

// lasting marks an error of a directory when it is opened for the first time:
// its name may be mistyped, and waiting mends nothing.
func lasting(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitCode(err), err}
}

// lastingIn is lasting for a directory; a server may be about to start.
func lastingIn(place string, err error) error {
	if isURL(place) {
		return err
	}
	return lasting(err)
}

// feed joins the two ends of one namespace.
func (m *mirror) feed(e ends, w wanted, d *damages, out sink) (*feed, error) {
	log := m.log.With("namespace", w.namespace)
	f := &feed{
		wanted: w, log: log, sink: out, stored: &transfer{}, lag: &lag{log: log}, begun: make(chan struct{}, 1),
		source: &side{log: log.With("end", "source", "place", shown(e.from)), url: isURL(e.from)},
		drain:  &side{log: log.With("end", "target", "place", shown(e.to)), url: isURL(e.to)},
	}
	hurt := &damages{talk: io.Discard, skip: true} // of the target: it is no damage of the copy
	f.hurt = hurt
	f.target = readBack(out, hurt)
	if to, ok := out.(*hostSink); ok {
		f.sink = &hostSink{url: to.url, client: to.client, end: &f.end}
	}
	if isURL(e.from) {
		src := newHostSource(e.from, d)
		src.connection, src.delivered = f.source.connection, true
		f.src = src
		return f, nil
	}
	src, err := openFollowed(e.from, w.namespace, e.fromRing, d)
	f.src = src
	return f, err
}

// total is what all namespaces have copied.
func (m *mirror) total() *transfer {
	sum := &transfer{}
	for _, f := range m.feeds {
		sum.stored += f.stored.stored
		sum.skipped += f.stored.skipped
		sum.lost += f.stored.lost
	}
	return sum
}

// behind is how many events are to be copied, and for how long the one that waits
// longest has waited. known is false until every namespace was asked.
func (m *mirror) behind(now time.Time) (events uint64, age time.Duration, known bool) {
	known = true
	for _, f := range m.feeds {
		n, a, k := f.lag.behind(now)
		events, age, known = events+n, max(age, a), known && k
	}
	return events, age, known
}

// lines logs what is written, a line at a time.
type lines struct{ log *slog.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Warn(oneLine(trimLine(p)))
	return len(p), nil
}

// progressText is the line on a terminal.
func (m *mirror) progressText() string {
	var stored uint64
	for _, f := range m.feeds {
		stored += f.lag.count()
	}
	events, age, known := m.behind(time.Now())
	switch {
	case !known:
		return "copied " + countOf(stored, false)
	case events == 0:
		return "copied " + countOf(stored, false) + ", in step"
	}
	return fmt.Sprintf("copied %s, %d behind, %s", countOf(stored, false), events, age.Round(time.Second/10))
}

// watchEvery is how often the line on a terminal is drawn.
const watchEvery = 200 * time.Millisecond

// watch draws the line of progress until the function that it returns is called.
func (s *screen) watch(m *mirror) (done func()) {
	if !s.terminal {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for pause(ctx, watchEvery) {
			s.draw(m.progressText())
		}
	}()
	return func() {
		cancel()
		<-ended
		s.draw("")
	}
}
