package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bus"
)

func TestWhatMayPassIsWaitedForAndWhatAPersonMustMendIsNot(t *testing.T) {
	refused := &url.Error{Op: "Post", URL: "http://x", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		err       error
		url, want bool
	}{
		"nothing listens":           {hostError(refused, "http://x"), true, true},
		"cut off":                   {fmt.Errorf("the answer broke off: %w", io.ErrUnexpectedEOF), true, true},
		"no such host":              {&url.Error{Err: &net.DNSError{}}, true, true},
		"no answer in time":         {context.DeadlineExceeded, true, true},
		"stopping":                  {hostError(bus.ErrUnavailable, "http://x"), true, true},
		"a full disk":               {hostError(bus.ErrInsufficientSpace, "http://x"), true, true},
		"a failed log":              {hostError(bus.ErrStorage, "http://x"), true, true},
		"too many streams":          {hostError(bus.ErrTooManyStreams, "http://x"), true, true},
		"a proxy without a server":  {&answerError{502, "bad gateway"}, true, true},
		"an unknown namespace":      {hostError(bus.ErrUnknownNamespace, "http://x"), true, false},
		"a batch that is refused":   {hostError(bus.ErrTooLarge, "http://x"), true, false},
		"an id of another event":    {hostError(bus.ErrKeyConflict, "http://x"), true, false},
		"not allowed":               {&answerError{403, "no"}, true, false},
		"a bad certificate":         {&url.Error{Err: &tls.CertificateVerificationError{Err: io.EOF}}, true, false},
		"damage":                    {damageError(bus.ErrCorrupt), true, false},
		"a server of another make":  {errors.New("is it a bus server?"), true, false},
		"a full disk here":          {bus.ErrInsufficientSpace, false, true},
		"a directory that was here": {fs.ErrNotExist, false, true},
		"a failed log here":         {bus.ErrStorage, false, false},
		"a wrong key here":          {lasting(bus.ErrUnavailable), false, false},
	} {
		if got := (&side{url: c.url}).passes(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestWaitsGrowToABoundAndAreAtLeastWhatIsAskedFor(t *testing.T) {
	asked := &bus.Error{Status: 503, RetryAfter: 20}
	for _, c := range []struct {
		failures int
		err      error
		want     time.Duration
	}{{0, nil, firstWait}, {2, nil, 4 * firstWait}, {1000, nil, longWait}, {0, asked, 20 * time.Second}, {0, &bus.Error{RetryAfter: 1 << 40}, mostAsked}} {
		if got := waitAfter(c.failures, c.err); got < c.want || got > c.want*3/2 {
			t.Errorf("after %d failures and %v: got %s, want %s and up to half as much more", c.failures, c.err, got, c.want)
		}
	}
}

// stubborn is a target that fails so often.
type stubborn struct {
	followed // only event is asked
	fail     []error
	has      error // what it says when it is asked for an event
	writes   int
}

func (s *stubborn) write(_ context.Context, _ string, events []bus.Event) (written, error) {
	s.writes++
	if len(s.fail) > 0 {
		err := s.fail[0]
		s.fail = s.fail[1:]
		return written{}, err
	}
	return written{stored: len(events)}, nil
}

func (s *stubborn) event(context.Context, string, string) (*bus.Event, error) {
	return &bus.Event{}, s.has
}
func (s *stubborn) close() error { return nil }

// newTestFeed is one that has copied an event already.
func newTestFeed(target *stubborn, said io.Writer) *feed {
	log := loggerFor(said, false, logLevel(slog.LevelInfo), "json")
	return &feed{
		wanted: wanted{namespace: "app"}, log: log, sink: target, target: target, lag: &lag{log: log}, stored: &transfer{},
		source: &side{log: log, url: true}, drain: &side{log: log, url: true}, last: &bus.Event{Id: "before", Index: 1},
	}
}

func TestATargetThatIsAwayIsWaitedForAndToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := &talk{}
		target := &stubborn{fail: []error{bus.ErrInsufficientSpace, bus.ErrUnavailable, io.ErrUnexpectedEOF}}
		f := newTestFeed(target, said)
		began := time.Now()
		did, err := f.write(t.Context(), "app", []bus.Event{{Id: "a", Index: 2}})
		if err != nil || did.stored != 1 || target.writes != 4 {
			t.Errorf("got %+v, %v after %d writes, want 1 stored with the 4th", did, err, target.writes)
		}
		if took, want := time.Since(began), 7*firstWait; took < want {
			t.Errorf("got the 4th write after %s, want %s at least", took, want)
		}
		for text, want := range map[string]int{`"msg":"away`: 1, `"msg":"back"`: 1, "no more space": 0} {
			if got := strings.Count(said.String(), text); got != want {
				t.Errorf("%s: got it %d times, want %d:\n%s", text, got, want, said)
			}
		}
	})
}

func TestATargetThatLostWhatItHadIsNotSentMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &stubborn{fail: []error{bus.ErrUnavailable}, has: bus.ErrUnknownEvent}
		_, err := newTestFeed(target, io.Discard).write(t.Context(), "app", []bus.Event{{Id: "a", Index: 2}})
		if _, moved := errors.AsType[*movedError](err); !moved || target.writes != 1 {
			t.Errorf("got %v after %d writes, want to look anew after 1", err, target.writes)
		}
	})
}

func TestAnInterruptEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target := &stubborn{fail: []error{bus.ErrUnavailable}}
		time.AfterFunc(firstWait/2, cancel)
		if _, err := newTestFeed(target, io.Discard).write(ctx, "app", []bus.Event{{Id: "a", Index: 2}}); !interrupted(ctx, err) {
			t.Errorf("got %v, want the interrupt", err)
		}
	})
}
