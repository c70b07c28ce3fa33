package server

import (
	_ "embed"
	"net/http"
	"strings"
)

//go:embed welcome.html
var welcomePage []byte

// wantsWelcome reports whether a person has opened the address in a browser: a
// page is asked for, and no subject is named. curl and EventSource never ask
// for text/html.
func wantsWelcome(r *http.Request) bool {
	return r.URL.RawQuery == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// welcome answers with a page instead of a problem document. The status stays
// 400, because the request names no subject; the page shows how to, live.
func (s *Server) welcome(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	s.setAnswerDeadline(w)
	w.WriteHeader(http.StatusBadRequest)
	w.Write(welcomePage)
}
