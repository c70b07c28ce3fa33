package server

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/bus"
)

// Headers that a page of another origin may send and read.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	corsRequest = "Content-Type, Last-Event-ID, Idempotency-Key, If-Match, Cache-Control, Accept, Traceparent, Tracestate"
	corsAnswer  = "X-BUS-EVENT-ID, X-BUS-EVENT-CREATED-AT, X-BUS-EVENT-INDEX, X-BUS-DURABILITY, X-BUS-CONSUMER-ID, X-BUS-RESUME, X-BUS-GAP, X-BUS-MORE, Retry-After"
)

// origins decides which web pages may use the bus: those of its own origin, of
// this machine, and of the list. A browser tells the page's origin; without one
// it is no page's request.
type origins struct {
	all     bool
	exact   []string
	domains []origin // https://*.example.com
}

type origin struct{ scheme, suffix string }

// parseOrigins reads "*", "https://app.example.com" and
// "https://*.example.com".
func parseOrigins(list []string) (*origins, error) {
	o := &origins{}
	for _, text := range list {
		if text == "*" {
			o.all = true
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != text {
			return nil, bus.ErrInvalidParameter.With("origin %.80q: wanted *, https://app.example.com or https://*.example.com", text)
		}
		if suffix, ok := strings.CutPrefix(u.Host, "*."); ok {
			o.domains = append(o.domains, origin{u.Scheme, "." + suffix})
			continue
		}
		o.exact = append(o.exact, text)
	}
	return o, nil
}

func (o *origins) allowed(text, host string) bool {
	if o.all || slices.Contains(o.exact, text) {
		return true
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	if u.Host == host || isLoopback(u.Hostname()) {
		return true
	}
	return slices.ContainsFunc(o.domains, func(d origin) bool {
		return u.Scheme == d.scheme && strings.HasSuffix(u.Host, d.suffix)
	})
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// protect answers preflights, marks answers for allowed origins, and refuses
// other pages before anything is done: a form of a foreign page can POST
// without asking first.
func (o *origins) protect(s *Server, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clearDeadlines(http.NewResponseController(w)) // those of the request before on this connection
		if err := s.boundBody(w, r); err != nil {
			s.fail(w, r, err)
			return
		}
		text := r.Header.Get("Origin")
		h := w.Header()
		h.Add("Vary", "Origin")
		if text == "" {
			o.plain(s, next, w, r)
			return
		}
		if !o.allowed(text, r.Host) {
			s.fail(w, r, bus.ErrForbiddenOrigin.With("%.100q; start the server with --cors-origins to allow it", text))
			return
		}
		h.Set("Access-Control-Allow-Origin", text)
		h.Set("Access-Control-Expose-Headers", corsAnswer)
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsRequest)
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (o *origins) plain(s *Server, next http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		w.Header().Set("Allow", corsMethods)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	next.ServeHTTP(w, r)
}
