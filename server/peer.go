package server

import (
	"errors"
	"net/http"
	"time"
)

// peer is whoever reads a stream. It belongs to the stream's goroutine.
type peer interface {
	// write sends bytes at once, within the write deadline. The error is errSlow
	// for a peer that has not taken them by then; after any there is only end.
	write(out []byte) error
	// end is called once, with nothing after it. A clean end is one that the peer
	// can tell from a connection that broke.
	end(clean bool)
}

// errSlow is a write that met its deadline.
var errSlow = errors.New("the peer did not take a write in time")

// answerPeer is a peer that net/http writes to: over HTTP/2, for reads that have
// an end, and wherever the connection is not to be had.
type answerPeer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (s *Server) newAnswerPeer(w http.ResponseWriter) *answerPeer {
	return &answerPeer{w: w, control: http.NewResponseController(w), timeout: s.config.WriteTimeout}
}

func (p *answerPeer) write(out []byte) error {
	deadline := time.Now().Add(p.timeout)
	p.control.SetWriteDeadline(deadline)
	_, err := p.w.Write(out)
	if err == nil {
		err = p.control.Flush()
	}
	// HTTP/2 resets a stream whose deadline passes, also while nothing is written.
	p.control.SetWriteDeadline(time.Time{})
	if err != nil && !time.Now().Before(deadline) { // over HTTP/2 the error may not say so
		return errSlow
	}
	return err
}

// end leaves the rest to net/http: it ends the answer when the handler returns,
// cleanly unless a write has failed.
func (p *answerPeer) end(bool) { clearDeadlines(p.control) }
