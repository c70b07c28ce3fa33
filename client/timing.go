package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	"example.com/bus"
)

// WithDelay puts off the delivery of an event: it is stored, and has its index, at once, and is
// delivered that much later, by the server's clock. At most bus.MaxDelay. See WithDeliverAt.
//
// Of Ack it is how long a Nak holds the event back.
func WithDelay(d time.Duration) PutAckOption {
	return putAck{
		func(r *putRequest) {
			r.fail(positive("WithDelay", d))
			r.timing("WithDelay", "WithDeliverAt", func(t *bus.Timing) { t.Delay = d })
		},
		func(r *ackRequest) { r.query.Set("delay", r.duration("WithDelay", d).String()) },
	}
}

// WithDeliverAt puts off the delivery of an event until a time; one that has passed does not put
// it off. It does not go with WithConfirm and WithRequestReply. When as many events wait as the
// server lets, the error has the code of bus.ErrTooManyDelayed.
func WithDeliverAt(at time.Time) PutOption {
	return putOption(func(r *putRequest) {
		r.timing("WithDeliverAt", "WithDelay", func(t *bus.Timing) { t.DeliverAt = at })
	})
}

// WithTTL is how long an event is worth delivering, from the moment on at which it may be:
// nobody is given it later. At most bus.MaxTTL.
func WithTTL(d time.Duration) PutOption {
	return putOption(func(r *putRequest) {
		r.fail(positive("WithTTL", d))
		r.timing("WithTTL", "WithExpiresAt", func(t *bus.Timing) { t.TTL = d })
	})
}

// WithExpiresAt is WithTTL as a time.
func WithExpiresAt(at time.Time) PutOption {
	return putOption(func(r *putRequest) {
		r.timing("WithExpiresAt", "WithTTL", func(t *bus.Timing) { t.ExpiresAt = at })
	})
}

// timing sets what two options can say, and only one of them may.
func (r *putRequest) timing(option, other string, set func(*bus.Timing)) {
	r.either(option, other)
	r.field(option, func(e *bus.Event) {
		if e.Timing == nil {
			e.Timing = &bus.Timing{}
		}
		set(e.Timing)
	})
}

// Delayed reads the events of a namespace that wait for their delivery, by index, a page at a
// time; Timing.DeliverAt says until when. An error is yielded once and ends it. What comes due, is
// published or deleted meanwhile may be missing or not. DeleteEvent takes one back.
func (c *Client) Delayed(ctx context.Context, namespace string) iter.Seq2[bus.Event, error] {
	return pages(ctx, c, namespace, "delayed", url.Values{}, func(p *page[bus.Event]) []bus.Event { return p.Delayed })
}
