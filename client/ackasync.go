package client

import (
	"context"

	"example.com/bus"
)

// AckResult is the answer to an AckAsync, now or later. It may be used from many goroutines.
type AckResult struct {
	id    string
	async bool // nobody need ask for it: Flush tells its error
	done  <-chan struct{}
	err   error // may be read once done is closed
}

// Ready is closed when the answer is there, and Get does not wait any more.
func (a *AckResult) Ready() <-chan struct{} { return a.done }

// Get waits for the answer and returns what Ack would: nil means that the event is settled.
// When ctx ends first, its error is returned, the acknowledgement goes on, and Get may be
// called again. It may be called any number of times, and returns the same each time.
func (a *AckResult) Get(ctx context.Context) error {
	select {
	case <-a.done:
		return a.err
	default:
	}
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered is a result that is there at once.
func answered(err error) *AckResult {
	done := make(chan struct{})
	close(done)
	return &AckResult{async: true, done: done, err: err}
}

// AckAsync acknowledges an event like Ack, without waiting for the answer. It is what a loop
// over many events acknowledges with: the events that it gets done within a millisecond, or
// what [WithAckGrouping] says instead, leave in one request. What Ack returns the result tells;
// who does not ask it learns the first error from [Client.Flush].
//
// Until the result is there the event is not settled: it may come again. The end of the loop
// over Get sends what was gathered and waits for the answers. With options other than
// WithTimeout it leaves alone and at once, ahead of what is gathered. A request is given up
// after WithTimeout, or else 30 seconds. AckAsync only blocks while 8192 acknowledgements of
// this client wait for an answer, until one is there. It may be called from many goroutines.
func (c *Client) AckAsync(consumerID, eventID string, opts ...AckOption) *AckResult {
	return c.ackAsync(ackTo{id: consumerID}, eventID, origin{}, opts)
}

func (c *Client) ackAsync(to ackTo, eventID string, from origin, opts []AckOption) *AckResult {
	r := newAckRequest(opts)
	to = to.with(r.to)
	if err := r.check(to, eventID); err != nil {
		c.acks.failed(err)
		return answered(err)
	}
	a := &AckResult{id: eventID, async: true}
	_ = c.acks.add(context.Background(), to, r, a, from) // only a context's end is an error
	return a
}

// AckAsync acknowledges the event for the consumer it was delivered to, without waiting for
// the answer; see [Client.AckAsync].
func (e *Event) AckAsync(opts ...AckOption) *AckResult {
	if e == nil || e.client == nil {
		return answered(errNoStream())
	}
	return e.client.ackAsync(e.to(), e.Id, e.from, opts)
}

// Flush sends the acknowledgements that were gathered at once and waits for the answers to all
// that were begun before. It returns the first error of an AckAsync since the last Flush that
// returned one; the errors of Ack and AckBatch it leaves to those who called them. When ctx
// ends first, its error is returned, nothing is lost, and Flush may be called again. With
// nothing gathered it returns at once. It may be called from many goroutines; each error is
// told to one of them.
//
// Inside the loop over Get it makes a point at which all is settled. Behind the loop, which has
// sent all by then, it tells whether everything was. The client can be used afterwards.
func (c *Client) Flush(ctx context.Context) error {
	if err := c.acks.flush(ctx, ackTo{}); err != nil {
		return err
	}
	return c.acks.firstError()
}

func errNoStream() error {
	return bus.ErrInvalidParameter.With("the event did not come from a stream; acknowledge it with Client.Ack")
}
