package server

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// Limits and defaults of a subscription.
const (
	defaultMaxSubjects = 64 // on one stream
	maxNamespaces      = 16 // namespaces on one stream
	maxLimit           = 1_000_000
	defaultInflight    = 64
	defaultMaxInflight = 10_000
	defaultRedelivery  = 5 * time.Second
	minRedelivery      = 10 * time.Millisecond
	maxRedelivery      = 24 * time.Hour
	defaultAttempts    = 3
	maxAttempts        = 1_000_000
	maxWait            = time.Hour
	maxArrayBytes      = 4 << 20 // of one JSON array, which is held in memory
	maxArrayGaps       = 16      // found on the way of one array: they are in a header, and peers take 8 KiB or less
)

var subscribeParams = []string{
	"subject", "start", "ack", "redelivery", "redelivery_count", "inflight",
	"limit", "wait", "until", "last_event_id", "lastEventId", "consumer",
}

// subscription is a checked GET request.
type subscription struct {
	format     string // one of the media types below
	namespaces []string
	patterns   map[string][]bus.Pattern
	inboxes    []string
	start      string
	resume     string
	ack        *delivery.AckSpec
	consumer   string            // a name; "" for none
	asked      *consumerSettings // of it
	limit      int               // 0: none
	wait       time.Duration
	until      bool
}

// Media types of a stream.
const (
	typeSSE    = "text/event-stream"
	typeNDJSON = "application/x-ndjson"
	typeJSON   = "application/json"
)

// parseSubscription checks everything that can be checked before the stream
// begins, so that a mistake is a 4xx and never a silent stream.
func (s *Server) parseSubscription(r *http.Request) (*subscription, error) {
	p, err := parseParams(r.URL.RawQuery, subscribeParams)
	if err != nil {
		return nil, err
	}
	sub := &subscription{patterns: make(map[string][]bus.Pattern)}
	if err := s.parseSubjects(sub, p.list("subject")); err != nil {
		return nil, err
	}
	if sub.format, err = negotiate(r.Header.Values("Accept")); err != nil {
		return nil, err
	}
	sub.start = p.text("start")
	sub.resume, err = resumePoint(r, p)
	if err != nil {
		return nil, err
	}
	sub.limit = p.number("limit", 0, 1, maxLimit)
	sub.wait = p.duration("wait", 0, time.Millisecond, maxWait)
	sub.until = p.choice("until", "", "newest") != ""
	if sub.consumer = p.text("consumer"); sub.consumer != "" {
		if err := s.parseConsumer(sub, p); err != nil {
			return nil, err
		}
	} else {
		s.parseAck(sub, p)
	}
	if p.err != nil {
		return nil, p.err
	}
	return sub, sub.check(p)
}

func (s *Server) parseSubjects(sub *subscription, subjects []string) error {
	if len(subjects) == 0 {
		return bus.ErrMissingSubject.With("wanted ?subject=, as in GET /?subject=orders.*&start=oldest; publish with POST / and a body like {\"subject\":\"orders.created\",\"payload\":{}}")
	}
	if err := s.checkSubjects(subjects); err != nil {
		return err
	}
	for _, text := range subjects {
		pattern, err := bus.ParsePattern(text)
		if err != nil {
			return err
		}
		if bus.IsInbox(text) {
			if !slices.Contains(sub.inboxes, text) {
				sub.inboxes = append(sub.inboxes, text)
			}
			continue
		}
		if err := s.addPattern(sub, pattern); err != nil {
			return err
		}
	}
	slices.Sort(sub.namespaces)
	return nil
}

// checkSubjects holds the subjects of a stream to the limits of this server.
func (s *Server) checkSubjects(subjects []string) error {
	if most := s.config.MaxSubjects; len(subjects) > most {
		s.metrics.overLimit(limitSubjects)
		return bus.ErrInvalidParameter.With("subject stands %d times, at most %d are allowed on a stream; use wildcards, several streams, or bus server --max-subjects", len(subjects), most)
	}
	s.asked.subjects.saw(len(subjects))
	for _, text := range subjects {
		if most := s.config.MaxPatternLength; len(text) > most {
			s.metrics.overLimit(limitPatternLength)
			return bus.ErrInvalidSubject.With("the pattern has %d bytes, at most %d are allowed; bus server --max-pattern-length says how many", len(text), most)
		}
		s.asked.pattern.saw(len(text))
	}
	return nil
}

func (s *Server) addPattern(sub *subscription, pattern bus.Pattern) error {
	namespace := pattern.Namespace()
	if err := s.checkReadable(namespace); err != nil {
		return err
	}
	if !slices.Contains(sub.namespaces, namespace) {
		sub.namespaces = append(sub.namespaces, namespace)
	}
	if len(sub.namespaces) > maxNamespaces {
		return bus.ErrInvalidParameter.With("the subjects are of %d namespaces, at most %d are allowed on a stream", len(sub.namespaces), maxNamespaces)
	}
	sub.patterns[namespace] = append(sub.patterns[namespace], pattern)
	return nil
}

func (s *Server) parseAck(sub *subscription, p *params) {
	manual := p.choice("ack", "none", "none", "manual") == "manual"
	redelivery := p.duration("redelivery", defaultRedelivery, minRedelivery, maxRedelivery)
	attempts := max(p.number("redelivery_count", defaultAttempts, -maxAttempts, maxAttempts), 0) // older clients say "without end" below 0
	inflight := s.inflight(p)
	if manual {
		sub.ack = &delivery.AckSpec{Redelivery: redelivery, Attempts: attempts, Inflight: inflight}
		return
	}
	for _, name := range []string{"redelivery", "redelivery_count", "inflight"} {
		v := p.text(name)
		if d, ok := bus.ParseAge(v); v != "" && v != "0" && (!ok || d != 0) {
			p.fail(name, v, "ack=manual beside it")
		}
	}
}

// inflight reads the window. Who does not ask for one gets the usual, or the
// limit where that is smaller.
func (s *Server) inflight(p *params) int {
	most := s.config.MaxInflight
	if n, err := strconv.Atoi(p.text("inflight")); err == nil && n > most {
		s.metrics.overLimit(limitInflight)
	}
	return p.number("inflight", min(defaultInflight, most), 1, most)
}

// bounded reports whether the read has an end of its own.
func (sub *subscription) bounded() bool { return sub.limit > 0 || sub.wait > 0 || sub.until }

// check refuses what is wrong only together.
func (sub *subscription) check(p *params) error {
	if err := checkStart(sub.start); err != nil {
		return err
	}
	switch {
	case sub.format == typeJSON && !sub.bounded():
		return bus.ErrInvalidParameter.With("a JSON array needs an end: wanted limit=, wait= or until=newest, or Accept: application/x-ndjson for a stream without one")
	case sub.format == typeJSON && sub.ack != nil && sub.consumer == "":
		return bus.ErrInvalidParameter.With("ack=manual needs a stream to acknowledge on: wanted Accept: text/event-stream or application/x-ndjson")
	case sub.until && len(sub.inboxes) > 0:
		return bus.ErrInvalidParameter.With("until=newest does not go with an inbox, which has no end")
	case len(sub.patterns) == 0 && sub.start != "" && !slices.Contains([]string{"newest", "oldest", startLast}, sub.start):
		return bus.ErrInvalidParameter.With("start is %.80q, but an inbox keeps nothing to start from", sub.start)
	}
	return nil
}

// resumePoint returns what a reconnecting reader has seen. The header wins
// over the parameter that stands for it where headers cannot be set.
func resumePoint(r *http.Request, p *params) (string, error) {
	one, other := p.text("last_event_id"), p.text("lastEventId")
	if one != "" && other != "" && one != other {
		return "", bus.ErrInvalidParameter.With("last_event_id is %.80q and lastEventId %.80q, wanted one of them", one, other)
	}
	id := cmp.Or(r.Header.Get("Last-Event-ID"), one, other)
	if len(id) > maxResumeLen {
		return "", bus.ErrInvalidID.With("the resume point has %d bytes, at most %d are allowed", len(id), maxResumeLen)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return "", bus.ErrInvalidID.With("the resume point has %q at byte %d", id[i], i+1)
		}
	}
	return id, nil
}

// negotiate chooses the first acceptable type in the order of the header. No
// header, and a wildcard, mean Server-Sent Events.
func negotiate(accept []string) (string, error) {
	if len(accept) == 0 {
		return typeSSE, nil
	}
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil || params["q"] == "0" {
			continue
		}
		switch media {
		case typeSSE, "text/*", "*/*":
			return typeSSE, nil
		case typeNDJSON, typeJSON:
			return media, nil
		case "application/*":
			return typeNDJSON, nil
		}
	}
	return "", bus.ErrNotAcceptable.With("%.80q; wanted text/event-stream, application/x-ndjson or application/json", strings.Join(accept, ", "))
}
