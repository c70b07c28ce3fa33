package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"example.com/bus"
)

// Pull takes what there is now for a named consumer, in one request. It needs [WithConsumer];
// [WithLimit] bounds how many, and with [WithWait] it waits so long for the first, and again for
// each that follows. Without WithWait it returns what is there, which may be nothing: an empty
// slice is no error. An answer ends early at some 4 MiB; the next Pull has the rest.
//
// What it returns is leased: nobody else gets it until it is acknowledged ([Client.AckAll],
// [Event.Ack]) or its time for redelivery is over ([WithDelivery] of the first request). There
// is no stream that has to stay open for that.
//
// With a [*GapError] the events are returned as well. A second call goes on behind the first.
// After any other error, also the end of ctx, some events may be leased to nobody: they come
// again, at once when the server could not send its answer, else after their time. It sends
// once, and may be called from many goroutines.
func (c *Client) Pull(ctx context.Context, opts ...GetOption) ([]*Event, error) {
	r := newGetRequest(opts)
	if r.consumer == "" {
		r.fail(bus.ErrInvalidParameter.With("Pull needs WithConsumer; Get with WithUntilNewest reads what there is without a name"))
	}
	if r.err != nil {
		return nil, r.err
	}
	s := &subscription{client: c, req: r, left: r.limit}
	q := s.query()
	if !q.Has("wait") {
		q.Set("until", "newest")
	}
	req, err := c.request(ctx, http.MethodGet, q, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, body, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || !isJSON(resp.Header.Get("Content-Type")) {
		return nil, unexpected(resp, "wanted 200 and an array for a pull, found %d %.80q", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	events, err := s.pulled(body)
	if err != nil {
		return nil, err
	}
	return events, gapsOf(resp)
}

// pulled reads the array. One item that cannot be read spoils all: the events come again.
func (s *subscription) pulled(body []byte) ([]*Event, error) {
	var items []json.RawMessage
	if err := unmarshalFrame("pulled", body, &items); err != nil {
		return nil, err
	}
	events := make([]*Event, 0, len(items))
	for _, item := range items {
		e, err := s.client.readEvent(item, "")
		if err != nil {
			return nil, err
		}
		e.Consumer, e.from = s.req.consumer, origin{&s.req.terms, time.Now()}
		events = append(events, e)
	}
	return events, nil
}

// gapsOf returns the gaps that an array was answered with, nil when there are none.
func gapsOf(resp *http.Response) error {
	said := resp.Header.Get("X-BUS-GAP")
	if said == "" {
		return nil
	}
	var gaps []*GapError
	if err := json.Unmarshal([]byte(said), &gaps); err != nil {
		return unexpected(resp, "wanted gaps in X-BUS-GAP, found %.80q", said)
	}
	if len(gaps) == 1 {
		return gaps[0]
	}
	all := make([]error, len(gaps))
	for i, gap := range gaps {
		all[i] = gap
	}
	return errors.Join(all...)
}

// AckAll acknowledges any number of events, each for the consumer it was delivered to: one
// request for up to [MaxAckBatch] of them that have one consumer and namespace. The events of
// one request are settled all or, with an error, none; it goes on with the others, and returns
// all errors joined. WithVerdict, WithDelay and WithTimeout hold for each; WithUpTo, WithData
// and WithConsumer are not for it. With no events it returns nil at once. It may be called
// again with the same events.
func (c *Client) AckAll(ctx context.Context, events []*Event, opts ...AckOption) error {
	var order []ackTo
	ids := make(map[ackTo][]string)
	for _, e := range events {
		if e == nil || e.client == nil {
			return errNoStream()
		}
		to := e.to()
		if ids[to] == nil {
			order = append(order, to)
		}
		ids[to] = append(ids[to], e.Id)
	}
	var failed []error
	for _, to := range order {
		for some := range slices.Chunk(ids[to], MaxAckBatch) {
			failed = append(failed, c.ackSome(ctx, to, some, opts))
		}
	}
	return errors.Join(failed...)
}

func (c *Client) ackSome(ctx context.Context, to ackTo, ids []string, opts []AckOption) error {
	r := newAckRequest(opts)
	if r.to != (ackTo{}) {
		return bus.ErrInvalidParameter.With("WithConsumer or WithNamespace stands in an AckAll, whose events say their own; leave it out")
	}
	return c.ackMany(ctx, r, to, ids)
}
