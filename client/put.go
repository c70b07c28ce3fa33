package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"example.com/bus"
)

const (
	// answerTime is how much longer than the server a call waits, so that the server's
	// answer, which says how far it got, wins over a bare time-out.
	answerTime = time.Second
	// longestWait is what a context's deadline asks of a server at most. It refuses more.
	longestWait = time.Hour
	// keyedTime is how long a Put with a key goes on trying when nobody said how long. A
	// server remembers a key for 10 minutes unless told otherwise: a try that came after
	// that, also one that was held up on its way, would store the event once more.
	keyedTime = 5 * time.Minute
)

// Receipt says where an event is.
type Receipt struct {
	Id        string    `json:"id"`
	Index     uint64    `json:"index"`
	CreatedAt time.Time `json:"created_at"`
	Duplicate bool      `json:"duplicate"` // the key was there before: this is the first one's receipt
}

// Response is the outcome of a Put. After an error Id and Index are set if the event was
// stored all the same, as when a confirmation did not come in time.
type Response struct {
	Id        string
	Index     uint64
	CreatedAt time.Time
	Duplicate bool

	// Payload is the reply, with WithRequestReply. ContentType is its media type when it is
	// not JSON, and "" when it is.
	Payload     json.RawMessage
	ContentType string

	// Receipts has one for each event of a batch, in order; the fields above are the first's.
	Receipts []Receipt

	err error
}

// Error returns why the Put failed, or nil. Despite its name Response is no error.
func (r *Response) Error() error { return r.err }

func (r *Response) take(receipt Receipt) {
	r.Id, r.Index = receipt.Id, receipt.Index
	r.CreatedAt, r.Duplicate = receipt.CreatedAt, receipt.Duplicate
}

// putRequest is what the options of a Put add up to.
type putRequest struct {
	event   bus.Event
	fields  []string // the options that set fields of event
	batch   []bus.Event
	batched bool
	ofCall  string // the last option that is not about one event

	when    bus.Condition
	confirm int
	reply   bool
	timeout time.Duration
	err     error
}

func newPutRequest(opts []PutOption) *putRequest {
	r := &putRequest{}
	for _, o := range opts {
		o.applyPut(r)
	}
	return r
}

// Put publishes an event, or a batch of them, and returns when the server has answered:
// without an error the event is stored as durably as the server was told to. It never returns
// nil.
//
// Put sends once. If that fails without an answer the event may be stored or not. With
// WithKey (in a batch, with one on each event) a repeat is harmless: then Put tries again
// after failed connections and after 429 and 503, for as long as the context's deadline and
// WithTimeout let it. Without either it gives up after 5 minutes with the last error, because a
// server remembers a key for 10 minutes unless told otherwise: who allows more than that may
// store the event twice. Cancelling the context ends the waiting, not an event that is on its
// way.
//
// With WithExpectedIndex or WithExpectedSubjectIndex a key does more: the event of a try whose
// answer was lost has itself moved the index on, and a server that knows the key answers the next
// try with that event's receipt before it looks at the index. So bus.ErrWrongIndex then means that
// nothing of this Put is stored. That holds as long as the server remembers the key, and not
// at all on one that remembers none (--dedup-keys 0). Without a key Put sends once: after an error
// that is no answer, read what is stored before you decide anew.
//
// WithConfirm and WithRequestReply wait as long as WithTimeout says; without it, until the
// context's deadline, an hour at most; and without both as long as the server sees fit.
func (c *Client) Put(ctx context.Context, opts ...PutOption) *Response {
	r := newPutRequest(opts)
	body, err := r.encode()
	if err != nil {
		return &Response{err: err}
	}
	end, hasEnd := ctx.Deadline()
	bound := time.Duration(0)
	switch {
	case r.timeout > 0:
		end, hasEnd, bound = time.Now().Add(r.timeout), true, r.timeout
		if r.waits() {
			bound += answerTime
		}
	case !hasEnd && r.keyed():
		bound = keyedTime
	}
	if bound > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, bound)
		defer cancel()
	}
	var b backoff
	for {
		resp := c.post(ctx, r.query(end, hasEnd), r, body)
		if resp.err == nil || !r.keyed() || !busy(resp.err) || ctx.Err() != nil {
			return resp
		}
		if !sleep(ctx, b.next(asked(resp.err))) {
			resp.err = fmt.Errorf("%w; the last try: %w", context.Cause(ctx), resp.err)
			return resp
		}
	}
}

func (r *putRequest) waits() bool { return r.confirm > 0 || r.reply }

func (r *putRequest) events() []bus.Event {
	if r.batched {
		return r.batch
	}
	return []bus.Event{r.event}
}

// keyed tells whether every event has a key, so that all of it may be sent twice.
func (r *putRequest) keyed() bool {
	for _, e := range r.events() {
		if e.Key == "" {
			return false
		}
	}
	return true
}

// encode checks what the options ask for and returns the body. It is checked here because
// the wire form writes ids and subjects without escaping them.
func (r *putRequest) encode() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.batched && len(r.fields) > 0 {
		return nil, bus.ErrInvalidParameter.With("%s stands beside a batch; give it to each Batch", r.fields[0])
	}
	if len(r.events()) == 0 {
		return nil, bus.ErrInvalidParameter.With("the batch has no events, wanted at least one")
	}
	if err := r.when.CheckEvents(r.events()); err != nil {
		return nil, err
	}
	body := []byte{'['}
	for i, e := range r.events() {
		if err := e.Check(); err != nil {
			return nil, r.inBatch(err, i+1)
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = e.AppendJSON(body)
	}
	if !r.batched {
		return body[1:], nil
	}
	return append(body, ']'), nil
}

// inBatch says which event of a batch an error is about.
func (r *putRequest) inBatch(err error, item int) error {
	e, ok := bus.AsError(err)
	if !ok || !r.batched {
		return err
	}
	e = e.With("event %d: %s", item, e.Detail)
	e.Line = item
	return e
}

func (r *putRequest) query(end time.Time, hasEnd bool) url.Values {
	q := url.Values{}
	for name, n := range map[string]bus.Expected{"expected_index": r.when.Index, "expected_subject_index": r.when.SubjectIndex} {
		if n.Asked() {
			q.Set(name, strconv.FormatUint(n.Index(), 10))
		}
	}
	if r.confirm > 0 {
		q.Set("confirm", strconv.Itoa(r.confirm))
	}
	if r.reply {
		q.Set("reply", "true")
	}
	if r.waits() && hasEnd {
		left := time.Until(end)
		if r.timeout == 0 {
			left = min(left, longestWait)
		}
		// Rounded up, because a zero would count as absent.
		left = (left + time.Millisecond - 1).Truncate(time.Millisecond)
		q.Set("timeout", max(left, time.Millisecond).String())
	}
	return q
}

// post sends the events once.
func (c *Client) post(ctx context.Context, q url.Values, r *putRequest, body []byte) *Response {
	out := &Response{}
	req, err := c.request(ctx, http.MethodPost, q, body)
	if err != nil {
		out.err = err
		return out
	}
	if r.keyed() {
		repeatable(req)
	}
	resp, answer, err := c.do(req)
	if resp != nil {
		out.take(headerReceipt(resp.Header))
	}
	switch {
	case err != nil:
		out.fail(err)
	case r.reply && resp.StatusCode == http.StatusOK && out.Id != "": // or it is a page of something in between
		out.Payload = answer
		if t := resp.Header.Get("Content-Type"); !isJSON(t) {
			out.ContentType = t
		}
	default:
		out.err = out.read(resp, answer)
	}
	return out
}

// fail keeps the error, and the id of an event that was stored in spite of it.
func (r *Response) fail(err error) {
	r.err = err
	if e, ok := bus.AsError(err); ok && e.EventID != "" {
		r.Id, r.Index = e.EventID, e.Index
	}
}

// read takes the receipts out of an answer. The headers of a single event are enough.
func (r *Response) read(resp *http.Response, answer []byte) error {
	var receipt Receipt
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(answer), []byte("[")) {
		if err = json.Unmarshal(answer, &r.Receipts); err == nil && len(r.Receipts) > 0 {
			receipt = r.Receipts[0]
		}
	} else {
		err = json.Unmarshal(answer, &receipt)
	}
	if err == nil && receipt.Id != "" {
		r.take(receipt)
		return nil
	}
	if r.Id != "" {
		return nil
	}
	return unexpected(resp, "wanted a receipt, found %.80q", answer)
}

func headerReceipt(h http.Header) Receipt {
	index, _ := strconv.ParseUint(h.Get("X-BUS-EVENT-INDEX"), 10, 64)
	at, _ := time.Parse(time.RFC3339Nano, h.Get("X-BUS-EVENT-CREATED-AT"))
	return Receipt{Id: h.Get("X-BUS-EVENT-ID"), Index: index, CreatedAt: at}
}

// encodeData turns what WithData was given into JSON. What would not come out at the other
// end as it went in is refused.
func encodeData(data any) (json.RawMessage, error) {
	switch d := data.(type) {
	case json.RawMessage:
		return rawJSON(d)
	case []byte:
		return rawJSON(d)
	case string:
		if !utf8.ValidString(d) {
			return nil, bus.ErrInvalidJSON.With("WithData has a string that is not UTF-8; send bytes with WithRaw")
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return nil, bus.ErrInvalidJSON.With("WithData has a %T that does not become JSON: %v", data, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func rawJSON(data []byte) (json.RawMessage, error) {
	if data == nil {
		return json.RawMessage("null"), nil
	}
	compact, err := bus.CompactJSON(data)
	if err != nil {
		return nil, fmt.Errorf("WithData has bytes that are not JSON, send those with WithRaw: %w", err)
	}
	return bytes.Clone(compact), nil
}
