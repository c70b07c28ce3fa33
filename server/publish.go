package server

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/bus"
)

// How long a publisher may wait for confirmations or a reply.
const (
	defaultAnswerWait = 5 * time.Second
	maxAnswerWait     = time.Hour
)

var publishParams = slices.Concat([]string{"subject", "key", "trace_id", "id", "response_subject", "header", "confirm", "reply", "timeout", "expected_index", "expected_subject_index"}, timingParams)

// answerWish is what a publisher demands beside durability.
type answerWish struct {
	when    bus.Condition
	confirm int
	reply   bool
	timeout time.Duration
	held    *lease // for the body, which is not needed any more once it is stored
}

func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		s.fail(w, r, bus.ErrUnavailable.With("the server is stopping; publish again in a moment"))
		return
	}
	p, err := parseParams(r.URL.RawQuery, publishParams)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	wish := answerWish{
		confirm: p.number("confirm", 0, 0, 1000),
		reply:   p.flag("reply"),
		timeout: p.duration("timeout", defaultAnswerWait, time.Millisecond, maxAnswerWait),
	}
	if p.err == nil && wish.reply && wish.confirm > 0 {
		p.err = bus.ErrInvalidParameter.With("confirm and reply stand side by side, wanted one of them")
	}
	if wish.when, err = condition(r, p); p.err == nil {
		p.err = err
	}
	if p.err == nil {
		p.err = checkEncoding(r)
	}
	if p.err != nil {
		s.fail(w, r, p.err)
		return
	}
	s.publishBody(w, r, p, wish)
}

// publishBody chooses by subject and media type what the body is.
func (s *Server) publishBody(w http.ResponseWriter, r *http.Request, p *params, wish answerWish) {
	media, err := mediaType(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	switch {
	case len(p.values["subject"]) > 0:
		s.publishRaw(w, r, p, wish, media)
	case media == "application/x-ndjson":
		s.publishStream(w, r, p, wish.when)
	case media == "" || media == "application/json" || media == "text/plain" || media == "application/x-www-form-urlencoded":
		s.publishJSON(w, r, p, wish)
	default:
		s.fail(w, r, bus.ErrUnsupportedMedia.With("%.80q; wanted application/json or application/x-ndjson, or ?subject= for a payload of any type", media))
	}
}

// publishRaw takes the body as the payload of one event.
func (s *Server) publishRaw(w http.ResponseWriter, r *http.Request, p *params, wish answerWish, media string) {
	e := bus.Event{
		Subject:         p.text("subject"),
		Key:             p.text("key"),
		TraceId:         p.text("trace_id"),
		Id:              p.text("id"),
		ResponseSubject: p.text("response_subject"),
	}
	setTiming(&e, p)
	err := p.err
	if err == nil {
		err = setHeaders(&e, p)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	wish.held = s.budget.lease()
	defer wish.held.end()
	body, err := readBody(w, r, wish.held, s.config.MaxEvent, s.config.MaxEvent)
	if err == nil {
		err = setPayload(&e, body, media, r.Header.Get("Content-Type"))
	}
	if err == nil {
		err = e.Check()
	}
	if err == nil {
		err = setKeyHeader(&e, r)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.publishOne(w, r, e, wish)
}

// setPayload keeps JSON as JSON. What curl sends with -d, and what says no
// type, is JSON too; anything else is bytes with their type.
func setPayload(e *bus.Event, body []byte, media, contentType string) error {
	guessed := media == "" || media == "application/x-www-form-urlencoded"
	if !guessed && media != "application/json" {
		e.ContentType, e.Payload = contentType, body
		return nil
	}
	if len(body) == 0 {
		return nil
	}
	payload, err := bus.CompactJSON(body)
	if err == nil {
		e.Payload = bus.NormalPayload(payload)
		return nil
	}
	if invalid, ok := bus.AsError(err); ok && guessed {
		return invalid.With("%s; a payload that is not JSON needs its Content-Type, as in -H 'Content-Type: text/plain'", invalid.Detail)
	}
	return err
}

// setKeyHeader lets the Idempotency-Key header stand for the key. It is a
// structured-field string, quoted, but many send it bare.
func setKeyHeader(e *bus.Event, r *http.Request) error {
	key := ""
	for i, value := range r.Header.Values("Idempotency-Key") {
		if len(value) >= 2 && strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) {
			value = value[1 : len(value)-1]
		}
		if i > 0 && value != key {
			return bus.ErrInvalidEvent.With("the header Idempotency-Key stands twice, as %.80q and %.80q, wanted one of them", key, value)
		}
		key = value
	}
	switch {
	case key == "":
		return nil
	case e.Key != "" && e.Key != key:
		return bus.ErrInvalidEvent.With("key %q and Idempotency-Key %.80q differ, wanted one of them", e.Key, key)
	}
	e.Key = key
	return e.Check()
}

// hasKeyHeader is for what has several events: also an empty one in front must
// not hide another.
func hasKeyHeader(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Idempotency-Key"), func(key string) bool { return key != "" })
}

// publishJSON takes one event or an array of them.
func (s *Server) publishJSON(w http.ResponseWriter, r *http.Request, p *params, wish answerWish) {
	for _, name := range append([]string{"key", "trace_id", "id", "response_subject", "header"}, timingParams...) {
		if len(p.list(name)) > 0 {
			s.fail(w, r, bus.ErrInvalidParameter.With("%s goes with ?subject=; in a JSON body it is a field", name))
			return
		}
	}
	wish.held = s.budget.lease()
	defer wish.held.end()
	body, err := readBody(w, r, wish.held, s.config.MaxEvent, s.config.MaxBatch)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if firstByte(body) == '[' {
		s.publishBatch(w, r, body, wish)
		return
	}
	e, err := bus.ParseEvent(body)
	if err == nil {
		err = setKeyHeader(&e, r)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.publishOne(w, r, e, wish)
}

func (s *Server) publishOne(w http.ResponseWriter, r *http.Request, e bus.Event, wish answerWish) {
	traceOf(r).mark(&e)
	if bus.IsInbox(e.Subject) && wish.when.Asks() {
		s.fail(w, r, bus.ErrInvalidParameter.With("an index is expected, but %q is an inbox, whose events have none", e.Subject))
		return
	}
	if bus.IsInbox(e.Subject) && e.Timing != nil {
		s.fail(w, r, bus.ErrInvalidParameter.With("delay, deliver_at, ttl and expires_at go with stored events, found the inbox %q", e.Subject))
		return
	}
	if bus.IsInbox(e.Subject) {
		s.publishInbox(w, r, e, wish)
		return
	}
	if err := s.checkNamespace(bus.Namespace(e.Subject)); err != nil {
		s.fail(w, r, err)
		return
	}
	if err := checkAnswered(e, wish); err != nil {
		s.fail(w, r, err)
		return
	}
	switch {
	case wish.reply:
		s.publishForReply(w, r, e, wish)
	case wish.confirm > 0:
		s.publishForConfirm(w, r, e, wish)
	default:
		receipts, err := s.store(r.Context(), []bus.Event{e}, wish.when)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.accept(w, receipts[0])
	}
}

func (s *Server) publishBatch(w http.ResponseWriter, r *http.Request, body []byte, wish answerWish) {
	events, err := bus.ParseEvents(body, s.config.MaxBatchEvents)
	if err == nil {
		err = s.checkBatch(events, wish, r)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if len(events) == 0 {
		s.acceptAll(w, nil)
		return
	}
	trace := traceOf(r)
	for i := range events {
		trace.mark(&events[i])
	}
	receipts, err := s.store(r.Context(), events, wish.when)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set(headerDurability, s.engine.Durability())
	s.acceptAll(w, receipts)
}

func (s *Server) checkBatch(events []bus.Event, wish answerWish, r *http.Request) error {
	if wish.reply || wish.confirm > 0 {
		return bus.ErrInvalidParameter.With("confirm and reply are for single events, found a batch")
	}
	if hasKeyHeader(r) {
		return bus.ErrInvalidEvent.With("Idempotency-Key is for single events; in a batch each event has its own key")
	}
	for i := range events {
		namespace := bus.Namespace(events[i].Subject)
		switch {
		case namespace == bus.InboxNamespace:
			return bus.ErrInvalidSubject.With("item %d goes to an inbox; inboxes take single events", i+1)
		case namespace != bus.Namespace(events[0].Subject):
			return bus.ErrMixedNamespaces.With("item 1 is of %q, item %d of %q", bus.Namespace(events[0].Subject), i+1, namespace)
		case len(events[i].Payload) > s.config.MaxEvent:
			return bus.ErrTooLarge.With("item %d has a payload of %d bytes, at most %d are allowed", i+1, len(events[i].Payload), s.config.MaxEvent)
		}
	}
	if err := wish.when.CheckEvents(events); err != nil || len(events) == 0 {
		return err
	}
	return s.checkNamespace(bus.Namespace(events[0].Subject))
}
