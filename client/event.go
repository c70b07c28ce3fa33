package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"example.com/bus"
)

// Event is one delivery of an event by a loop over Get. It shares memory with no other and
// may be kept and changed.
type Event struct {
	bus.Event
	Attempt    int    // 1 the first time this event is delivered to this consumer
	ConsumerId string // the consumer it was delivered to; "" of an event that was pulled
	Consumer   string // the name of a named consumer; "" of another

	client *Client
	from   origin
}

// Ack acknowledges the event for the consumer it was delivered to; see [Client.Ack]. It may
// be called from any goroutine while the loop that delivered the event goes on; of a named
// consumer also later, and after a reconnect: it goes by the name. A loop over many events is
// faster with [Event.AckAsync].
func (e *Event) Ack(ctx context.Context, opts ...AckOption) error {
	if e == nil || e.client == nil {
		return errNoStream()
	}
	return e.client.ack(ctx, e.to(), e.Id, e.from, opts)
}

// MarshalJSON returns the event as the stream has it, with its attempt if it is not the first.
func (e *Event) MarshalJSON() ([]byte, error) {
	return e.AppendDelivery(nil, e.Attempt), nil
}

// readEvent makes a new event of a frame's data, which is not kept. Fields that
// a later server adds are passed over.
func (c *Client) readEvent(data []byte, consumer string) (*Event, error) {
	e, attempt, err := bus.ParseDelivery(bytes.Clone(data))
	if err != nil {
		return nil, fmt.Errorf("the stream has a msg frame that cannot be read, found %.80q: %w", data, err)
	}
	return &Event{Event: e, Attempt: attempt, ConsumerId: consumer, client: c}, nil
}

// helloFrame is the first frame of a stream.
type helloFrame struct {
	ConsumerID string            `json:"consumer_id"`
	Heartbeat  string            `json:"heartbeat"`
	Tail       map[string]uint64 `json:"tail"` // the last index of each namespace
}

// endFrame is the last frame of a stream that has come to a bound.
type endFrame struct {
	Reason string `json:"reason"` // limit, until or wait
}

// unmarshalFrame reads a frame's data. It says what it found, because whatever stands
// between client and server may have changed it.
func unmarshalFrame(event string, data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the stream has a %s frame that cannot be read, found %.80q: %w",
			event, data, bus.ErrInvalidJSON.With("%v", err))
	}
	return nil
}
