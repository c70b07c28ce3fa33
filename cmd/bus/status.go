package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// statusPage tells machines how a mirror is: /livez, /readyz and /metrics, and
// nothing of what it copies.
type statusPage struct {
	mirror   *mirror
	listener net.Listener
	http     *http.Server
	ended    chan struct{} // closed when nothing is served any more; nil before serve
}

// openStatus listens, so that an address that is taken is an error before
// anything is done. Without an address there is nothing, which is ready to use.
func openStatus(address string, m *mirror) (*statusPage, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, usageError("--status-addr: %w; wanted a free HOST:PORT such as 127.0.0.1:2022", err)
	}
	s := &statusPage{mirror: m, listener: newFewConns(l, 16)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /metrics", s.metrics)
	s.http = &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	return s, nil
}

// serve begins to answer, in the background, once the feeds are there.
func (s *statusPage) serve() {
	if s == nil {
		return
	}
	s.mirror.log.Info("status is served", "addr", s.listener.Addr().String())
	ended := make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		_ = s.http.Serve(s.listener) // it says that it was closed
	}()
}

// close ends it at once: who asks for a status asks again.
func (s *statusPage) close() {
	if s == nil {
		return
	}
	_ = errors.Join(s.http.Close(), s.listener.Close()) // nothing is lost
	if s.ended != nil {
		<-s.ended
	}
}

// namespaceStatus is what /readyz says of a namespace.
type namespaceStatus struct {
	Behind  uint64  `json:"events_behind"`
	Seconds float64 `json:"seconds_behind"`
	Known   bool    `json:"known"` // the source has said how far it is
	Source  bool    `json:"source_up"`
	Target  bool    `json:"target_up"`
}

func (f *feed) status(now time.Time) namespaceStatus {
	events, age, known := f.lag.behind(now)
	return namespaceStatus{events, age.Seconds(), known, f.source.up(), f.drain.up()}
}

// ready answers 200 while every namespace is in step, or behind for less than
// --max-lag, and both ends do what they are asked to.
func (s *statusPage) ready(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Status     string                     `json:"status"`
		Namespaces map[string]namespaceStatus `json:"namespaces"`
	}{"ready", make(map[string]namespaceStatus)}
	code := http.StatusOK
	for _, f := range s.mirror.feeds {
		n := f.status(time.Now())
		answer.Namespaces[f.wanted.namespace] = n
		if !n.Known || !n.Source || !n.Target || n.Seconds > s.mirror.maxLag.Seconds() {
			answer.Status, code = "behind", http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // who has gone away is not told
}

// metrics answers in the text format of Prometheus. Names of namespaces have
// nothing to escape.
func (s *statusPage) metrics(w http.ResponseWriter, _ *http.Request) {
	var out strings.Builder
	for _, one := range mirrorMetrics {
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", one.name, one.help, one.name, one.kind)
		for _, f := range s.mirror.feeds {
			fmt.Fprintf(&out, "%s{namespace=%q} %g\n", one.name, f.wanted.namespace, one.value(f, f.status(time.Now())))
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	io.WriteString(w, out.String())
}

var mirrorMetrics = []struct {
	name, kind, help string
	value            func(*feed, namespaceStatus) float64
}{
	{"bus_mirror_events_behind", "gauge", "Events of the source behind the newest that was copied.", func(_ *feed, n namespaceStatus) float64 { return float64(n.Behind) }},
	{"bus_mirror_seconds_behind", "gauge", "For how long the target has been without one of them, at most the age of the newest that it has.", func(_ *feed, n namespaceStatus) float64 { return n.Seconds }},
	{"bus_mirror_copied_total", "counter", "Events that this process has stored at the target.", func(f *feed, _ namespaceStatus) float64 { return float64(f.lag.count()) }},
	{"bus_mirror_source_up", "gauge", "1 while the source does what it is asked to.", func(_ *feed, n namespaceStatus) float64 { return oneIf(n.Source) }},
	{"bus_mirror_target_up", "gauge", "1 while the target does what it is asked to.", func(_ *feed, n namespaceStatus) float64 { return oneIf(n.Target) }},
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
