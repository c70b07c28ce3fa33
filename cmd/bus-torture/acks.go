package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// workEvents is how many events one life of the check acks has.
const workEvents = 10_000

// shift is one life of a named consumer: its workers, its server and what is
// known of both.
type shift struct {
	*life
	ledger *ledger
	good   atomic.Bool
	kills  int
	stops  int // of those, in good order
	sum    accounts
}

// acks runs C3: three connections of a named consumer take 10,000 events, while
// they and the server are cut off at random.
func (h *harness) acks(ctx context.Context, check, binary string, kills int) error {
	begun := time.Now()
	s, err := h.shift(ctx, check, binary, max(h.life, 0), kills)
	if err != nil {
		return err
	}
	repeats := s.sum.deliveries - s.sum.events
	h.say(check, "%d events, %d kills, %d stops, %d deliveries (%d of them again): %d acknowledged, %d dead letters (%d kept again after a kill); 0 never delivered, 0 delivered or given up behind an answered acknowledgement, 0 settled by nobody; %s",
		s.sum.events, s.kills-s.stops, s.stops, s.sum.deliveries, repeats, s.sum.acked, s.sum.dead, s.sum.twiceDead, time.Since(begun).Round(100*time.Millisecond))
	return nil
}

// lateAcks runs it with a bus that answers acknowledgements before it writes
// them down, and fails when that is not noticed.
func (h *harness) lateAcks(ctx context.Context, check, binary string, kills int) error {
	begun := time.Now()
	quiet := *h
	quiet.expected = true
	_, err := quiet.shift(ctx, check, binary, max(h.life, 0), kills)
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s: nothing noticed in %d kills", errFault, check, kills)
	case !errors.Is(err, errFault) || ctx.Err() != nil:
		return err
	}
	h.say(check, "noticed: %s; %s", firstLine(err, "came on a connection"), time.Since(begun).Round(100*time.Millisecond))
	return nil
}

// firstLine is the first line of an error that says something, or all of it.
func firstLine(err error, something string) string {
	for line := range strings.Lines(err.Error()) {
		if strings.Contains(line, something) {
			return strings.TrimSpace(line)
		}
	}
	return err.Error()
}

func (h *harness) shift(ctx context.Context, check, binary string, number, kills int) (*shift, error) {
	l, err := h.newLife(check, binary, h.seed, number)
	if err != nil {
		return nil, err
	}
	l.server.flags = l.drawFlags(int(h.seed%8), []string{"always", "interval=100ms", "always", "os"})
	s := &shift{life: l, ledger: newLedger()}
	err = s.work(ctx, kills)
	return s, l.end(err)
}

// work leads the life: load and kills, then good workers until all is settled,
// and the judgement.
func (s *shift) work(ctx context.Context, kills int) error {
	if err := s.server.start(ctx); err != nil {
		return err
	}
	if err := s.hire(ctx); err != nil {
		return err
	}
	working, home := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer home()
	for range workerCount {
		w := &worker{url: s.server.url(), http: newHTTP(), ledger: s.ledger, good: &s.good, rand: rand.New(rand.NewPCG(s.rand.Uint64(), s.rand.Uint64()))}
		running.Go(func() { w.run(working) })
	}
	published := make(chan error, 1)
	go func() { published <- provide(ctx, s.http, s.server.url(), workEvents) }()
	if err := s.kill(ctx, kills); err != nil {
		return err
	}
	if err := <-published; err != nil {
		return err
	}
	s.good.Store(true)
	if err := s.settled(ctx); err != nil {
		return err
	}
	home()
	running.Wait()
	return s.close(ctx)
}

// hire makes the consumer.
func (s *shift) hire(ctx context.Context) error {
	settings := fmt.Sprintf(`{"subjects":["a.x"],"start":"oldest","redelivery":%q,"redelivery_count":%d,"inflight":48}`, workRedelivery, workAttempts)
	text, status, err := send(ctx, s.http, http.MethodPut, s.server.url()+"/v1/namespaces/a/consumers/work", settings)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("%w: making a consumer got %d: %s", errFault, status, text)
	}
	return err
}

// kill ends the server again and again, one time in five with a signal to stop.
func (s *shift) kill(ctx context.Context, times int) error {
	for range times {
		pause(ctx, 50*time.Millisecond+time.Duration(s.rand.IntN(1200))*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s.kills++; s.rand.IntN(5) == 0 {
			s.stops++
			if code, err := s.server.stop(syscall.SIGTERM); err != nil || code != 0 {
				return errors.Join(err, fmt.Errorf("%w: a stop ended with code %d, want 0", errFault, code))
			}
		} else if err := s.server.kill(); err != nil {
			return err
		}
		if err := s.server.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until the consumer has nothing left.
func (s *shift) settled(ctx context.Context) error {
	var info struct {
		Behind, Unacked uint64
		AckFloor        uint64 `json:"ack_floor"`
	}
	for deadline := time.Now().Add(patience); ; pause(ctx, 20*time.Millisecond) {
		text, status, err := send(ctx, s.http, http.MethodGet, s.server.url()+"/v1/namespaces/a/consumers/work", "")
		if err != nil || status != http.StatusOK {
			return errors.Join(err, fmt.Errorf("%w: looking at the consumer got %d: %s", errFault, status, text))
		}
		if err := json.Unmarshal(text, &info); err != nil {
			return err
		}
		switch {
		case info.Behind == 0 && info.Unacked == 0 && info.AckFloor >= uint64(workEvents+delayed(workEvents)): // those that were put off stand twice
			return nil
		case time.Now().After(deadline) || ctx.Err() != nil:
			return fmt.Errorf("%w: with nobody but good workers this is not settled within %s: %s", errFault, patience, text)
		}
	}
}

// close reads the logs, here and after one more start, and has them judged.
func (s *shift) close(ctx context.Context) error {
	events, err := readStream(ctx, s.http, s.server.url(), "a.x")
	if err != nil {
		return err
	}
	if len(events) != workEvents {
		return fmt.Errorf("%w: there are %d events, want %d", errFault, len(events), workEvents)
	}
	dead, err := readStream(ctx, s.http, s.server.url(), "_dead_.a.work")
	if err != nil {
		return err
	}
	if s.sum, err = s.ledger.judge(events, dead, s.kills); err != nil {
		return err
	}
	if said := s.server.complaints(true); len(said) > 0 {
		return fmt.Errorf("%w: the server said %q", errFault, said)
	}
	return nil
}
