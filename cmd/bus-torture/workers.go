package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	workerCount    = 3
	workAttempts   = 6 // deliveries of an event before it is a dead letter
	workRedelivery = "700ms"
)

var workQuery = url.Values{"subject": {"a.x"}, "consumer": {"work"}}

// worker is one connection of the named consumer, again and again. It
// acknowledges, refuses, gives up and forgets what it gets, and cuts its
// connection, as its numbers say; once it is good it acknowledges all.
type worker struct {
	url    string
	http   *http.Client
	ledger *ledger
	rand   *rand.Rand
	good   *atomic.Bool
	due    []string // to be acknowledged in one request
}

// errCut ends a stream from our side.
var errCut = errors.New("the worker has cut its connection")

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.connect(ctx); errors.Is(err, errFault) {
			w.ledger.fault("a worker: %v", err)
			return
		}
		w.http.CloseIdleConnections()
		w.due = nil // forgotten: they come again
		pause(ctx, 2*time.Millisecond)
	}
}

// connect takes events until the server is killed or the worker has enough.
func (w *worker) connect(ctx context.Context) error {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	opened, left := time.Now(), 20+w.rand.IntN(600)
	return follow(ctx, w.http, w.url, workQuery, func(e event) error {
		if e.Problem != nil {
			return errCut // it stops in good order
		}
		if e.Gap != nil {
			return fmt.Errorf("%w: a gap in a log that is whole: %s", errFault, e.Gap)
		}
		if early := time.Until(e.DeliverAt); early > 0 {
			return fmt.Errorf("%w: %s came %s before it was due", errFault, e.Id, early)
		}
		w.ledger.deliver(e.Id, opened)
		if left--; left == 0 && !w.good.Load() {
			return errCut
		}
		return w.judge(ctx, e.Id)
	})
}

// judge says what becomes of an event.
func (w *worker) judge(ctx context.Context, id string) error {
	n := w.rand.IntN(100)
	if w.good.Load() {
		n = 0
	}
	switch {
	case n < 80:
		w.due = append(w.due, id)
		if !w.good.Load() && w.rand.IntN(8) > 0 {
			return nil
		}
		due := w.due
		w.due = nil
		return w.ack(ctx, due)
	case n < 90:
		_, _, err := w.put(ctx, []string{id}, "nak", "delay", fmt.Sprintf("%dms", 1+w.rand.IntN(300)))
		return err
	case n < 92:
		return w.term(ctx, id)
	}
	return nil
}

// ack acknowledges several at once. All or none are taken: when one was given up
// meanwhile, each is tried alone.
func (w *worker) ack(ctx context.Context, ids []string) error {
	w.ledger.say(ids)
	taken, _, err := w.put(ctx, ids, "ack")
	switch {
	case err != nil:
		return err
	case taken:
		w.ledger.answer(ids)
	case len(ids) > 1:
		for _, id := range ids {
			if err := w.ack(ctx, []string{id}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *worker) term(ctx context.Context, id string) error {
	taken, already, err := w.put(ctx, []string{id}, "term")
	switch {
	case already: // an acknowledgement whose answer was lost
		w.ledger.answer([]string{id})
	case taken:
		w.ledger.giveUp(id)
	}
	return err
}

// put gives a verdict, and reports whether it was taken, and whether that was
// said before: 404 says that an event was given up, everything else but 202 is a
// fault.
func (w *worker) put(ctx context.Context, ids []string, verdict string, more ...string) (taken, already bool, err error) {
	query := url.Values{"consumer": {"work"}, "event_id": ids, "verdict": {verdict}}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	text, status, err := send(ctx, w.http, http.MethodPut, w.url+"/?"+query.Encode(), "")
	switch {
	case err != nil:
		return false, false, err
	case status == http.StatusAccepted:
		return true, bytes.Contains(text, []byte(`"already"`)), nil
	case status == http.StatusNotFound || status == http.StatusServiceUnavailable:
		return false, false, nil
	}
	return false, false, fmt.Errorf("%w: %s of %d events got %d: %s", errFault, verdict, len(ids), status, text)
}

// send makes a request and reads its answer.
func send(ctx context.Context, c *http.Client, method, url, body string) (text []byte, status int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return bytes.TrimSpace(text), resp.StatusCode, err
}

// delayed is how many of the events are put off, for up to four seconds.
func delayed(n int) int { return n / 10 }

// provide publishes n events in batches, each again until it is answered: their
// keys make one of it.
func provide(ctx context.Context, c *http.Client, base string, n int) error {
	const most = 100
	for from := 0; from < n; from += most {
		var events []map[string]any
		for i := from; i < min(from+most, n); i++ {
			e := map[string]any{"subject": "a.x", "payload": i, "key": fmt.Sprint("k", i)}
			if i%10 == 0 {
				e["delay"] = fmt.Sprintf("%dms", 1+i*7919%4000)
			}
			events = append(events, e)
		}
		body, err := json.Marshal(events)
		if err != nil {
			return err
		}
		for {
			text, status, err := send(ctx, c, http.MethodPost, base+"/", string(body))
			if status == http.StatusAccepted && err == nil {
				break
			}
			if status != 0 && status != http.StatusAccepted && status != http.StatusServiceUnavailable {
				return fmt.Errorf("%w: a publish got %d: %s", errFault, status, text)
			}
			if pause(ctx, 5*time.Millisecond); ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}
