package server

import "github.com/prometheus/client_golang/prometheus"

// deadCollector tells how many dead letters are open. It says nothing while they
// are being read: 0 would end an alarm.
type deadCollector struct {
	server *Server
	open   *prometheus.Desc
}

func newDeadCollector(s *Server) *deadCollector {
	return &deadCollector{s, prometheus.NewDesc("bus_dead_letters", "Dead letters that were neither retried nor dropped.", []string{"namespace"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *deadCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.open }

// Collect implements prometheus.Collector.
func (c *deadCollector) Collect(ch chan<- prometheus.Metric) {
	counts, known := c.server.letters.count()
	if !known {
		return
	}
	for _, namespace := range c.server.engine.Namespaces() {
		ch <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(counts[namespace]), namespace)
	}
}
