package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/anishathalye/porcupine"
)

// historyTime is how long the checker may think about one history.
const historyTime = 60 * time.Second

// legality counts what porcupine says of histories.
type legality struct {
	histories, operations, breaks int
	lost                          int // appends whose answer was
	illegal, unknown              int
	slowest                       time.Duration
}

func (s *legality) String() string {
	return fmt.Sprintf("%d histories, %d operations, %d appends without an answer: illegal %d, unknown %d; slowest check %s",
		s.histories, s.operations, s.lost, s.illegal, s.unknown, s.slowest.Round(time.Millisecond))
}

// breaker is how a life is broken in the middle.
type breaker struct {
	on    []fileSystem // whose power is cut; none: the server is killed
	flags []string     // beside what a life draws
	blind bool         // only readers are asked: of no append the answer is used
}

// histories runs C1: what clients ask and are answered while the server is
// killed, or the power cut, has to be explained by one order of all operations.
func (h *harness) histories(ctx context.Context, check, binary string, n int, how breaker) (*legality, error) {
	sum := &legality{}
	for number := 0; sum.histories < n && ctx.Err() == nil; number++ {
		if h.life >= 0 {
			number, n = h.life, 0 // the only one
		}
		if err := h.oneHistory(ctx, check, binary, number, how, sum); err != nil {
			return sum, fmt.Errorf("history %d: %w", number, err)
		}
		if h.expected && sum.illegal > 0 {
			return sum, nil
		}
	}
	return sum, ctx.Err()
}

// allLegal is histories of a bus that keeps its word.
func (h *harness) allLegal(ctx context.Context, check, binary string, n int, how breaker) error {
	begun := time.Now()
	sum, err := h.histories(ctx, check, binary, n, how)
	if err != nil {
		return err
	}
	what := "kills"
	if how.on != nil {
		what = "power cuts"
	}
	h.say(check, "%d %s in %s; %s", sum.breaks, what, sum, time.Since(begun).Round(time.Second))
	return nil
}

// earlyHistories is the same of one that shows events before they are durable,
// where what readers saw has to make a history illegal by itself.
func (h *harness) earlyHistories(ctx context.Context, check, binary string, n int) error {
	quiet := *h
	quiet.expected = true
	for _, fs := range []fileSystem{fileSystems[1], fileSystems[3]} {
		begun := time.Now()
		on := breaker{on: []fileSystem{fs}, blind: true}
		// The other way round first: so little of a bus that keeps its word is legal.
		if _, err := h.histories(ctx, check, binary, 1, on); err != nil {
			return err
		}
		on.flags = []string{"--sync", "os"}
		sum, err := quiet.histories(ctx, check, binary, n, on)
		if err != nil {
			return err
		}
		if sum.illegal == 0 {
			return fmt.Errorf("%w: %s: nothing noticed on %s in %s", errFault, check, fs.name, sum)
		}
		h.say(check, "%s: noticed by what readers saw alone in %s; %s", fs.name, sum, time.Since(begun).Round(100*time.Millisecond))
	}
	return nil
}

// oneHistory lives a life and has it checked.
func (h *harness) oneHistory(ctx context.Context, check, binary string, number int, how breaker, sum *legality) error {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return err
	}
	l.server.flags = append(l.drawFlags(number, []string{"always"}), how.flags...)
	p := &powered{life: l}
	if how.on != nil {
		if p.volume, err = newVolume(ctx, l.dir, how.on[number%len(how.on)]); err != nil {
			return l.end(err)
		}
		l.release = p.volume.discard
		l.server.dir = filepath.Join(p.volume.mount, "data")
	}
	made := newHistory(l.server.url())
	logs, breaks, err := p.live1(ctx, made)
	made.http.CloseIdleConnections()
	if err == nil {
		sum.breaks += breaks
		err = l.legal(made, logs, how.blind, sum)
	}
	return l.end(err)
}

// live1 has the server broken two to four times while the clients work, and
// reads everything in the end.
func (p *powered) live1(ctx context.Context, made *history) (map[string][]event, int, error) {
	if err := p.server.start(ctx); err != nil {
		return nil, 0, err
	}
	working, stop := context.WithCancel(ctx)
	clients := made.run(working, historyLength, p.rand)
	defer clients.Wait()
	defer stop()
	breaks := 2 + p.rand.IntN(3)
	for n := range breaks {
		// Somewhere in its part of the history.
		at := historyLength*n/(breaks+1) + p.rand.IntN(historyLength/(breaks+1))
		for deadline := time.Now().Add(patience); made.len() < at && ctx.Err() == nil; pause(ctx, time.Millisecond) {
			if time.Now().After(deadline) {
				return nil, n, fmt.Errorf("%w: %d operations within %s, want %d", errFault, made.len(), patience, at)
			}
		}
		if err := errors.Join(p.breakDown(ctx, made), p.server.start(ctx)); err != nil {
			return nil, n, err
		}
	}
	clients.Wait()
	logs := make(map[string][]event)
	for _, namespace := range namespaces {
		all, err := readAll(ctx, p.http, p.server.url(), namespace)
		if err != nil {
			return nil, breaks, err
		}
		logs[namespace] = all
	}
	return logs, breaks, nil
}

// breakDown kills the server, or takes the power away below it.
func (p *powered) breakDown(ctx context.Context, made *history) error {
	if p.volume == nil {
		return p.server.kill()
	}
	made.goDark(true)
	err := p.cut(ctx, func() {})
	made.goDark(false)
	return err
}

// legal has porcupine look for an order that explains the history.
func (l *life) legal(made *history, logs map[string][]event, blind bool, sum *legality) error {
	sum.histories++
	sum.operations += len(made.all)
	for i, op := range made.all {
		if op.Input.(opInput).kind == opAppend && blind {
			made.all[i].Output = nil
		}
		if made.all[i].Output == nil {
			sum.lost++
		}
	}
	begun := time.Now()
	result, info := porcupine.CheckOperationsVerbose(logModel, settled(made.all, logs), historyTime)
	sum.slowest = max(sum.slowest, time.Since(begun))
	var err error
	switch {
	case result == porcupine.Illegal:
		sum.illegal++
		err = fmt.Errorf("%w: no order of its operations explains what was answered", errFault)
	case result == porcupine.Unknown:
		sum.unknown++
		err = fmt.Errorf("%w: not decided within %s", errFault, historyTime)
	case len(made.said) > 0:
		err = fmt.Errorf("%w: %d answers that nothing explains, first: %s", errFault, len(made.said), made.said[0])
	}
	if err == nil || l.h.expected {
		return nil
	}
	path := filepath.Join(l.dir, "history.html")
	err = errors.Join(err, porcupine.VisualizePath(logModel, info, path))
	l.h.keep(l.check, path)
	return err
}
