package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"

	"example.com/bus"
)

// namespace inspects one and, for administrators, declares and deletes it.
func (s *Server) namespace(admin bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.gate.isFull(w, r)
		var err error
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			if err = noParameters(r); err != nil {
				break
			}
			s.inspectNamespace(w, r)
			return
		case http.MethodPut, http.MethodDelete:
			if !admin {
				err = adminOnly(r)
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
	if err := noParameters(r); err != nil {
		return err
	}
	if err := bus.CheckNamespace(name); err != nil {
		return err
	}
	retention, err := s.readRetention(w, r)
	if err != nil {
		return err
	}
	if retention != nil { // what is refused leaves nothing behind
		if err := s.engine.CheckRetention(*retention); err != nil {
			return err
		}
	}
	made, err := s.declared.declare(name)
	if err != nil {
		return err
	}
	if retention != nil {
		if err := s.declared.retain(name, *retention); err != nil {
			return err
		}
		s.log.Info("the retention of a namespace was changed", "namespace", name, "retention", *retention, "remote", r.RemoteAddr)
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
		s.log.Info("a namespace was declared", "namespace", name, "remote", r.RemoteAddr)
	}
	s.writeJSON(w, status, s.inspect(r.Context(), name))
	return nil
}

// readRetention reads the body of a declaration: how much is kept, nil when that is
// to stay as it is.
func (s *Server) readRetention(w http.ResponseWriter, r *http.Request) (*bus.RetentionInfo, error) {
	held := s.budget.lease()
	defer held.end()
	body, err := readBody(w, r, held, maxSettings, maxSettings)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return nil, err
	}
	var raw json.RawMessage
	if err := strictObject(body, "settings of the namespace", []bodyField{{"retention", "an object", &raw}}); err != nil {
		return nil, err
	}
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	asked := &bus.RetentionInfo{}
	err = strictObject(raw, "limits of the retention", []bodyField{
		{"max_age", "a duration, as in \"7d\"", &asked.MaxAge}, {"max_bytes", "a whole number", &asked.MaxBytes},
		{"max_events", "a whole number", &asked.MaxEvents}, {"discard", "old or new", &asked.Discard}, {"compact", "true or false", &asked.Compact},
	})
	if err != nil {
		return nil, err
	}
	age, ok := bus.ParseAge(cmp.Or(asked.MaxAge, "0"))
	switch discard := asked.Discard; {
	case !ok:
		return nil, bus.ErrInvalidParameter.With("max_age is %.80q, wanted a duration such as 36h or 7d", asked.MaxAge)
	case discard != "" && discard != "old" && discard != "new":
		return nil, bus.ErrInvalidParameter.With("discard is %.80q, wanted old or new", discard)
	}
	if asked.MaxAge = ""; age > 0 {
		asked.MaxAge = age.String()
	}
	asked.Discard = cmp.Or(asked.Discard, "old")
	return asked, nil
}

// purgeNamespace deletes the old end of a log.
func (s *Server) purgeNamespace(admin bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.gate.isFull(w, r)
		name := r.PathValue("namespace")
		err := s.checkNamespace(name)
		switch {
		case r.Method != http.MethodPost:
			s.methodNotAllowed(w, r, "POST, OPTIONS")
			return
		case !admin:
			err = adminOnly(r)
		case err == nil:
			err = s.purge(r, name)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.writeJSON(w, http.StatusOK, s.inspect(r.Context(), name))
	}
}

func (s *Server) purge(r *http.Request, name string) error {
	p, err := parseParams(r.URL.RawQuery, []string{"before"})
	if err != nil {
		return err
	}
	text := p.text("before")
	before, ok := indexStart(text)
	if p.err == nil && !ok {
		p.fail("before", text, "an index like #42 (in a URL %2342, or 42): events in front of it are deleted")
	}
	if p.err != nil {
		return p.err
	}
	if err := s.engine.Purge(r.Context(), name, before); err != nil {
		return err
	}
	s.log.Warn("a namespace was purged", "namespace", name, "before", before, "remote", r.RemoteAddr)
	return nil
}

func adminOnly(r *http.Request) error {
	return bus.ErrAdminOnly.With("%s %.200s: start the server with bus server --admin, or with --admin-addr for an address of its own", r.Method, r.URL.Path)
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
