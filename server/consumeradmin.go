package server

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// maxSettings is how many bytes the settings of a consumer have at most.
const maxSettings = 64 << 10

// consumerInfo is what /v1 says of a named consumer.
type consumerInfo struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	consumerSettings
	Connections     int       `json:"connections"`
	DeliveredIndex  uint64    `json:"delivered_index"` // it has come to here
	AckFloor        uint64    `json:"ack_floor"`       // and all up to here is settled
	Unacked         int       `json:"unacked"`         // delivered and not settled
	Waiting         int       `json:"waiting"`         // of those, what nobody has now
	Behind          uint64    `json:"behind"`          // indexes between delivered_index and the end of the log
	Redelivered     uint64    `json:"redelivered"`     // since the server was started, as dead
	Dead            uint64    `json:"dead"`
	OldestUnacked   uint64    `json:"oldest_unacked,omitempty"` // index
	OldestUnackedAt time.Time `json:"oldest_unacked_at,omitzero"`
	Stalled         bool      `json:"stalled"`
}

func (s *Server) consumerInfo(name consumerName, k *keptConsumer) consumerInfo {
	state := k.live.State()
	info := consumerInfo{
		Name: name.name, Namespace: name.namespace, consumerSettings: *k.settings,
		Connections: state.Connections, DeliveredIndex: state.Delivered, AckFloor: state.Floor, Unacked: state.Unacked, Waiting: state.Waiting,
		Behind: state.Behind, Redelivered: state.Redelivered, Dead: state.Dead, OldestUnacked: state.Oldest, Stalled: state.Stalled,
	}
	if state.Oldest > 0 {
		if e, err := s.readOne(name.namespace, state.Oldest); err == nil {
			info.OldestUnackedAt = e.CreatedAt
		}
	}
	return info
}

// listConsumers answers with all consumers of a namespace, by name.
func (s *Server) listConsumers(w http.ResponseWriter, r *http.Request) {
	namespace := r.PathValue("namespace")
	all, err := s.named.of(namespace)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	list := []consumerInfo{}
	for name, k := range all {
		list = append(list, s.consumerInfo(name, k))
	}
	slices.SortFunc(list, func(a, b consumerInfo) int { return strings.Compare(a.Name, b.Name) })
	s.writeJSON(w, http.StatusOK, map[string]any{"consumers": list})
}

// of returns the consumers of a namespace.
func (c *consumers) of(namespace string) (map[consumerName]*keptConsumer, error) {
	if err := c.server.checkNamespace(namespace); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(); err != nil {
		return nil, err
	}
	all := make(map[consumerName]*keptConsumer)
	for name, k := range c.known {
		if name.namespace == namespace && k.live != nil {
			copied := *k
			all[name] = &copied
		}
	}
	return all, nil
}

// consumer inspects, makes, changes and deletes one.
func (s *Server) consumer(w http.ResponseWriter, r *http.Request) {
	s.gate.isFull(w, r)
	name := consumerName{r.PathValue("namespace"), r.PathValue("consumer")}
	if err := s.checkConsumerPath(r, name); err != nil {
		s.fail(w, r, err)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.inspectConsumer(w, r, name, http.StatusOK)
	case http.MethodPut:
		s.makeConsumer(w, r, name)
	case http.MethodPatch:
		s.changeConsumer(w, r, name)
	case http.MethodDelete:
		if err := s.named.remove(r.Context(), name); err != nil {
			s.fail(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		s.methodNotAllowed(w, r, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS")
	}
}

func (s *Server) checkConsumerPath(r *http.Request, name consumerName) error {
	if r.URL.RawQuery != "" {
		return bus.ErrUnknownParameter.With("%s takes none, found %.80q", r.URL.Path, r.URL.RawQuery)
	}
	if err := s.checkNamespace(name.namespace); err != nil {
		return err
	}
	return checkConsumerName(name.name)
}

func (s *Server) inspectConsumer(w http.ResponseWriter, r *http.Request, name consumerName, status int) {
	k, err := s.named.kept(name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, status, s.consumerInfo(name, k))
}

// makeConsumer makes a consumer, or finds that it is there as it was asked for.
func (s *Server) makeConsumer(w http.ResponseWriter, r *http.Request, name consumerName) {
	asked, err := s.readSettings(w, r)
	if err == nil && len(asked.Subjects) == 0 {
		err = bus.ErrInvalidParameter.With(`subjects is missing, wanted patterns of the namespace, as in {"subjects":["%s.>"]}`, name.namespace)
	}
	if err == nil {
		err = s.checkSubjects(asked.Subjects)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	_, made, err := s.named.make(r.Context(), name, asked, func() (delivery.Progress, error) {
		spec, err := asked.patternsOf(name)
		if err != nil {
			return delivery.Progress{}, err
		}
		return s.startOf(r, name.namespace, spec, asked.Start)
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	s.inspectConsumer(w, r, name, status)
}

// changeConsumer changes what is named. Where a consumer began, and what it
// subscribes to, stays.
func (s *Server) changeConsumer(w http.ResponseWriter, r *http.Request, name consumerName) {
	asked, err := s.readSettings(w, r)
	if err == nil && (len(asked.Subjects) > 0 || asked.Start != "") {
		err = bus.ErrInvalidParameter.With("subjects and start of a consumer stay as they are; make another one, or move this one with POST %s/reset?start=", r.URL.Path)
	}
	if err == nil {
		_, err = s.named.change(r.Context(), name, func(c *consumerSettings) error { return c.take(asked) })
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.inspectConsumer(w, r, name, http.StatusOK)
}

// readSettings reads a body strictly.
func (s *Server) readSettings(w http.ResponseWriter, r *http.Request) (*consumerSettings, error) {
	held := s.budget.lease()
	defer held.end()
	body, err := readBody(w, r, held, maxSettings, maxSettings)
	if err != nil {
		return nil, err
	}
	asked := &consumerSettings{}
	if err := strictObject(body, "settings", asked.fields()); err != nil {
		return nil, err
	}
	if !asked.CreatedAt.IsZero() {
		return nil, bus.ErrInvalidParameter.With("created_at cannot be set")
	}
	if asked.pausing != nil {
		asked.Paused = *asked.pausing
	}
	asked.settle()
	return asked, asked.check(s.config.MaxInflight)
}

// fields are those that a request may have.
func (c *consumerSettings) fields() []bodyField {
	return []bodyField{
		{"subjects", "an array of patterns", &c.Subjects},
		{"start", "a text", &c.Start},
		{"redelivery", "a duration, as in \"5s\"", &c.Redelivery},
		{"redelivery_count", "a whole number", &c.RedeliveryCount},
		{"backoff", "an array of durations", &c.Backoff},
		{"inflight", "a whole number", &c.Inflight},
		{"idle_expiry", "a duration, as in \"30d\", or \"never\"", &c.IdleExpiry},
		{"paused", "true or false", &c.pausing},
		{"created_at", "nothing: it cannot be set", &c.CreatedAt},
	}
}

// take changes what is asked for.
func (c *consumerSettings) take(asked *consumerSettings) error {
	if asked.Redelivery != "" {
		c.Redelivery = asked.Redelivery
	}
	if asked.RedeliveryCount != nil {
		c.RedeliveryCount = asked.RedeliveryCount
	}
	if asked.Backoff != nil {
		c.Backoff = asked.Backoff
	}
	if asked.Inflight != 0 {
		c.Inflight = asked.Inflight
	}
	if asked.IdleExpiry != "" {
		c.IdleExpiry = expiry(asked.IdleExpiry)
	}
	if asked.pausing != nil {
		c.Paused = *asked.pausing
	}
	return nil
}

// resetConsumer moves a consumer: ?start= says where to, as for a stream.
func (s *Server) resetConsumer(w http.ResponseWriter, r *http.Request) {
	s.gate.isFull(w, r)
	if r.Method != http.MethodPost {
		s.methodNotAllowed(w, r, "POST, OPTIONS")
		return
	}
	name := consumerName{r.PathValue("namespace"), r.PathValue("consumer")}
	if err := s.moveConsumer(r, name); err != nil {
		s.fail(w, r, err)
		return
	}
	s.inspectConsumer(w, r, name, http.StatusOK)
}

func (s *Server) moveConsumer(r *http.Request, name consumerName) error {
	p, err := parseParams(r.URL.RawQuery, []string{"start"})
	if err != nil {
		return err
	}
	start := p.text("start")
	if p.err != nil {
		return p.err
	}
	if start == "" {
		return bus.ErrInvalidParameter.With("start is missing, wanted oldest, newest, an index, an event id, a time or an age, as for a stream")
	}
	if err := checkStart(start); err != nil {
		return err
	}
	c, err := s.named.find(name.namespace, name.name)
	if err != nil {
		return err
	}
	at, err := s.startOf(r, name.namespace, c.Spec().Patterns, start)
	if err != nil {
		return err
	}
	return c.Reset(at)
}

var _ delivery.Journal = (*consumers)(nil)
