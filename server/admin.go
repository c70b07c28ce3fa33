package server

import (
	"context"
	"net/http"
	"runtime/debug"
	"time"

	"example.com/bus"
)

// admin adds what stands beside the data plane. admin says whether namespaces may
// be declared and deleted there; else all but the paths of consumers and dead
// letters only read.
func (s *Server) admin(mux *http.ServeMux, admin bool) {
	s.get(mux, "/livez", s.livez)
	s.get(mux, "/readyz", s.readyz)
	s.get(mux, "/version", s.version)
	s.get(mux, "/metrics", s.readMetrics(s.metrics.handler()))
	s.get(mux, "/v1/time", s.time)
	s.get(mux, "/v1/namespaces", s.listNamespaces)
	mux.HandleFunc("/v1/namespaces/{namespace}", s.namespace(admin))
	mux.HandleFunc("/v1/namespaces/{namespace}/purge", s.purgeNamespace(admin))
	mux.HandleFunc("/v1/namespaces/{namespace}/events/{event}", s.event(admin))
	mux.HandleFunc("/v1/namespaces/{namespace}/delayed", s.listDelayed)
	s.get(mux, "/v1/namespaces/{namespace}/consumers", s.listConsumers)
	mux.HandleFunc("/v1/namespaces/{namespace}/consumers/{consumer}", s.consumer)
	mux.HandleFunc("/v1/namespaces/{namespace}/consumers/{consumer}/reset", s.resetConsumer)
	mux.HandleFunc("/v1/namespaces/{namespace}/dead", s.listDead)
	mux.HandleFunc("/v1/namespaces/{namespace}/dead/{id}", s.deadLetter)
	mux.HandleFunc("/v1/namespaces/{namespace}/dead/{id}/retry", s.retryDead)
}

// get serves GET and HEAD, and refuses other verbs and any parameter.
func (s *Server) get(mux *http.ServeMux, path string, handle http.HandlerFunc) {
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		s.gate.isFull(w, r) // it is answered all the same, and makes room for the next
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.methodNotAllowed(w, r, "GET, HEAD, OPTIONS")
			return
		}
		if path != "/metrics" {
			if err := noParameters(r); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		handle(w, r)
	})
}

func noParameters(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	return bus.ErrUnknownParameter.With("%s takes none, found %.80q", r.URL.Path, r.URL.RawQuery)
}

func (s *Server) readMetrics(metrics http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.setAnswerDeadline(w)
		metrics.ServeHTTP(w, r)
	}
}

// livez: would a restart help? A server that answers needs none.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	s.writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

// readyz: should traffic come here? Not while the server stops, and not while
// a namespace cannot take events, or none with a key.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Status   string            `json:"status"`
		Problems map[string]string `json:"problems,omitempty"`
	}{Status: "ready", Problems: make(map[string]string)}
	status := http.StatusOK
	for _, namespace := range s.engine.Namespaces() {
		problem := s.engine.Inspect(namespace).Problem
		if waits := s.keysOf(namespace).waitsFor(); problem == "" && waits != "" {
			problem = "events with a key are refused, because the keys that were used cannot be read: " + waits
		}
		if problem != "" {
			answer.Problems[namespace] = problem
			answer.Status, status = "impaired", http.StatusServiceUnavailable
		}
	}
	for namespace, problem := range s.declared.problems() {
		answer.Problems[namespace] = problem
		answer.Status, status = "impaired", http.StatusServiceUnavailable
	}
	if s.draining.Load() {
		answer.Status, status = "stopping", http.StatusServiceUnavailable
	}
	s.writeJSON(w, status, answer)
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	answer := map[string]string{"version": s.config.Version}
	if info, ok := debug.ReadBuildInfo(); ok {
		answer["go"] = info.GoVersion
	}
	s.writeJSON(w, http.StatusOK, answer)
}

// time lets a client compare clocks: ages in start= are by the server's.
func (s *Server) time(w http.ResponseWriter, _ *http.Request) {
	now := time.Now().UTC()
	s.writeJSON(w, http.StatusOK, map[string]any{"now": now.Format(time.RFC3339Nano), "unix_ns": now.UnixNano()})
}

func (s *Server) listNamespaces(w http.ResponseWriter, r *http.Request) {
	list := []bus.NamespaceInfo{}
	for _, namespace := range s.engine.Namespaces() {
		list = append(list, s.inspect(r.Context(), namespace))
	}
	s.writeJSON(w, http.StatusOK, map[string]any{"namespaces": list, "durability": s.engine.Durability()})
}

func (s *Server) inspect(ctx context.Context, namespace string) bus.NamespaceInfo {
	info := s.engine.Inspect(namespace)
	info.Streams = s.hub.Streams(namespace)
	info.Consumers = len(s.hub.Consumers(namespace))
	info.Rate = s.rate(ctx, namespace, info.Last+1)
	return info
}

// rateOver is the time that a rate is of.
const rateOver = time.Minute

// rate is how many events a second were committed of late. The log knows when, so
// that nothing is counted beside it; of one that cannot be asked, it is 0.
func (s *Server) rate(ctx context.Context, namespace string, next uint64) float64 {
	from, err := s.engine.IndexAt(ctx, namespace, time.Now().Add(-rateOver))
	if err != nil || from >= next {
		return 0
	}
	return float64(next-from) / rateOver.Seconds()
}

func (s *Server) inspectNamespace(w http.ResponseWriter, r *http.Request) {
	namespace := r.PathValue("namespace")
	if err := s.checkNamespace(namespace); err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, http.StatusOK, s.inspect(r.Context(), namespace))
}

// readEvent answers with one event, by its id or its index.
func (s *Server) readEvent(w http.ResponseWriter, r *http.Request) {
	namespace, name := r.PathValue("namespace"), r.PathValue("event")
	if err := s.checkNamespace(namespace); err != nil {
		s.fail(w, r, err)
		return
	}
	e, err := s.findEvent(r, namespace, name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	held := s.budget.lease() // until the last byte is written: the peer may take its time
	defer held.end()
	body := append(e.AppendJSON(make([]byte, 0, len(e.Payload)+256)), '\n') // as a stream has it, byte for byte
	size := min(len(e.Payload)+cap(body), s.config.MaxBuffered)             // it was stored, perhaps under greater limits
	if err := held.cover(size); err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeBody(w, http.StatusOK, body)
}
