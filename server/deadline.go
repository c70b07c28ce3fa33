package server

import (
	"context"
	"net/http"
	"time"
)

// whenDrained calls f once the streams have to end, unless stop is called before.
// stop waits for an f that has begun: it must not touch a request that is over.
func (s *Server) whenDrained(f func()) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(s.drained, func() {
		defer close(done)
		f()
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

// setReadDeadline gives the body its time. Transports that know no deadlines
// (a test's recorder) go without.
func (s *Server) setReadDeadline(w http.ResponseWriter) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.config.BodyTimeout))
}

// setAnswerDeadline gives an answer its time, so that a peer that does not read
// cannot hold a connection and what was to be written for ever.
func (s *Server) setAnswerDeadline(w http.ResponseWriter) {
	s.setWriteDeadline(http.NewResponseController(w))
}

func (s *Server) setWriteDeadline(c *http.ResponseController) time.Time {
	deadline := time.Now().Add(s.config.WriteTimeout)
	c.SetWriteDeadline(deadline)
	return deadline
}

// clearDeadlines gives a connection its leisure back. net/http keeps looking
// whether the peer is gone while a publisher waits for confirmations, and a
// read deadline that passes meanwhile looks like that; a write deadline left
// behind would cut the next request on the connection.
func clearDeadlines(c *http.ResponseController) {
	c.SetReadDeadline(time.Time{})
	c.SetWriteDeadline(time.Time{})
}
