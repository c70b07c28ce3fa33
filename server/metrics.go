package server

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// metrics are what /metrics tells. No label is unbounded: namespaces are
// declared, codes are ours, and subjects are never a label.
type metrics struct {
	registry   *prometheus.Registry
	events     *prometheus.CounterVec
	duplicates *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	sent       prometheus.Counter
	again      prometheus.Counter
	dead       prometheus.Counter
	verdicts   *prometheus.CounterVec
	gaps       *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	slow       prometheus.Counter
	released   *prometheus.CounterVec
	lateness   *prometheus.HistogramVec

	limited      *prometheus.CounterVec
	acceptErrors prometheus.Counter
}

func newMetrics(engine Engine, hub *delivery.Hub, version string) *metrics {
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		events:     counters("bus_events_published_total", "Events stored.", "namespace"),
		duplicates: counters("bus_events_duplicate_total", "Publishes whose key or id was known already.", "namespace"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bus_append_duration_seconds",
			Help:    "Time from a checked publish to its durability.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"namespace"}),
		sent:     counter("bus_deliveries_total", "Events written to streams, redeliveries included."),
		again:    counter("bus_redeliveries_total", "Deliveries that were not the first."),
		dead:     counter("bus_dead_letters_total", "Events given up after their last attempt."),
		verdicts: counters("bus_acks_total", "Events settled by consumers.", "verdict"),
		gaps:     counters("bus_gaps_total", "Gaps said in streams.", "reason"),
		refusals: counters("bus_refusals_total", "Requests refused.", "code"),
		released: counters("bus_delayed_delivered_total", "Events delivered that had waited for their delivery.", "namespace"),
		lateness: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bus_delayed_late_seconds",
			Help:    "Time from the moment at which an event that waited was due to its delivery.",
			Buckets: []float64{0.005, 0.02, 0.1, 0.5, 1, 5, 30, 300, 3600},
		}, []string{"namespace"}),
		slow: counter("bus_slow_evictions_total", "Streams let go because the peer did not read in time."),

		limited:      counters("bus_limit_refusals_total", "Requests refused because of a limit.", "limit"),
		acceptErrors: counter("bus_accept_errors_total", "Connections that could not be accepted, for want of descriptors or memory."),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "bus_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	}, func() float64 { return 1 })
	expired := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "bus_events_expired_total", Help: "Times that an event was passed over because it had expired: by the live end of a namespace, by a stream that reads the log, and instead of a redelivery.",
	}, func() float64 { return float64(hub.Expired()) })
	m.registry.MustRegister(expired, m.events, m.duplicates, m.latency, m.sent, m.again, m.dead, m.verdicts, m.gaps, m.refusals, m.slow, m.released, m.lateness, m.limited, m.acceptErrors, build,
		newEngineCollector(engine, hub), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, reason := range []string{delivery.ReasonDamage, delivery.ReasonRetention, delivery.ReasonDeleted, gapAhead, gapOtherLog} {
		m.gaps.WithLabelValues(reason) // there from the start: an alarm must not miss the first
	}
	for _, limit := range []string{limitConnections, limitStreams, limitStreamsPerAddress, limitSubjects, limitPatternLength, limitInflight, limitConsumers, limitDelayed, limitBuffered} {
		m.limited.WithLabelValues(limit)
	}
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) published(namespace string, receipts []receipt, took time.Duration) {
	duplicates := 0
	for i := range receipts {
		if receipts[i].Duplicate {
			duplicates++
		}
	}
	m.events.WithLabelValues(namespace).Add(float64(len(receipts) - duplicates))
	m.duplicates.WithLabelValues(namespace).Add(float64(duplicates))
	m.latency.WithLabelValues(namespace).Observe(took.Seconds())
}

// late takes events that had waited, and how late they were delivered.
func (m *metrics) late(namespace string, late []time.Duration) {
	m.released.WithLabelValues(namespace).Add(float64(len(late)))
	for _, d := range late {
		m.lateness.WithLabelValues(namespace).Observe(d.Seconds())
	}
}

func (m *metrics) delivered(n int)     { m.sent.Add(float64(n)) }
func (m *metrics) redelivered()        { m.again.Inc() }
func (m *metrics) deadLetter()         { m.dead.Inc() }
func (m *metrics) gap(reason string)   { m.gaps.WithLabelValues(reason).Inc() }
func (m *metrics) refused(code string) { m.refusals.WithLabelValues(code).Inc() }

func (m *metrics) settled(kind delivery.Kind, n int) {
	names := map[delivery.Kind]string{delivery.Ack: "ack", delivery.Nak: "nak", delivery.Term: "term", delivery.Wip: "wip"}
	m.verdicts.WithLabelValues(names[kind]).Add(float64(n))
}

// overLimit counts a refusal under the limit that it is for.
func (m *metrics) overLimit(limit string) { m.limited.WithLabelValues(limit).Inc() }

// engineCollector asks the engine when somebody looks, so that counting costs
// the publish path nothing.
type engineCollector struct {
	engine                               Engine
	hub                                  *delivery.Hub
	bytes, free, last, streams, impaired *prometheus.Desc

	behind, unacked, connections, stalled *prometheus.Desc
	subjects, delayed, delayedLost        *prometheus.Desc
	first, segments                       *prometheus.Desc
	gone, goneBytes, removed              *prometheus.Desc // counters
}

func newEngineCollector(engine Engine, hub *delivery.Hub) *engineCollector {
	label, consumerLabels := []string{"namespace"}, []string{"namespace", "consumer"}
	return &engineCollector{
		engine:      engine,
		hub:         hub,
		bytes:       prometheus.NewDesc("bus_log_bytes", "Size of the log.", label, nil),
		free:        prometheus.NewDesc("bus_disk_free_bytes", "Bytes that are free on the log's disk, where that is known.", label, nil),
		last:        prometheus.NewDesc("bus_log_last_index", "Index of the newest readable event.", label, nil),
		streams:     prometheus.NewDesc("bus_streams", "Streams that are connected.", label, nil),
		behind:      prometheus.NewDesc("bus_consumer_behind", "Indexes between where a named consumer has come to and the end of the log.", consumerLabels, nil),
		unacked:     prometheus.NewDesc("bus_consumer_unacked", "Events that a named consumer was delivered and has not settled.", consumerLabels, nil),
		connections: prometheus.NewDesc("bus_consumer_connections", "Connections that share the work of a named consumer.", consumerLabels, nil),
		stalled:     prometheus.NewDesc("bus_consumer_stalled", "1 while a named consumer has something to do and settles nothing.", consumerLabels, nil),
		subjects:    prometheus.NewDesc("bus_tracked_subjects", "Subjects whose last index is kept in memory.", label, nil),
		delayed:     prometheus.NewDesc("bus_delayed", "Events that wait for their delivery.", label, nil),
		delayedLost: prometheus.NewDesc("bus_delayed_lost_total", "Events that were deleted, or lost to damage, before they were due.", label, nil),
		first:       prometheus.NewDesc("bus_log_first_index", "Index of the oldest event kept; one past the newest when there is none.", label, nil),
		segments:    prometheus.NewDesc("bus_log_segments", "Files of the log.", label, nil),
		gone:        prometheus.NewDesc("bus_retention_deleted_events_total", "Events deleted by the retention.", label, nil),
		goneBytes:   prometheus.NewDesc("bus_retention_deleted_bytes_total", "Bytes of the log deleted by the retention.", label, nil),
		removed:     prometheus.NewDesc("bus_events_removed_total", "Events removed one by one, whose indexes stay.", []string{"namespace", "reason"}, nil),
		impaired:    prometheus.NewDesc("bus_namespace_impaired", "1 while the namespace takes no events.", label, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *engineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		c.bytes, c.free, c.first, c.last, c.segments, c.gone, c.goneBytes, c.removed, c.streams, c.impaired,
		c.behind, c.unacked, c.connections, c.stalled, c.subjects, c.delayed, c.delayedLost,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *engineCollector) Collect(ch chan<- prometheus.Metric) {
	for _, namespace := range c.engine.Namespaces() {
		info := c.engine.Inspect(namespace)
		stopped := 0.0
		if info.Problem != "" {
			stopped = 1
		}
		for desc, value := range map[*prometheus.Desc]float64{
			c.bytes: float64(info.Bytes), c.first: float64(info.First), c.last: float64(info.Last), c.segments: float64(info.Segments),
			c.streams: float64(c.hub.Streams(namespace)), c.impaired: stopped,
			c.subjects: float64(info.Subjects), c.delayed: float64(info.Delayed),
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, namespace)
		}
		for desc, value := range map[*prometheus.Desc]uint64{c.gone: info.Deleted.Events, c.goneBytes: info.Deleted.Bytes, c.delayedLost: info.DelayedLost} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), namespace)
		}
		for reason, value := range map[string]uint64{bus.RemovedDeleted: info.Removed.Deleted, bus.RemovedCompacted: info.Removed.Compacted, bus.RemovedExpired: info.Removed.Expired} {
			ch <- prometheus.MustNewConstMetric(c.removed, prometheus.CounterValue, float64(value), namespace, reason)
		}
		if info.FreeBytes != nil { // 0 is a full disk, and would ring where it is only not known
			ch <- prometheus.MustNewConstMetric(c.free, prometheus.GaugeValue, float64(*info.FreeBytes), namespace)
		}
		for _, consumer := range c.hub.Consumers(namespace) {
			c.collectConsumer(ch, namespace, consumer)
		}
	}
}

// collectConsumer tells of a named consumer. There are as many as are allowed.
func (c *engineCollector) collectConsumer(ch chan<- prometheus.Metric, namespace string, consumer *delivery.Consumer) {
	state := consumer.State()
	stalled := 0.0
	if state.Stalled {
		stalled = 1
	}
	for desc, value := range map[*prometheus.Desc]float64{
		c.behind: float64(state.Behind), c.unacked: float64(state.Unacked), c.connections: float64(state.Connections), c.stalled: stalled,
	} {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, namespace, consumer.Spec().Name)
	}
}
