package client

import (
	"slices"
	"time"

	"example.com/bus"
)

// Options say which calls they serve by the interfaces they satisfy; one name may serve
// several. An option may be used any number of times and from many goroutines.
type (
	// PutOption is an option of [Client.Put].
	PutOption interface{ applyPut(*putRequest) }
	// GetOption is an option of [Client.Get].
	GetOption interface{ applyGet(*getRequest) }
	// AckOption is an option of [Client.Ack] and [Event.Ack].
	AckOption interface{ applyAck(*ackRequest) }

	// PutGetOption serves Put and Get.
	PutGetOption interface {
		PutOption
		GetOption
	}
	// PutAckOption serves Put and Ack.
	PutAckOption interface {
		PutOption
		AckOption
	}
	// GetAckOption serves Get, Pull and Ack.
	GetAckOption interface {
		GetOption
		AckOption
	}
)

type (
	putOption func(*putRequest)
	getOption func(*getRequest)
	ackOption func(*ackRequest)
	putGet    struct {
		putOption
		getOption
	}
	putAck struct {
		putOption
		ackOption
	}
	getAck struct {
		getOption
		ackOption
	}
)

func (f putOption) applyPut(r *putRequest) { f(r) }
func (f getOption) applyGet(r *getRequest) { f(r) }
func (f ackOption) applyAck(r *ackRequest) { f(r) }

// WithSubject is where Put publishes, or a pattern of what Get reads: * stands for one
// segment, > at the end for one or more. Get takes it several times, and then carries all of
// them in one stream.
func WithSubject(subject string) PutGetOption {
	return putGet{
		func(r *putRequest) { r.field("WithSubject", func(e *bus.Event) { e.Subject = subject }) },
		func(r *getRequest) { r.subjects = append(r.subjects, subject) },
	}
}

// WithData is the payload of an event, or with Ack the reply to a request. Any value becomes
// its JSON. A string becomes a JSON string, whatever is in it; a json.RawMessage and a []byte
// are JSON already and are sent as they are. Bytes that are not JSON are for [WithRaw].
func WithData(data any) PutAckOption {
	payload, err := encodeData(data)
	return putAck{
		func(r *putRequest) {
			r.fail(err)
			r.payload("WithData", "WithRaw", payload, "")
		},
		func(r *ackRequest) {
			if r.err == nil {
				r.err = err
			}
			r.body = payload
		},
	}
}

// WithRaw is a payload of any media type, kept and delivered as these bytes, with contentType
// as the event's ContentType. JSON media types are refused: they are for [WithData].
func WithRaw(contentType string, data []byte) PutOption {
	return putOption(func(r *putRequest) {
		if contentType == "" || isJSON(contentType) {
			r.fail(bus.ErrInvalidParameter.With("WithRaw has the content type %q, wanted one that is not JSON; give JSON to WithData", contentType))
		}
		r.payload("WithRaw", "WithData", data, contentType)
	})
}

// WithTraceId is kept with the event and delivered with it.
func WithTraceId(id string) PutOption {
	return putOption(func(r *putRequest) { r.field("WithTraceId", func(e *bus.Event) { e.TraceId = id }) })
}

// WithKey makes a publish idempotent: within the server's window the same key is stored once,
// a repeat is answered with the first one's receipt, and Put tries again by itself, for 5 minutes
// unless told otherwise. See Put.
func WithKey(key string) PutOption {
	return putOption(func(r *putRequest) { r.field("WithKey", func(e *bus.Event) { e.Key = key }) })
}

// WithId gives the event an id of your own instead of the server's.
func WithId(id string) PutOption {
	return putOption(func(r *putRequest) { r.field("WithId", func(e *bus.Event) { e.Id = id }) })
}

// WithHeader gives the event a header, which is kept and delivered with it; several are
// several calls. Names are of a-z, 0-9, - _ and ., in small letters; bus.CheckHeaders has the
// limits. A name that stands twice is a mistake.
func WithHeader(name, value string) PutOption {
	return putOption(func(r *putRequest) {
		r.field("WithHeader "+name, func(e *bus.Event) {
			if e.Headers == nil {
				e.Headers = make(map[string]string)
			}
			e.Headers[name] = value
			r.fail(bus.CheckHeaders(e.Headers))
		})
	})
}

// WithCreatedAt gives the event a time of your own instead of the server's.
func WithCreatedAt(t time.Time) PutOption {
	return putOption(func(r *putRequest) { r.field("WithCreatedAt", func(e *bus.Event) { e.CreatedAt = t }) })
}

// Batch is one event of a batch: Put takes several, and stores all of them or none, next to
// each other. It takes the options that describe one event: WithSubject, WithData, WithRaw,
// WithTraceId, WithKey, WithId, WithHeader, WithCreatedAt, WithDelay, WithDeliverAt, WithTTL and
// WithExpiresAt.
func Batch(opts ...PutOption) PutOption {
	return putOption(func(r *putRequest) {
		item := newPutRequest(opts)
		r.fail(item.err)
		if item.ofCall != "" {
			r.fail(bus.ErrInvalidParameter.With("%s stands inside Batch, which describes one event; give it to Put", item.ofCall))
		}
		r.ofCall, r.batched = "Batch", true
		r.batch = append(r.batch, item.event)
	})
}

// WithBatch adds events as they are to the batch. Their index is given anew.
func WithBatch(events ...bus.Event) PutOption {
	return putOption(func(r *putRequest) {
		r.ofCall, r.batched = "WithBatch", true
		for _, e := range events {
			if e.ContentType == "" && len(e.Payload) > 0 {
				_, err := bus.CompactJSON(e.Payload)
				r.fail(err)
			}
			r.batch = append(r.batch, e)
		}
	})
}

// WithExpectedIndex stores the event, or the batch, only if n is the last index of its
// namespace; 0: it holds none. Otherwise the error has the code of bus.ErrWrongIndex, its Index
// is the actual one, and nothing is stored. No other publish comes between the look and the
// storing. See Put for what a lost answer means.
func WithExpectedIndex(n uint64) PutOption {
	return putOption(func(r *putRequest) { r.ofCall, r.when.Index = "WithExpectedIndex", bus.Expect(n) })
}

// WithExpectedSubjectIndex is WithExpectedIndex for the newest event of exactly the subject; 0:
// there is none. The events of a batch must all have that subject. bus.ErrTooManySubjects when
// the server does not know the last index of so many subjects.
func WithExpectedSubjectIndex(n uint64) PutOption {
	return putOption(func(r *putRequest) { r.ofCall, r.when.SubjectIndex = "WithExpectedSubjectIndex", bus.Expect(n) })
}

// WithConfirm makes Put wait until n different consumers have acknowledged the event. When
// they do not in time, the error has the code of bus.ErrConfirmTimeout; the event is stored
// all the same. 0 does not wait.
func WithConfirm(n int) PutOption {
	return putOption(func(r *putRequest) {
		if n < 0 {
			r.fail(bus.ErrInvalidParameter.With("WithConfirm has %d, wanted 0 or more", n))
		}
		r.ofCall, r.confirm = "WithConfirm", n
	})
}

// WithRequestReply makes Put wait for the first reply, which becomes Response.Payload. When
// none comes in time, the error has the code of bus.ErrReplyTimeout.
func WithRequestReply() PutOption {
	return putOption(func(r *putRequest) { r.ofCall, r.reply = "WithRequestReply", true })
}

// WithTimeout bounds a Put or an Ack, beside its context. With WithConfirm and
// WithRequestReply it is how long the server waits; the call itself may take a second more,
// for the answer to arrive.
func WithTimeout(d time.Duration) PutAckOption {
	return putAck{
		func(r *putRequest) {
			r.fail(positive("WithTimeout", d))
			r.ofCall, r.timeout = "WithTimeout", d
		},
		func(r *ackRequest) { r.timeout = r.duration("WithTimeout", d) },
	}
}

func positive(option string, d time.Duration) error {
	if d <= 0 {
		return bus.ErrInvalidParameter.With("%s has %s, wanted more than 0", option, d)
	}
	return nil
}

// field sets a field of the one event that Put publishes. An option that stands twice is a
// mistake: one of the two values would be lost.
func (r *putRequest) field(option string, set func(*bus.Event)) {
	if slices.Contains(r.fields, option) {
		r.fail(bus.ErrInvalidParameter.With("%s stands twice for one event; several events are a Batch each", option))
	}
	r.fields = append(r.fields, option)
	set(&r.event)
}

// payload sets what two options can set, and only one of them may.
func (r *putRequest) payload(option, other string, data []byte, contentType string) {
	r.either(option, other)
	r.field(option, func(e *bus.Event) { e.Payload, e.ContentType = data, contentType })
}

// either refuses an option that says once more what another has said.
func (r *putRequest) either(option, other string) {
	if slices.Contains(r.fields, other) {
		r.fail(bus.ErrInvalidParameter.With("%s and %s stand for one event and say the same of it; leave one of them out", other, option))
	}
}

// fail keeps the first mistake.
func (r *putRequest) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
