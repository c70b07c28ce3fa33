package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bus"
)

// defaultHeartbeat is what a server's heartbeat is taken for until its hello says.
const defaultHeartbeat = 15 * time.Second

// leaveTime is how long the end of a loop waits for the answers to its acknowledgements. A
// server that has none by then is not worth holding up a program that stops.
const leaveTime = 2 * time.Second

var (
	errSilent = errors.New("nothing was heard for more than two heartbeats")
	errEnded  = errors.New("the stream ended before it was complete")
	errAgain  = errors.New("there may be more at once")
)

// connection is one stream from its hello to its end.
type connection struct {
	*subscription
	consumer  atomic.Value // a string; a loop that is cancelled reads it from elsewhere
	frames    *sseReader
	body      *watchedBody
	delivered int        // events that the loop wanted
	busy      sync.Mutex // held while the loop is at work, and not waiting for the stream
}

// connect opens a stream and hands its events to the loop until it ends. The error says why;
// it is errDone when the loop has what it wanted.
//
// The stream does not end with ctx: the consumer is gone with its stream, and what was
// gathered for it would be refused.
func (s *subscription) connect(ctx context.Context) (err error) {
	stream, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	k := &connection{subscription: s}
	defer k.endWith(ctx, cancel)()
	watch := newWatch(cancel)
	resp, err := s.open(stream)
	watch.timer.Stop()
	if err != nil {
		return because(stream, err)
	}
	watch.body = resp.Body
	defer watch.Close()
	k.body, k.frames = watch, newSSEReader(watch, s.client.maxEvent)
	k.consumer.Store(resp.Header.Get("X-BUS-CONSUMER-ID"))
	k.frames.retry = s.backoff.retry // until the server says another
	began := time.Now()
	defer func() { k.leave(ctx, stream, err) }()
	err = k.read(ctx)
	s.backoff.retry = k.frames.retry
	if k.delivered > 0 || time.Since(began) > maxDelay {
		s.backoff.reset() // it was a good one, not one more failure
	}
	return because(stream, err)
}

// endWith cancels the stream at the end of ctx, once its events are acknowledged, if the loop
// waits for it. A loop that is at work sees the end of ctx by itself, and acknowledges the
// event at hand before. The function returned undoes that, or waits until it has happened.
func (k *connection) endWith(ctx context.Context, cancel context.CancelCauseFunc) (undo func()) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		if !k.busy.TryLock() {
			return
		}
		defer k.busy.Unlock()
		k.settle()
		cancel(context.Cause(ctx))
	})
	return func() {
		if !stop() {
			<-ended
		}
	}
}

// leave sends what was gathered. A connection that broke has taken its consumer with it: who
// waits for an answer is to have it, but the next connection does not wait for that.
func (k *connection) leave(ctx, stream context.Context, err error) {
	left := err == nil || err == errDone || ctx.Err() != nil // nil: a panic comes out of the loop
	if left && stream.Err() == nil {
		k.settle()
	} else if to := k.to(); !to.none() {
		k.client.acks.departAll(to)
	}
}

// settle waits for the answers to what was gathered, for as long as the end of a loop may last.
func (k *connection) settle() {
	to := k.to()
	if to.none() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	_ = k.client.acks.flush(ctx, to) // who asked is told; the loop has nobody to tell
}

// to is whom acknowledgements of this stream are for.
func (k *connection) to() ackTo {
	if k.req.consumer != "" {
		return ackTo{name: k.req.consumer, namespace: k.req.namespace()}
	}
	return ackTo{id: k.id()}
}

func (k *connection) id() string {
	id, _ := k.consumer.Load().(string)
	return id
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
		if err := k.handle(ctx, f); err != nil {
			return err
		}
	}
}

// handle acts on one frame, unless the loop is cancelled, with frames read ahead. Kinds that a
// later server adds are passed over.
func (k *connection) handle(ctx context.Context, f frame) error {
	k.busy.Lock()
	defer k.busy.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := k.act(f); err != nil {
		return err
	}
	return ctx.Err() // who ends the stream has left it to us
}

func (k *connection) act(f frame) error {
	switch f.event {
	case "msg":
		return k.message(f)
	case "hello":
		return k.greet(f.data)
	case "end":
		return k.reached(f.data)
	case "gap":
		gap := &GapError{}
		err := unmarshalFrame(f.event, f.data, gap)
		return k.report(cmp.Or[error](err, gap))
	case "problem":
		return k.trouble(f.data)
	}
	return nil
}

// trouble hands a problem over, unless the server says when to come back: then it
// passes, like a refusal with Retry-After, and is no affair of the loop.
func (k *connection) trouble(data []byte) error {
	problem := &Error{}
	err := unmarshalFrame("problem", data, problem)
	fillIn(problem, "problem", "the server has a problem with the stream")
	if err == nil && problem.RetryAfter > 0 && passing(problem) {
		return problem
	}
	if k.req.consumer != "" && errors.Is(problem, bus.ErrUnknownConsumer) {
		return problem // it was deleted: the next request would make another one of that name
	}
	return k.report(cmp.Or[error](err, problem))
}

func (k *connection) message(f frame) error {
	e, err := k.client.readEvent(f.data, k.id())
	if err != nil {
		return k.report(err)
	}
	e.from, e.Consumer = k.origin(), k.req.consumer
	ns := bus.Namespace(e.Subject)
	fresh := e.Index == 0 || e.Index > k.seen[ns] // an inbox counts nothing
	k.seen[ns] = max(k.seen[ns], e.Index)
	if !k.wanted(e) {
		return k.beyond()
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
		k.consumer.Store(hello.ConsumerID)
	}
	if d, err := time.ParseDuration(hello.Heartbeat); err == nil {
		k.body.setHeartbeat(d)
	}
	if k.first == nil {
		k.first = &hello
	}
	k.req.connected(nil)
	return nil
}

// reached ends the loop at the bound that the server says it has come to. Of a limit and
// until together the limit may not be the loop's: a later connection goes on to the newest
// event of its own time, and counts what the loop passes over.
func (k *connection) reached(data []byte) error {
	var end endFrame
	if err := unmarshalFrame("end", data, &end); err != nil {
		return k.report(err)
	}
	if end.Reason == "limit" && k.req.until && !k.full() {
		return errEnded
	}
	if end.Reason == "until" && k.more() {
		k.settle()
		return errAgain
	}
	return errDone
}

// more tells whether a named consumer may have events in front of the loop's end. The server
// also ends a bounded stream when as many are out as may be, and most of those are settled by
// now; a stream that brought none says that the others are with somebody.
func (k *connection) more() bool {
	ns := k.req.namespace()
	return k.req.consumer != "" && k.delivered > 0 && k.first != nil && k.seen[ns] < k.first.Tail[ns]
}

// end is what the end of the body means. However clean it is, it is no bound that was reached:
// the server says that with a frame, and a proxy can make a clean end of a dead server.
func (k *connection) end(err error) error {
	switch {
	case k.full():
		return errDone // the last of them was settled, and there is nothing left to ask for
	case err == errTooLong:
		return bus.ErrTooLarge.With("an event of the stream has more than %d bytes; allow more with WithMaxEvent", k.client.maxEvent)
	case err != io.EOF:
		return fmt.Errorf("the stream broke off: %w", err)
	}
	return errEnded
}

// watchedBody is the body of a stream. It cancels the connection when the server has sent
// nothing for too long: a peer that vanished without a word would be waited for for ever.
type watchedBody struct {
	body  io.ReadCloser
	timer *time.Timer
	limit time.Duration
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
	w.timer.Reset(w.limit)
	n, err := w.body.Read(p)
	w.timer.Stop()
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
