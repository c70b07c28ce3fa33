package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"example.com/bus"
)

// MaxAckBatch is how many events one AckBatch may name.
const MaxAckBatch = 1000

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

// WithUpTo acknowledges the event, and with it every event of the same namespace before it
// that the consumer was given and has not settled: one request for any number of them. Events
// after it, and those of other namespaces, stay as they are. It goes with one event, not with
// AckBatch, and with neither a verdict nor a reply.
func WithUpTo() AckOption {
	return ackOption(func(r *ackRequest) { r.query.Set("up_to", "true") })
}

// ackRequest is what the options of an Ack add up to.
type ackRequest struct {
	query   url.Values
	body    json.RawMessage
	timeout time.Duration
	to      ackTo // with WithConsumer
	err     error
}

func newAckRequest(opts []AckOption) *ackRequest {
	if len(opts) == 0 {
		return &ackRequest{} // a loop makes one of each event
	}
	r := &ackRequest{query: url.Values{}}
	for _, o := range opts {
		o.applyAck(r)
	}
	return r
}

func (r *ackRequest) duration(option string, d time.Duration) time.Duration {
	if err := positive(option, d); err != nil {
		r.fail(err)
	}
	return d
}

// fail keeps the first mistake.
func (r *ackRequest) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// check refuses what no server could make sense of.
func (r *ackRequest) check(to ackTo, eventIDs ...string) error {
	switch {
	case r.err != nil:
		return r.err
	case to.id != "" && to.name != "":
		return bus.ErrInvalidParameter.With("consumer id %q and WithConsumer(%q) stand for one acknowledgement, wanted one of them: leave the id empty", to.id, to.name)
	case to.namespace != "" && to.name == "":
		return bus.ErrInvalidParameter.With("WithNamespace(%q) stands without WithConsumer, the name whose namespace it is", to.namespace)
	case len(eventIDs) == 0 || len(eventIDs) > MaxAckBatch:
		return bus.ErrInvalidParameter.With("%d event ids, wanted 1 to %d; WithUpTo acknowledges any number of them", len(eventIDs), MaxAckBatch)
	case to.none() || slices.Contains(eventIDs, ""):
		return bus.ErrInvalidParameter.With("consumer id %q and event ids %.80q, wanted both; a stream gives them with each event", to.id, eventIDs)
	}
	return nil
}

// plain tells whether the request says nothing but that an event is done, so that others may
// travel with it.
func (r *ackRequest) plain() bool { return len(r.query) == 0 && r.body == nil }

// Ack acknowledges an event for a consumer. WithData makes it the reply to a request. A
// second Ack of the same event is no error. If the consumer's stream has ended the error has
// the code of bus.ErrUnknownConsumer: a reading program gets the event again. An event that
// the consumer was not given, or that was given up after its last attempt, is
// bus.ErrNotDelivered. For a named consumer consumerID is empty and [WithConsumer] says the
// name; then it does not matter whether a stream is open.
//
// Ack sends once and returns when the server has answered for this event: nil means that it is
// settled. After a failed connection it may be called again. When ctx ends first, whether the
// event is settled is not known. With [WithAckGrouping] it leaves together with those of other
// goroutines; what each of them gets is the answer to its own event.
func (c *Client) Ack(ctx context.Context, consumerID, eventID string, opts ...AckOption) error {
	return c.ack(ctx, ackTo{id: consumerID}, eventID, origin{}, opts)
}

func (c *Client) ack(ctx context.Context, to ackTo, eventID string, from origin, opts []AckOption) error {
	r := newAckRequest(opts)
	to = to.with(r.to)
	if err := r.check(to, eventID); err != nil {
		return err
	}
	ctx, cancel := r.bound(ctx)
	defer cancel()
	if !c.acks.always || !r.plain() || bus.CheckID(eventID) != nil {
		return c.sendAck(ctx, r, to, eventID)
	}
	a := &AckResult{id: eventID}
	if err := c.acks.add(ctx, to, r, a, from); err != nil {
		return err
	}
	return a.Get(ctx)
}

// AckBatch acknowledges up to [MaxAckBatch] events of one consumer in one request: all of them
// or, with an error, none, whatever the error is about. An answer of the server that is about
// one of them names it in the EventID of the [*Error]; the errors are otherwise those of Ack,
// and as there, events that were settled before are no error. WithVerdict, WithDelay and
// WithTimeout hold for all; WithUpTo and WithData are for one event.
//
// The events may be of any namespace of the stream, in any order, and one may stand twice. A
// proxy may allow less than a server, which takes 64 KiB: a thousand ids have some 40 KiB.
func (c *Client) AckBatch(ctx context.Context, consumerID string, eventIDs []string, opts ...AckOption) error {
	r := newAckRequest(opts)
	return c.ackMany(ctx, r, ackTo{id: consumerID}.with(r.to), eventIDs)
}

func (c *Client) ackMany(ctx context.Context, r *ackRequest, to ackTo, eventIDs []string) error {
	if r.query.Has("up_to") || r.body != nil {
		r.fail(bus.ErrInvalidParameter.With("WithUpTo or WithData stands in an AckBatch or AckAll, and they are for one event; give them to Ack"))
	}
	if err := r.check(to, eventIDs...); err != nil {
		return err
	}
	ctx, cancel := r.bound(ctx)
	defer cancel()
	return c.sendAck(ctx, r, to, eventIDs...)
}

// bound is what WithTimeout makes of a context.
func (r *ackRequest) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.timeout > 0 {
		return context.WithTimeout(ctx, r.timeout)
	}
	return ctx, func() {}
}

// sendAck sends one request. It leaves r as it is.
func (c *Client) sendAck(ctx context.Context, r *ackRequest, to ackTo, eventIDs ...string) error {
	query := to.query()
	query["event_id"] = eventIDs
	for name, values := range r.query {
		query[name] = values
	}
	req, err := c.request(ctx, http.MethodPut, query, r.body)
	if err != nil {
		return err
	}
	repeatable(req)
	resp, answer, err := c.do(req)
	if err == nil && resp.StatusCode != http.StatusAccepted { // a login page is no answer to it
		return unexpected(resp, "wanted 202 for an acknowledgement, found %d %.80q", resp.StatusCode, answer)
	}
	return err
}
