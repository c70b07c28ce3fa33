package server

import (
	"sync/atomic"

	"example.com/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// What is limited, as /metrics and HTTP_API.md name it.
const (
	limitConnections       = "connections"
	limitStreams           = "streams"
	limitStreamsPerAddress = "streams_per_address"
	limitSubjects          = "subjects"
	limitPatternLength     = "pattern_length"
	limitInflight          = "inflight"
	limitInflightBytes     = "inflight_bytes"
	limitConsumers         = "consumers"
	limitDelayed           = "delayed"
	limitDedupKeys         = "dedup_keys"
	limitBuffered          = "buffered_bytes"
)

// Defaults of the limits that a process has, rather than a request.
const (
	defaultMaxConnections       = 20_000
	defaultMaxStreams           = 20_000
	defaultMaxStreamsPerAddress = 16_000
	defaultMaxConsumers         = 1_000
)

func (c *Config) limitDefaults() {
	setDefault(&c.MaxConnections, defaultMaxConnections)
	setDefault(&c.MaxStreams, defaultMaxStreams)
	setDefault(&c.MaxStreamsPerAddress, defaultMaxStreamsPerAddress)
	setDefault(&c.MaxSubjects, defaultMaxSubjects)
	setDefault(&c.MaxPatternLength, bus.MaxSubjectLen)
	c.MaxPatternLength = min(c.MaxPatternLength, bus.MaxSubjectLen)
	setDefault(&c.MaxInflight, defaultMaxInflight)
	setDefault(&c.MaxConsumers, defaultMaxConsumers)
}

// overLimit counts a refusal because of a limit that the process has, and tells
// whoever can raise it, now and then. It returns the error.
func (s *Server) overLimit(limit string, err error) error {
	s.metrics.overLimit(limit)
	s.crowded.warn(s.log, "requests are refused because a limit is reached", "limit", limit, "error", err)
	return err
}

// highest keeps the most that was asked for since the start.
type highest struct{ atomic.Int64 }

func (h *highest) saw(n int) {
	for old := h.Load(); int64(n) > old; old = h.Load() {
		if h.CompareAndSwap(old, int64(n)) {
			return
		}
	}
}

// asked is what requests have asked for at most, of the limits that hold for one
// request each.
type asked struct{ subjects, pattern highest }

// limitCollector tells how much of each limit is used, so that one can be warned
// before it is reached. It looks when somebody asks.
type limitCollector struct {
	server       *Server
	most, used   *prometheus.Desc
	keys, forgot *prometheus.Desc
}

func newLimitCollector(s *Server) *limitCollector {
	label, namespace := []string{"limit"}, []string{"namespace"}
	return &limitCollector{
		server: s,
		most:   prometheus.NewDesc("bus_limit", "How much there may be.", label, nil),
		used:   prometheus.NewDesc("bus_limit_used", "How much there is; of subjects and pattern_length, the most that was asked for.", label, nil),
		keys:   prometheus.NewDesc("bus_dedup_keys", "Idempotency keys that are remembered.", namespace, nil),
		forgot: prometheus.NewDesc("bus_dedup_forgotten_early_total", "Keys forgotten within the window, because newer ones needed the room.", namespace, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *limitCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.most, c.used, c.keys, c.forgot} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A limit of 0 is none.
func (c *limitCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.server
	keys, waiting, mayWait := 0, 0, 0
	for _, namespace := range s.engine.Namespaces() {
		kept, early := s.hub.Dedup().Kept(namespace)
		keys = max(keys, kept)
		info := s.engine.Inspect(namespace)
		waiting, mayWait = max(waiting, info.Delayed), max(mayWait, info.MaxDelayed)
		ch <- prometheus.MustNewConstMetric(c.keys, prometheus.GaugeValue, float64(kept), namespace)
		ch <- prometheus.MustNewConstMetric(c.forgot, prometheus.CounterValue, float64(early), namespace)
	}
	streams, byAddress := s.streams.used()
	inflight, mostInflight := s.hub.InflightBytes()
	for _, l := range []struct {
		name       string
		most, used int64
	}{
		{limitConnections, int64(s.gate.normal), s.gate.open.Load()}, // those above it are held back for probes
		{limitStreams, int64(s.streams.most), int64(streams)},
		{limitStreamsPerAddress, int64(s.streams.mostByAddr), int64(byAddress)},
		{limitSubjects, int64(s.config.MaxSubjects), s.asked.subjects.Load()},
		{limitPatternLength, int64(s.config.MaxPatternLength), s.asked.pattern.Load()},
		{limitInflight, int64(s.config.MaxInflight), int64(s.hub.MostInflight())},
		{limitInflightBytes, mostInflight, inflight},
		{limitConsumers, int64(s.config.MaxConsumers), int64(s.hub.MostConsumers())},
		{limitDelayed, int64(mayWait), int64(waiting)},
		{limitDedupKeys, int64(max(s.config.DedupKeys, 0)), int64(keys)},
		{limitBuffered, s.budget.most, s.budget.held.Load()},
	} {
		if (l.name == limitDedupKeys || l.name == limitDelayed) && l.most == 0 {
			continue // none are kept, or may wait, which is another thing than no limit
		}
		ch <- prometheus.MustNewConstMetric(c.most, prometheus.GaugeValue, float64(l.most), l.name)
		ch <- prometheus.MustNewConstMetric(c.used, prometheus.GaugeValue, float64(l.used), l.name)
	}
}
