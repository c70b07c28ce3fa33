package server

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"example.com/bus"
)

// publishForReply stores a request and answers with the first reply. The inbox
// stands before the request is stored, so the quickest reply finds it.
func (s *Server) publishForReply(w http.ResponseWriter, r *http.Request, e bus.Event, wish answerWish) {
	if e.ResponseSubject != "" {
		s.fail(w, r, bus.ErrInvalidParameter.With("reply=true makes an inbox of its own, found response_subject %q as well", e.ResponseSubject))
		return
	}
	leave, err := s.wait(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	e.ResponseSubject = bus.NewInbox()
	inbox := s.hub.Inbox(e.ResponseSubject)
	defer inbox.Close()
	receipts, err := s.store(r.Context(), []bus.Event{e}, wish.when)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if receipts[0].Duplicate {
		s.failStored(w, r, bus.ErrKeyConflict.With("the key was published before, and its reply is not kept; ask again without the key"), receipts[0])
		return
	}
	wish.held.end()
	ctx, cancel := s.answerContext(r, wish.timeout)
	defer cancel()
	reply, err := inbox.Wait(ctx)
	if err != nil {
		s.failStored(w, r, bus.ErrReplyTimeout.With("no reply %s; the event is stored as %s", s.waited(wish), receipts[0].ID), receipts[0])
		return
	}
	s.writeReply(w, receipts[0], reply)
}

func (s *Server) writeReply(w http.ResponseWriter, rc receipt, reply bus.Event) {
	s.setReceipt(w.Header(), rc)
	body, contentType := []byte(reply.Payload), reply.ContentType
	if contentType == "" {
		contentType = "application/json"
	}
	if contentType == "application/json" && len(body) == 0 {
		body = []byte("null")
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	s.setAnswerDeadline(w)
	w.Write(body)
}

// publishForConfirm stores an event and answers when enough consumers have
// acknowledged it.
func (s *Server) publishForConfirm(w http.ResponseWriter, r *http.Request, e bus.Event, wish answerWish) {
	leave, err := s.wait(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer leave()
	expected := s.hub.Expect(wish.confirm)
	defer expected.Close()
	receipts, err := s.store(r.Context(), []bus.Event{e}, wish.when)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	expected.Bind(receipts[0].ID)
	wish.held.end()
	ctx, cancel := s.answerContext(r, wish.timeout)
	defer cancel()
	count, err := expected.Wait(ctx)
	if err != nil {
		refusal := bus.ErrConfirmTimeout.With("%d of %d consumers acknowledged %s; the event is stored as %s", count, wish.confirm, s.waited(wish), receipts[0].ID)
		refusal.Confirmed, refusal.Wanted = &count, wish.confirm
		s.failStored(w, r, refusal, receipts[0])
		return
	}
	receipts[0].Confirmed = count
	s.accept(w, receipts[0])
}

// answerContext ends with the request, the timeout or the server.
func (s *Server) answerContext(r *http.Request, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	stop := context.AfterFunc(s.drained, cancel)
	return ctx, func() { stop(); cancel() }
}

// failStored refuses, and says that the event is stored all the same.
func (s *Server) failStored(w http.ResponseWriter, r *http.Request, e *bus.Error, rc receipt) {
	s.setReceipt(w.Header(), rc)
	e.EventID, e.Index = rc.ID, rc.Index
	s.fail(w, r, e)
}

// waited says how long was waited in vain.
func (s *Server) waited(wish answerWish) string {
	if s.draining.Load() {
		return "before the server stopped"
	}
	return "within " + wish.timeout.String()
}
