package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"example.com/bus"
)

// Waits between two tries of what a mirror cannot do now. What a server asks for
// with Retry-After is at least waited for, up to a minute: a mirror that sleeps
// longer falls behind for nothing.
const (
	firstWait = 250 * time.Millisecond
	longWait  = 15 * time.Second
	mostAsked = time.Minute
)

// side is one of the two ends of a mirror, as one namespace meets it. It says once
// when the end goes away, and once when it is back. It is for many goroutines.
type side struct {
	log *slog.Logger // knows which end and which namespace
	url bool         // a server, which may be started again; not a directory

	mu   sync.Mutex
	gone time.Time // since when; zero: it is there
}

// isAway notes that something failed that is worth another try.
func (e *side) isAway(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.gone.IsZero() {
		return
	}
	e.gone = time.Now()
	e.log.Warn("away; waiting for it to come back", "reason", oneLine(err.Error()))
}

// isBack notes that something worked.
func (e *side) isBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone.IsZero() {
		return
	}
	e.log.Info("back", "away", time.Since(e.gone).Round(time.Millisecond).String())
	e.gone = time.Time{}
}

// up tells whether the end did what it was last asked to.
func (e *side) up() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gone.IsZero()
}

// connection is told by a stream of the client.
func (e *side) connection(err error) {
	if err == nil {
		e.isBack()
		return
	}
	e.isAway(err)
}

// passes tells what another try may mend. A directory has nobody who would start
// it again: its disk may get room, and its files may be moved into place, but a
// log that has failed takes no more until this process ends.
func (e *side) passes(err error) bool {
	refusal, refused := bus.AsError(err)
	_, decided := errors.AsType[*exitError](err) // damage, and mistakes: for a person
	switch {
	case decided:
		return false
	case !e.url:
		return errors.Is(err, bus.ErrInsufficientSpace) || errors.Is(err, fs.ErrNotExist)
	case refused:
		return passingStatus(refusal.Status)
	}
	if answer, ok := errors.AsType[*answerError](err); ok {
		return passingStatus(answer.status)
	}
	return passingConnection(err)
}

func passingStatus(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// passingConnection tells a connection that failed from a certificate that is
// refused, or a URL that can mean nothing.
func passingConnection(err error) bool {
	if _, refused := errors.AsType[*tls.CertificateVerificationError](err); refused {
		return false
	}
	if _, noTLS := errors.AsType[tls.RecordHeaderError](err); noTLS || errors.Is(err, http.ErrSchemeMismatch) {
		return false
	}
	_, request := errors.AsType[*url.Error](err)
	_, network := errors.AsType[net.Error](err)
	return request || network || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded)
}

// patiently tries until it works, ctx ends, or an error is none that passes.
func (e *side) patiently(ctx context.Context, try func() error) error {
	for failures := 0; ; failures++ {
		err := try()
		switch {
		case err == nil:
			e.isBack()
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !e.passes(err):
			return err
		}
		e.isAway(err)
		if !pause(ctx, waitAfter(failures, err)) {
			return context.Cause(ctx)
		}
	}
}

// waitAfter is twice the last wait, and up to half as long again: mirrors that
// lost one server together do not come back together.
func waitAfter(failures int, err error) time.Duration {
	d := min(firstWait<<min(failures, 10), longWait)
	if refusal, ok := bus.AsError(err); ok {
		d = max(d, min(time.Duration(min(refusal.RetryAfter, 1<<20))*time.Second, mostAsked))
	}
	return d + rand.N(d/2+1)
}

// pause tells whether it lasted to its end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
