package client

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/bus"
)

// Where a loop over Get begins; see [WithStartFrom].
const (
	StartOldest = "oldest"
	StartNewest = "newest"
	StartLast   = "last"
)

// AckStrategy says whether events are to be acknowledged.
type AckStrategy string

// The strategies. AckNone is what a stream has unless told otherwise.
const (
	AckNone   AckStrategy = "none"
	AckManual AckStrategy = "manual"
)

// WithStartFrom is where the stream begins: StartNewest (the default) with what is published
// from now on, StartOldest with the oldest event there is, StartLast with the newest event of
// each subject, and behind them what is published from then on, the id of an event right after it,
// an index such as "#42" at it, a time in RFC 3339 or an age such as "15m" or "7d" at the
// first event that is not older. A stream that breaks off among the events of StartLast goes on
// behind the last it has yielded, with every event there is: no subject is missing.
func WithStartFrom(start string) GetOption {
	return getOption(func(r *getRequest) { r.query.Set("start", start) })
}

// WithStartTime begins with the first event that is not older than t.
func WithStartTime(t time.Time) GetOption {
	return WithStartFrom(t.UTC().Format(time.RFC3339Nano))
}

// WithAckStrategy is AckManual for a stream whose events come again until they are
// acknowledged.
func WithAckStrategy(s AckStrategy) GetOption {
	return getOption(func(r *getRequest) { r.query.Set("ack", string(s)) })
}

// WithDelivery is, with AckManual, how long an event may be unacknowledged before it is
// delivered again, and how often it is delivered in all; 0 means without end.
func WithDelivery(d time.Duration, n int) GetOption {
	return getOption(func(r *getRequest) {
		r.fail(positive("WithDelivery", d))
		r.terms.redelivery, r.delivery = d, true
		r.query.Set("redelivery", d.String())
		r.query.Set("redelivery_count", strconv.Itoa(n))
	})
}

// WithInflight is, with AckManual, how many unacknowledged events may be out at once. 1 keeps
// strict order.
func WithInflight(n int) GetOption {
	return getOption(func(r *getRequest) {
		r.terms.inflight = n
		r.query.Set("inflight", r.count("WithInflight", n))
	})
}

// WithLimit ends the loop after n events. With AckManual redeliveries do not count, and the
// stream stays until those n are acknowledged or given up, so that they can be. Of a named
// consumer every delivery counts, and the loop ends behind the last: it is acknowledged by the
// name. What a bounded stream of a named consumer was given is leased: of a connection that
// breaks it comes again after its time for redelivery.
func WithLimit(n int) GetOption {
	return getOption(func(r *getRequest) {
		r.count("WithLimit", n)
		r.limit = n
	})
}

// WithWait ends the loop after d without an event.
func WithWait(d time.Duration) GetOption {
	return getOption(func(r *getRequest) {
		r.fail(positive("WithWait", d))
		r.query.Set("wait", d.String())
	})
}

// WithUntilNewest ends the loop at what is the newest event when it begins. Of a named
// consumer, for which it may end a little later, it also ends when nothing more is given out,
// because the rest is with others or as much is unacknowledged as may be.
func WithUntilNewest() GetOption {
	return getOption(func(r *getRequest) {
		r.until = true
		r.query.Set("until", "newest")
	})
}

// WithConnection calls f when the stream is lost or cannot be had, with the reason, before each
// wait for another try, and with nil each time that a server has taken it up. It is called in
// the goroutine of the loop, which waits for it. What ends the loop is not told: the loop does.
func WithConnection(f func(err error)) GetOption {
	return getOption(func(r *getRequest) { r.connection = f })
}

// getRequest is what the options of a Get add up to. It does not change after that.
type getRequest struct {
	subjects []string
	query    url.Values
	limit    int // 0: none
	until    bool
	terms    terms
	delivery bool   // WithDelivery stands
	consumer string // the name of a named one
	err      error

	connection func(error) // nil: nobody wants to know
}

// connected tells who wants to know.
func (r *getRequest) connected(err error) {
	if r.connection != nil {
		r.connection(err)
	}
}

func (r *getRequest) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *getRequest) count(option string, n int) string {
	if n < 1 {
		r.fail(bus.ErrInvalidParameter.With("%s has %d, wanted at least 1", option, n))
	}
	return strconv.Itoa(n)
}

// namespaces are those of the subjects, inboxes left out, in order.
func (r *getRequest) namespaces() []string {
	var all []string
	for _, s := range r.subjects {
		if !bus.IsInbox(s) {
			all = append(all, bus.Namespace(s))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func newGetRequest(opts []GetOption) *getRequest {
	r := &getRequest{query: url.Values{}, terms: terms{redelivery: defaultRedelivery, inflight: defaultInflight}}
	for _, o := range opts {
		o.applyGet(r)
	}
	if len(r.subjects) == 0 {
		r.fail(bus.ErrMissingSubject.With(`wanted a WithSubject, as in WithSubject("orders.>")`))
	}
	for _, s := range r.subjects {
		_, err := bus.ParsePattern(s)
		r.fail(err)
		r.query.Add("subject", s)
	}
	r.checkConsumer()
	return r
}

// Get reads events. It connects when the loop over it begins, and each loop is a stream of
// its own. The package comment says what the loop promises. Leaving it closes the stream; so
// does cancelling ctx, which ends the loop without an error, at the latest when the event at
// hand is done with: it can still be acknowledged, with a context that has not ended. What
// AckAsync and WithAckGrouping have gathered is sent first, and their answers waited for, up to
// 2 seconds. An event is read when the loop asks for it: a slow loop
// holds the stream back and loses nothing.
//
// WithLimit, WithWait and WithUntilNewest end the loop at their bound. They hold for the whole
// loop, however many connections it takes: a loop that ends without an error has reached its
// bound, or was left. A connection that ends before the server has said so is a broken one.
func (c *Client) Get(ctx context.Context, opts ...GetOption) iter.Seq2[*Event, error] {
	r := newGetRequest(opts)
	return func(yield func(*Event, error) bool) {
		if r.err != nil {
			yield(nil, r.err)
			return
		}
		s := &subscription{client: c, req: r, left: r.limit, yield: yield, seen: make(map[string]uint64), taken: make(map[string][]uint64)}
		s.run(ctx)
	}
}

// subscription is the state of one loop over Get, across its connections. It belongs to the
// goroutine of the loop.
type subscription struct {
	client *Client
	req    *getRequest
	yield  func(*Event, error) bool

	lastID  string              // resume point, "" before there is one
	left    int                 // events still wanted, with a limit
	taken   map[string][]uint64 // indexes handed over, with a limit, by namespace
	first   *helloFrame         // of the first connection that had one
	seen    map[string]uint64   // the highest index met, by namespace
	backoff backoff
}

// errDone ends a loop: left, or at its bound.
var errDone = errors.New("done")

func (s *subscription) run(ctx context.Context) {
	for {
		err := s.connect(ctx)
		if err == errDone || ctx.Err() != nil {
			return
		}
		if err == errAgain {
			continue
		}
		if !passing(err) {
			s.yield(nil, err)
			return
		}
		s.req.connected(err)
		wait := s.backoff.next(asked(err))
		s.client.log.LogAttrs(ctx, slog.LevelInfo, "stream ended; reconnecting",
			slog.Any("reason", err), slog.Duration("wait", wait), slog.String("resume", s.lastID))
		if !sleep(ctx, wait) {
			return
		}
	}
}

// query asks for what is left of the request.
func (s *subscription) query() url.Values {
	q := maps.Clone(s.req.query)
	if s.req.consumer != "" && s.first != nil {
		s.req.leaveSettings(q)
	}
	if s.req.limit > 0 {
		q.Set("limit", strconv.Itoa(s.remaining()))
	}
	return q
}

// wanted tells whether an event lies within what the loop asked for when it began.
func (s *subscription) wanted(e *Event) bool {
	if s.first == nil || !s.req.until || e.Index == 0 || s.req.consumer != "" {
		return true
	}
	tail, known := s.first.Tail[bus.Namespace(e.Subject)]
	return !known || e.Index <= tail
}

// beyond ends a loop at an event behind its end when everything before that is done with. The
// server cannot know: to a later connection newest means what is newest by then.
func (s *subscription) beyond() error {
	positions := s.positions()
	for ns, tail := range s.first.Tail {
		if positions[ns] < tail {
			return nil
		}
	}
	return errDone
}

// deliver hands an event to the loop. One that is not fresh has been handed over
// before, on this connection or an earlier one.
func (s *subscription) deliver(e *Event, fresh bool) error {
	if !s.yield(e, nil) {
		return errDone
	}
	if s.req.limit > 0 && (fresh || s.req.consumer != "") {
		ns := bus.Namespace(e.Subject)
		s.taken[ns] = append(s.taken[ns], e.Index)
		s.left--
	}
	if !s.manual() && s.full() {
		return errDone
	}
	return nil
}

// full tells whether nothing is left to ask for.
func (s *subscription) full() bool { return s.req.limit > 0 && s.remaining() <= 0 }

// remaining is how many events the next connection is asked for. With AckManual those above
// the resume point come again, and count again there.
func (s *subscription) remaining() int {
	if !s.manual() || s.req.consumer != "" {
		return s.left
	}
	positions := s.positions()
	if positions == nil {
		return s.left
	}
	left := s.req.limit
	for ns, place := range positions {
		for _, index := range s.taken[ns] {
			if index <= place {
				left--
			}
		}
	}
	return left
}

// positions is the resume point: the index by namespace up to which everything is done with,
// nil when it does not say.
func (s *subscription) positions() map[string]uint64 {
	positions, ok := bus.ParseID(s.lastID)
	namespaces := s.req.namespaces()
	if !ok || len(positions) != len(namespaces) {
		return nil
	}
	places := make(map[string]uint64, len(namespaces))
	for i, ns := range namespaces { // a resume point has their order
		places[ns] = positions[i].Index
	}
	return places
}

func (s *subscription) manual() bool {
	return s.req.consumer != "" || s.req.query.Get("ack") == string(AckManual)
}

// origin is that of an event which comes now.
func (s *subscription) origin() origin {
	if !s.manual() {
		return origin{}
	}
	return origin{&s.req.terms, time.Now()}
}

// report hands over what went wrong without ending the stream.
func (s *subscription) report(err error) error {
	if !s.yield(nil, err) {
		return errDone
	}
	return nil
}

// open sends the request for a stream and checks that the answer is one.
func (s *subscription) open(ctx context.Context) (*http.Response, error) {
	req, err := s.client.request(ctx, http.MethodGet, s.query(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("Accept-Encoding", "identity") // a compressor would hold frames back
	if s.lastID != "" && s.req.consumer == "" {
		req.Header.Set("Last-Event-ID", s.lastID)
	}
	resp, err := s.client.stream.Do(req)
	if err != nil {
		return nil, err
	}
	if err := checkStream(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func checkStream(resp *http.Response) error {
	switch contentType := resp.Header.Get("Content-Type"); {
	case resp.StatusCode == http.StatusNoContent:
		return errDone // the HTML standard's way to say: do not come back
	case resp.StatusCode != http.StatusOK:
		return problemOf(resp)
	case !isEventStream(contentType):
		return unexpected(resp, "wanted text/event-stream, found %.80q", contentType)
	}
	return nil
}
