package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"time"

	"example.com/bus"
)

// defaultHeartbeat is what a server's heartbeat is taken for until its hello says.
const defaultHeartbeat = 15 * time.Second

var (
	errSilent = errors.New("nothing was heard for more than two heartbeats")
	errEnded  = errors.New("the server ended the stream")
)

// connection is one stream from its hello to its end.
type connection struct {
	*subscription
	consumer  string
	frames    *sseReader
	body      *watchedBody
	delivered int // events that the loop wanted
	opening   int // how many `retry:` there were when its hello came
	greeted   bool
}

// connect opens a stream and hands its events to the loop until it ends. The error says why;
// it is errDone when the loop has what it wanted.
func (s *subscription) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := newWatch(cancel)
	resp, err := s.open(ctx)
	watch.timer.Stop()
	if err != nil {
		return because(ctx, err)
	}
	watch.body = resp.Body
	defer watch.Close()
	k := &connection{
		subscription: s, body: watch,
		frames:   newSSEReader(watch, s.client.maxEvent),
		consumer: resp.Header.Get("X-BUS-CONSUMER-ID"),
	}
	began := time.Now()
	err = k.read(ctx)
	if k.frames.told > 0 {
		s.backoff.retry = k.frames.retry
	}
	if k.delivered > 0 || time.Since(began) > maxDelay {
		s.backoff.reset() // it was a good one, not one more failure
	}
	return because(ctx, err)
}

// because replaces an error that only says that the connection was cancelled.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, errDone) {
		return context.Cause(ctx)
	}
	return err
}

func (k *connection) read(ctx context.Context) error {
	for {
		f, err := k.frames.next()
		if id := k.frames.lastID; id != "" {
			k.lastID = id
		}
		if err != nil {
			return k.end(err)
		}
		if ctx.Err() != nil { // cancelled while the loop was busy, with frames read ahead
			return ctx.Err()
		}
		if err := k.handle(f); err != nil {
			return err
		}
	}
}

// handle acts on one frame. Kinds that a later server adds are passed over.
func (k *connection) handle(f frame) error {
	switch f.event {
	case "msg":
		return k.message(f)
	case "hello":
		return k.greet(f.data)
	case "gap":
		gap := &GapError{}
		err := unmarshalFrame(f.event, f.data, gap)
		return k.report(cmp.Or[error](err, gap))
	case "problem":
		problem := &Error{}
		err := unmarshalFrame(f.event, f.data, problem)
		fillIn(problem, "problem", "the server has a problem with the stream")
		return k.report(cmp.Or[error](err, problem))
	}
	return nil
}

func (k *connection) message(f frame) error {
	k.body.waited = 0
	e, err := k.client.readEvent(f.data, k.consumer)
	if err != nil {
		return k.report(err)
	}
	ns := bus.Namespace(e.Subject)
	fresh := e.Index == 0 || e.Index > k.seen[ns] // an inbox counts nothing
	k.seen[ns] = max(k.seen[ns], e.Index)
	if !k.wanted(e) {
		return nil
	}
	k.delivered++
	return k.deliver(e, fresh)
}

func (k *connection) greet(data []byte) error {
	var hello helloFrame
	if err := unmarshalFrame("hello", data, &hello); err != nil {
		return k.report(err)
	}
	if hello.ConsumerID != "" {
		k.consumer = hello.ConsumerID
	}
	if d, err := time.ParseDuration(hello.Heartbeat); err == nil {
		k.body.setHeartbeat(d)
	}
	if k.first == nil {
		k.first = &hello
	}
	k.greeted, k.opening = true, k.frames.told
	return nil
}

// end decides whether a stream that has ended has reached its bound, or whether the server
// only let the connection go. It must not take the second for the first: the loop would end
// early and look complete. A server that lets go says `retry:` once more before it ends.
func (k *connection) end(err error) error {
	switch {
	case k.full():
		return errDone
	case k.manual() && k.req.limit > 0 && err == io.EOF && k.greeted && k.frames.told <= k.opening:
		return errDone // the server has seen all of them settled
	case err == errTooLong:
		return bus.ErrTooLarge.With("an event of the stream has more than %d bytes; allow more with WithMaxEvent", k.client.maxEvent)
	case err != io.EOF:
		return fmt.Errorf("the stream broke off: %w", err)
	case !k.greeted || k.frames.told > k.opening:
		return errEnded
	case k.req.until && (k.delivered == 0 || k.complete()):
		return errDone
	case k.req.until:
		// All that matched may have come, and it may not. The next answer tells: it is at
		// its end when it brings nothing. Each such round brings at least one event.
		return errAgain
	case k.req.wait > 0 && k.body.waited >= k.req.wait*3/4:
		return errDone
	}
	return errEnded
}

// watchedBody is the body of a stream. It cancels the connection when the server has sent
// nothing for too long: a peer that vanished without a word would be waited for for ever.
type watchedBody struct {
	body   io.ReadCloser
	timer  *time.Timer
	limit  time.Duration
	waited time.Duration // spent waiting for bytes since it was last set to 0
}

// newWatch begins with the time until the answer's headers, which come at once.
func newWatch(cancel context.CancelCauseFunc) *watchedBody {
	w := &watchedBody{}
	w.setHeartbeat(defaultHeartbeat)
	w.timer = time.AfterFunc(w.limit, func() { cancel(errSilent) })
	return w
}

func (w *watchedBody) setHeartbeat(d time.Duration) {
	if d > 0 {
		w.limit = d * 5 / 2
	}
}

// Read runs the clock only while it waits, so that a loop that takes long over an event is
// not mistaken for a silent server.
func (w *watchedBody) Read(p []byte) (int, error) {
	began := time.Now()
	w.timer.Reset(w.limit)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.waited += time.Since(began)
	return n, err
}

func (w *watchedBody) Close() error {
	w.timer.Stop()
	return w.body.Close()
}

func isEventStream(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "text/event-stream"
}
