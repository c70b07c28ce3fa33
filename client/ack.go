package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"example.com/bus"
)

// Verdict is what becomes of an event instead of being done with.
type Verdict string

// The verdicts. Without one an Ack means that the event is done.
const (
	Nak  Verdict = "nak"  // not now: deliver it again, with WithDelay not before that
	Term Verdict = "term" // never again: it becomes a dead letter
	Wip  Verdict = "wip"  // still at work: the time to acknowledge it begins anew
)

// WithVerdict acknowledges an event with another outcome than being done.
func WithVerdict(v Verdict) AckOption {
	return ackOption(func(r *ackRequest) { r.query.Set("verdict", string(v)) })
}

// WithDelay is how long a Nak holds the event back.
func WithDelay(d time.Duration) AckOption {
	return ackOption(func(r *ackRequest) { r.query.Set("delay", r.duration("WithDelay", d).String()) })
}

// WithUpTo acknowledges all events of the same namespace up to this one.
func WithUpTo() AckOption {
	return ackOption(func(r *ackRequest) { r.query.Set("up_to", "true") })
}

// ackRequest is what the options of an Ack add up to.
type ackRequest struct {
	query   url.Values
	body    json.RawMessage
	timeout time.Duration
	err     error
}

func (r *ackRequest) duration(option string, d time.Duration) time.Duration {
	if err := positive(option, d); err != nil && r.err == nil {
		r.err = err
	}
	return d
}

// Ack acknowledges an event for a consumer. WithData makes it the reply to a request. A
// second Ack of the same event is no error. If the consumer's stream has ended the error has
// the code of bus.ErrUnknownConsumer: a reading program gets the event again. An event that
// the consumer was not given is bus.ErrNotDelivered.
//
// Ack sends once and returns when the server has taken it. After a failed connection it may
// be called again.
func (c *Client) Ack(ctx context.Context, consumerID, eventID string, opts ...AckOption) error {
	r := &ackRequest{query: url.Values{}}
	for _, o := range opts {
		o.applyAck(r)
	}
	if r.err != nil {
		return r.err
	}
	if consumerID == "" || eventID == "" {
		return bus.ErrInvalidParameter.With("consumer id %q and event id %q, wanted both; a stream gives them with each event", consumerID, eventID)
	}
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	r.query.Set("consumer_id", consumerID)
	r.query.Set("event_id", eventID)
	req, err := c.request(ctx, http.MethodPut, r.query, r.body)
	if err != nil {
		return err
	}
	repeatable(req)
	_, _, err = c.do(req)
	return err
}
