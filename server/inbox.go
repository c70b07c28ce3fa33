package server

import (
	"crypto/rand"
	"encoding/binary"
	"net/http"
	"sync/atomic"
	"time"

	"example.com/bus"
)

// idSource gives ids to events that live in memory only. Its incarnation is
// that of no log, so such an id never resumes anything.
type idSource struct {
	incarnation uint64
	last        *atomic.Uint64
}

func newIDSource() idSource {
	return idSource{incarnation: randomIncarnation(), last: new(atomic.Uint64)}
}

func randomIncarnation() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: the program ends if the system has no randomness
	return binary.LittleEndian.Uint64(b[:]) & (1<<bus.IncarnationBits - 1)
}

func (s idSource) next() string {
	return bus.FormatID(bus.Position{Incarnation: s.incarnation, Index: s.last.Add(1)})
}

// publishInbox routes an event to who listens on its inbox now. Nobody there
// is no error: whoever asked may have what it wanted, and gone.
func (s *Server) publishInbox(w http.ResponseWriter, r *http.Request, e bus.Event, wish answerWish) {
	if wish.reply || wish.confirm > 0 {
		s.fail(w, r, bus.ErrInvalidParameter.With("confirm and reply go with stored events, found the inbox %q", e.Subject))
		return
	}
	e, receivers := s.deliverInbox(e)
	s.accept(w, receipt{ID: e.Id, CreatedAt: e.CreatedAt, Receivers: &receivers})
}

func (s *Server) deliverInbox(e bus.Event) (bus.Event, int) {
	if e.Id == "" {
		e.Id = s.inboxes.next()
	}
	if e.CreatedAt.IsZero() {
		e.CreatedAt = time.Now().UTC()
	}
	return e, s.hub.Deliver(e.Subject, e)
}
