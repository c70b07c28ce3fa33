package server

import (
	"net/http"
	"strings"

	"example.com/bus"
)

// namespace inspects one and, for administrators, declares and deletes it.
func (s *Server) namespace(admin bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.gate.isFull(w, r)
		var err error
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			if r.URL.RawQuery != "" {
				err = bus.ErrUnknownParameter.With("%s takes none, found %.80q", r.URL.Path, r.URL.RawQuery)
				break
			}
			s.inspectNamespace(w, r)
			return
		case http.MethodPut, http.MethodDelete:
			if !admin {
				err = bus.ErrAdminOnly.With("%s %.200s: start the server with bus server --admin, or with --admin-addr for an address of its own", r.Method, r.URL.Path)
				break
			}
			if r.Method == http.MethodPut {
				err = s.declareNamespace(w, r)
			} else {
				err = s.deleteNamespace(w, r)
			}
		default:
			s.methodNotAllowed(w, r, "GET, HEAD, PUT, DELETE, OPTIONS")
			return
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}
}

func (s *Server) declareNamespace(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("namespace")
	if r.URL.RawQuery != "" {
		return bus.ErrUnknownParameter.With("%s takes none, found %.80q", r.URL.Path, r.URL.RawQuery)
	}
	if err := bus.CheckNamespace(name); err != nil {
		return err
	}
	held := s.budget.lease()
	defer held.end()
	body, err := readBody(w, r, held, maxSettings, maxSettings)
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(string(body)); text != "" && text != "{}" {
		return bus.ErrInvalidJSON.With("the settings of a namespace are {}, found %.80q", text)
	}
	made, err := s.declared.declare(name)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
		s.log.Info("a namespace was declared", "namespace", name, "remote", r.RemoteAddr)
	}
	s.writeJSON(w, status, s.inspect(r.Context(), name))
	return nil
}

// deleteNamespace wants the name twice: nothing brings a log back.
func (s *Server) deleteNamespace(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("namespace")
	p, err := parseParams(r.URL.RawQuery, []string{"confirm"})
	if err != nil {
		return err
	}
	if confirm := p.text("confirm"); p.err == nil && confirm != name {
		p.fail("confirm", confirm, name+", to say that all its events may go")
	}
	if p.err != nil {
		return p.err
	}
	if err := s.checkNamespace(name); err != nil {
		return err
	}
	if err := s.declared.remove(r.Context(), name); err != nil {
		return err
	}
	s.log.Warn("a namespace was deleted", "namespace", name, "remote", r.RemoteAddr)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
