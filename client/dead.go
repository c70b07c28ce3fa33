package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/bus"
)

// DeadLetter is an event that a consumer gave up.
type DeadLetter struct {
	ID         string          `json:"id"`
	Index      uint64          `json:"index"`    // of the letter
	Consumer   string          `json:"consumer"` // a name, or the id of one without
	Named      bool            `json:"named"`
	EventID    string          `json:"event_id"`
	EventIndex uint64          `json:"event_index"`
	Subject    string          `json:"subject"` // of the event; "" when the letter has no copy of it
	Attempts   int             `json:"attempts"`
	Reason     string          `json:"reason"` // attempts or term; lost when the letter itself is
	At         time.Time       `json:"at"`
	Open       *bool           `json:"open,omitempty"`  // of DeadLetter: whether it was neither retried nor dropped
	Event      json.RawMessage `json:"event,omitempty"` // of DeadLetter: the event as a stream has it; nil without a copy
}

// Retried says what a retry has done: the event was delivered to the named consumer alone, or
// published anew for everybody.
type Retried struct {
	DeliveredTo string     // the consumer; "" when it was published
	Published   *Published // nil when it was delivered
}

// Published is the event that a retry has published.
type Published struct {
	ID    string `json:"id"`
	Index uint64 `json:"index"`
}

// DeadLetters reads the open dead letters of a namespace, the oldest first, a page at a time;
// with a consumer's name only that one's, with "_" those of consumers without a name. An error
// is yielded once and ends it. Letters that were retried or dropped meanwhile may be missing
// or not. Of more than 100,000 it ends behind the oldest of them.
func (c *Client) DeadLetters(ctx context.Context, namespace, consumer string) iter.Seq2[DeadLetter, error] {
	query := url.Values{}
	if consumer != "" {
		query.Set("consumer", consumer)
	}
	return pages(ctx, c, namespace, "dead", query, func(p *page[DeadLetter]) []DeadLetter { return p.Dead })
}

// DeadLetter returns one of a namespace by its id, with its event, also when it was retried or
// dropped. Of one that is not there the error is bus.ErrUnknownEvent.
func (c *Client) DeadLetter(ctx context.Context, namespace, id string) (letter DeadLetter, err error) {
	path, err := deadPath(namespace, id)
	if err != nil {
		return letter, err
	}
	err = c.admin(ctx, http.MethodGet, path, nil, nil, &letter)
	return letter, err
}

// RetryDeadLetter has a dead letter tried once more: its event is delivered to its named
// consumer alone, at the first attempt. Where that cannot be, with publish it is published
// again as a new event for everybody, and otherwise the error is bus.ErrUnknownConsumer and
// nothing is done. It is bus.ErrEventRemoved, and the letter stays open, when the event is not
// to be had again: its time to live is over, or a newer event of its subject took its place in
// a namespace that is compacted. It returns when that is durable. A second call, also of
// somebody else at the same time, is bus.ErrLetterResolved. After another error it may be
// called again.
func (c *Client) RetryDeadLetter(ctx context.Context, namespace, id string, publish bool) (did Retried, err error) {
	path, err := deadPath(namespace, id)
	if err != nil {
		return did, err
	}
	var answer struct {
		DeliveredTo string     `json:"delivered_to"`
		Published   *Published `json:"published"`
	}
	err = c.admin(ctx, http.MethodPost, path+"/retry", url.Values{"publish": {strconv.FormatBool(publish)}}, nil, &answer)
	return Retried{answer.DeliveredTo, answer.Published}, err
}

// DropDeadLetter takes a dead letter off the list; it stays in the log of dead letters. A
// second call is bus.ErrLetterResolved.
func (c *Client) DropDeadLetter(ctx context.Context, namespace, id string) error {
	path, err := deadPath(namespace, id)
	if err != nil {
		return err
	}
	return c.admin(ctx, http.MethodDelete, path, nil, nil, nil)
}

func deadPath(namespace, id string) (string, error) {
	if err := bus.CheckID(id); err != nil {
		return "", err
	}
	if id == "." || id == ".." { // a path would be cleaned of them
		return "", bus.ErrInvalidID.With("%q is no id of a dead letter", id)
	}
	return namespacePath(namespace, "dead/"+id)
}
