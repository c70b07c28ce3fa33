package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

const (
	stopStreams = 100
	stopRounds  = 4
)

// stop runs C8: SIGTERM under load. What was answered is durable, streams end
// in good order, and the process ends with 0 in time.
func (h *harness) stop(ctx context.Context, check, binary string) error {
	begun := time.Now()
	var sum verdict
	var slowest time.Duration
	answers := 0
	for number := range stopRounds {
		if h.life >= 0 && number != h.life {
			continue
		}
		l, err := h.newLife(check, binary, h.seed, number)
		if err != nil {
			return err
		}
		l.server.flags = l.drawFlags(number, []string{"always"})
		m := &herd{life: l}
		took, err := m.stopUnderLoad(ctx)
		m.leave(false)
		if err = l.end(err); err != nil {
			return fmt.Errorf("life %d: %w", number, err)
		}
		slowest, answers = max(slowest, took), answers+l.journal.answersSoFar()
		sum.add(&l.sum)
	}
	h.say(check, "%d times SIGTERM under load with %d streams: exit code 0 within %s, streams ended cleanly, %d events answered: %s; %s",
		stopRounds, stopStreams, slowest.Round(10*time.Millisecond), answers, &sum, time.Since(begun).Round(100*time.Millisecond))
	if sum.faults() > 0 {
		return fmt.Errorf("%w:\n%s", errFault, sum.told())
	}
	return nil
}

// ofTheLoad are a stream's that is idle, or one of few that gets everything.
func ofTheLoad(i int) []string {
	if i%10 == 0 {
		return []string{"a.>", "b.>"}
	}
	return ofGroup(i)
}

// stopUnderLoad returns how long the server took to end.
func (m *herd) stopUnderLoad(ctx context.Context) (time.Duration, error) {
	if err := errors.Join(m.server.start(ctx), m.gather(ctx, stopStreams, ofTheLoad)); err != nil {
		return 0, err
	}
	p := &powered{life: m.life}
	end := p.load(ctx)
	if err := until(ctx, "300 answers", func() bool { return m.journal.answersSoFar() >= 300 }); err != nil {
		end()
		return 0, err
	}
	pause(ctx, time.Duration(m.rand.Int64N(int64(200*time.Millisecond))))
	begun := time.Now()
	code, err := m.server.stop(syscall.SIGTERM)
	took := time.Since(begun)
	end()
	m.running.Wait()
	switch {
	case err != nil:
		return took, err
	case code != 0 || took > stopsWithin:
		return took, fmt.Errorf("%w: got exit code %d %s after SIGTERM, want 0 within %s", errFault, code, took, stopsWithin)
	}
	for i, err := range m.ended {
		if err != io.EOF {
			return took, fmt.Errorf("%w: stream %d of a server that stopped ended with %w, want a clean end", errFault, i, err)
		}
	}
	if err := m.server.start(ctx); err != nil {
		return took, err
	}
	_, err = m.look(ctx, m.journal.now(), false)
	return took, errors.Join(err, m.server.verify(ctx))
}
