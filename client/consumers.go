package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"example.com/bus"
)

// Endless is a RedeliveryCount without an end.
const Endless = -1

// Never is an IdleExpiry that does not come: the consumer is kept until it is deleted.
const Never time.Duration = -1

// ConsumerSettings are what a named consumer is made of. Zero values are not asked for: a new
// consumer gets the server's default, one that is there keeps what it has.
type ConsumerSettings struct {
	Subjects        []string        // patterns of the namespace; CreateConsumer needs them, ChangeConsumer takes none
	Start           string          // as of WithStartFrom; ChangeConsumer takes none, ResetConsumer moves
	Redelivery      time.Duration   // after how long an event comes again, 10 ms to 24 h; 5 s
	RedeliveryCount int             // deliveries of an event in all; 3; or Endless
	Backoff         []time.Duration // in place of Redelivery: up to 64, the first for the first delivery, the last one stays; empty and not nil: none, which takes it away
	Inflight        int             // events that may be unacknowledged at once, over all connections; 64
	IdleExpiry      time.Duration   // the consumer is deleted after nobody was connected for so long, 1 min to 366 days; or Never, as a new one has
	Paused          *bool           // true: nothing is given out
}

// ConsumerInfo is what a server says of a named consumer. RedeliveryCount is Endless where it
// has no end, IdleExpiry 0 where there is none, and Paused is never nil.
type ConsumerInfo struct {
	ConsumerSettings
	Name            string
	Namespace       string
	CreatedAt       time.Time
	Connections     int       // streams and pulls that are connected
	DeliveredIndex  uint64    // it has come to here
	AckFloor        uint64    // and all up to here is settled
	Unacked         int       // delivered and not settled
	Waiting         int       // of those, what nobody has now
	Behind          uint64    // indexes from DeliveredIndex to the end of the log
	Redelivered     uint64    // since the server was started, as Dead
	Dead            uint64    // events that it has given up
	OldestUnacked   uint64    // index of the first event that is not settled; 0: none
	OldestUnackedAt time.Time // and its time
	Stalled         bool      // there is something to do, nothing was settled for a while, and it is not paused
}

// Consumers returns the named consumers of a namespace, by name.
func (c *Client) Consumers(ctx context.Context, namespace string) ([]ConsumerInfo, error) {
	var answer struct{ Consumers []ConsumerInfo }
	path, err := namespacePath(namespace, "consumers")
	if err != nil {
		return nil, err
	}
	err = c.admin(ctx, http.MethodGet, path, nil, nil, &answer)
	return answer.Consumers, err
}

// Consumer returns one of them. Of one that is not there the error is bus.ErrUnknownConsumer.
func (c *Client) Consumer(ctx context.Context, namespace, name string) (ConsumerInfo, error) {
	return c.consumer(ctx, http.MethodGet, namespace, name, nil)
}

// CreateConsumer makes a named consumer, before anybody reads with it. A second call with the
// same settings finds that it is there; with others it is bus.ErrConsumerDiffers, and nothing
// changes.
func (c *Client) CreateConsumer(ctx context.Context, namespace, name string, s ConsumerSettings) (ConsumerInfo, error) {
	return c.consumer(ctx, http.MethodPut, namespace, name, &s)
}

// ChangeConsumer changes what is set in s and leaves the rest; Subjects and Start stay as they
// are. It holds for what is delivered from then on, also to those who are connected. Never, and
// an empty Backoff that is not nil, take away what the consumer has. A second call changes
// nothing more.
func (c *Client) ChangeConsumer(ctx context.Context, namespace, name string, s ConsumerSettings) (ConsumerInfo, error) {
	return c.consumer(ctx, http.MethodPatch, namespace, name, &s)
}

// ResetConsumer moves a consumer to start, which is as of [WithStartFrom]: everything from
// there on is delivered, also what was settled before, and nothing in front of it. A place that
// the log does not have is refused: an unknown id is bus.ErrUnknownEvent, an index beyond the
// end bus.ErrInvalidParameter.
func (c *Client) ResetConsumer(ctx context.Context, namespace, name, start string) (info ConsumerInfo, err error) {
	path, err := consumerPath(namespace, name)
	if err != nil {
		return info, err
	}
	err = c.admin(ctx, http.MethodPost, path+"/reset", url.Values{"start": {start}}, nil, &info)
	return info, err
}

// DeleteConsumer deletes a consumer and its place. Loops that read with it end with
// bus.ErrUnknownConsumer, and so does a second call.
func (c *Client) DeleteConsumer(ctx context.Context, namespace, name string) error {
	path, err := consumerPath(namespace, name)
	if err != nil {
		return err
	}
	return c.admin(ctx, http.MethodDelete, path, nil, nil, nil)
}

func (c *Client) consumer(ctx context.Context, method, namespace, name string, s *ConsumerSettings) (info ConsumerInfo, err error) {
	path, err := consumerPath(namespace, name)
	if err != nil {
		return info, err
	}
	var body []byte
	if s != nil {
		if body, err = json.Marshal(s.wire()); err != nil {
			return info, err
		}
	}
	err = c.admin(ctx, method, path, nil, body, &info)
	return info, err
}

// admin sends a request to /v1 and reads the answer into a value, if one is wanted.
func (c *Client) admin(ctx context.Context, method, path string, query url.Values, body []byte, into any) error {
	req, err := c.requestAt(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	resp, answer, err := c.do(req)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return unexpected(resp, "wanted a JSON object at %s, found %.80q", path, answer)
	}
	return nil
}

// namespacePath keeps what would be another path out of it.
func namespacePath(namespace, what string) (string, error) {
	if err := bus.CheckNamespace(namespace); err != nil {
		return "", err
	}
	return "v1/namespaces/" + namespace + "/" + what, nil
}

func consumerPath(namespace, name string) (string, error) {
	if err := checkConsumer(name); err != nil {
		return "", err
	}
	return namespacePath(namespace, "consumers/"+name)
}
