package client

import (
	"cmp"
	"net/url"

	"example.com/bus"
)

// WithConsumer names a consumer whose place the server keeps. A Get or Pull with it goes on
// where the acknowledgements of that name have come to, on any machine and after any end:
// WithStartFrom, WithDelivery and WithInflight only say how it is made the first time, and a
// second Get with others is refused once with bus.ErrConsumerDiffers. All subjects are of one
// namespace; AckManual goes without saying. Several loops of one name share the work.
//
// With Ack, AckAsync and AckBatch it acknowledges for the name, from wherever it is, and the
// consumer id stays empty; [WithNamespace] says which one where several namespaces have it. A
// nil error means that the acknowledgement is durable: that event never comes again.
func WithConsumer(name string) GetAckOption {
	err := checkConsumer(name)
	return getAck{
		func(r *getRequest) {
			r.fail(err)
			r.consumer = name
			r.query.Set("consumer", name)
		},
		func(r *ackRequest) {
			r.fail(err)
			r.to.name = name
		},
	}
}

// WithNamespace is, with WithConsumer, the namespace of the consumer that Ack is for. It is
// needed where several namespaces have one of that name; an Event says its own.
func WithNamespace(namespace string) AckOption {
	return ackOption(func(r *ackRequest) { r.to.namespace = namespace })
}

// checkConsumer refuses what cannot be the name of a consumer.
func checkConsumer(name string) error {
	if bus.CheckNamespace(name) != nil {
		return bus.ErrInvalidParameter.With("consumer is %.80q, wanted 1 to %d characters of A-Z a-z 0-9 _ -, not beginning with an underscore", name, bus.MaxSegmentLen)
	}
	return nil
}

// checkConsumer refuses what does not go with a named consumer, and leaves to the server what
// only that knows.
func (r *getRequest) checkConsumer() {
	if r.consumer == "" {
		return
	}
	r.terms.untold = !r.delivery
	if n := len(r.namespaces()); n != 1 {
		r.fail(bus.ErrInvalidParameter.With("WithConsumer(%q) stands with subjects of %d namespaces, wanted one; use a consumer for each", r.consumer, n))
	}
	if r.query.Get("ack") == string(AckNone) {
		r.fail(bus.ErrInvalidParameter.With("AckNone does not go with WithConsumer: a named consumer keeps its place by acknowledgements"))
	}
}

// namespace is that of a named consumer.
func (r *getRequest) namespace() string {
	if all := r.namespaces(); len(all) > 0 {
		return all[0]
	}
	return ""
}

// leaveSettings takes out of a reconnect what somebody may have changed since the first
// request: a consumer that is there is asked for by its name, or everybody who is connected
// would be refused at the next reconnect.
func (r *getRequest) leaveSettings(q url.Values) {
	for _, name := range []string{"redelivery", "redelivery_count", "inflight"} {
		q.Del(name)
	}
}

// ackTo is whom an acknowledgement is for: the consumer of a connection by its id, or a named
// one.
type ackTo struct{ id, name, namespace string }

func (t ackTo) none() bool { return t.id == "" && t.name == "" }

// with takes in what the options of an acknowledgement say.
func (t ackTo) with(told ackTo) ackTo {
	if t.name != "" && told.name == "" {
		told.name = t.name // the event's own
	}
	return ackTo{t.id, told.name, cmp.Or(told.namespace, t.namespace)}
}

func (t ackTo) query() url.Values {
	if t.name == "" {
		return url.Values{"consumer_id": {t.id}}
	}
	q := url.Values{"consumer": {t.name}}
	if t.namespace != "" {
		q.Set("namespace", t.namespace)
	}
	return q
}

// to is whom an acknowledgement of the event is for.
func (e *Event) to() ackTo {
	if e.Consumer != "" {
		return ackTo{name: e.Consumer, namespace: bus.Namespace(e.Subject)}
	}
	return ackTo{id: e.ConsumerId}
}
