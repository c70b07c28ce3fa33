package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"example.com/bus"
)

// What became of a dead letter.
const (
	letterRetried = "retried"
	letterDropped = "dropped"
)

// letterResolved is what the log of dead letters keeps of one that is done with.
// It is an event behind the letter, on the same subject.
type letterResolved struct {
	Resolved string    `json:"resolved"` // the id of the letter
	How      string    `json:"how"`
	At       time.Time `json:"at"`
}

// retryAnswer says what a retry has done: one of the last two is there.
type retryAnswer struct {
	Resolved    string         `json:"resolved"`
	How         string         `json:"how"`
	DeliveredTo string         `json:"delivered_to,omitempty"` // the named consumer alone
	Published   *retryReceipts `json:"published,omitempty"`    // anew, for everybody
}

type retryReceipts struct {
	ID    string `json:"id"`
	Index uint64 `json:"index"`
}

// claim makes a caller the only one who is at a letter, until release. A letter
// that is not open is refused.
func (o *openLetters) claim(l *letter) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.catchUp(); err != nil {
		return err
	}
	list := o.list(l.Namespace)
	if _, open := list.find(l.index); !open {
		if n := len(list.letters); list.beyond > 0 && n > 0 && l.index > list.letters[n-1].index {
			return bus.ErrTooManyDead.With("namespace %s has %d open, and only the oldest %d can be retried or dropped: begin with those", l.Namespace, n+list.beyond, n)
		}
		return resolvedBefore(l, "it was retried or dropped before; nothing was done now")
	}
	if _, taken := o.claims[l.index]; taken {
		return resolvedBefore(l, "somebody else retries or drops it now; nothing was done here")
	}
	o.claims[l.index] = struct{}{}
	return nil
}

func resolvedBefore(l *letter, what string) error {
	err := bus.ErrLetterResolved.With("dead letter %s of namespace %s: %s", l.id, l.Namespace, what)
	err.EventID = l.id
	return err
}

// release ends a claim.
func (o *openLetters) release(l *letter, resolved bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.claims, l.index)
	list := o.of[l.Namespace]
	if !resolved || list == nil {
		return
	}
	if _, there := list.find(l.index); there { // the entry that says so was not read yet
		list.remove(l.index)
		o.done[l.index] = struct{}{}
	}
}

func (o *openLetters) isOpen(l *letter) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.catchUp(); err != nil {
		return false, err
	}
	list := o.list(l.Namespace)
	_, open := list.find(l.index)
	n := len(list.letters)
	return open || list.beyond > 0 && n > 0 && l.index > list.letters[n-1].index, nil
}

// resolve does what act does, as the only one, and then notes durably that the
// letter is done with. A crash between the two leaves it open: what it is about
// is done once more rather than not at all.
func (s *Server) resolve(ctx context.Context, l *letter, how string, act func() error) error {
	if err := s.letters.claim(l); err != nil {
		return err
	}
	resolved := false
	defer func() { s.letters.release(l, resolved) }()
	if err := act(); err != nil {
		return err
	}
	entry := bus.Event{Subject: l.subject, TraceId: l.trace, Payload: entryOf(letterResolved{l.id, how, time.Now().UTC()})}
	err := s.engine.Append(ctx, bus.DeadNamespace, []bus.Event{entry})
	resolved = err == nil
	return err
}

func (s *Server) dropDead(r *http.Request) error {
	l, err := s.findLetter(r, nil)
	if err != nil {
		return err
	}
	return s.resolve(context.WithoutCancel(r.Context()), l, letterDropped, func() error { return nil })
}

// retryDead has what became a dead letter tried again.
func (s *Server) retryDead(w http.ResponseWriter, r *http.Request) {
	s.gate.isFull(w, r)
	if r.Method != http.MethodPost {
		s.methodNotAllowed(w, r, "POST, OPTIONS")
		return
	}
	answer, err := s.retryLetter(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, http.StatusOK, answer)
}

func (s *Server) retryLetter(r *http.Request) (*retryAnswer, error) {
	p, err := parseParams(r.URL.RawQuery, retryParams)
	if err != nil {
		return nil, err
	}
	publish := p.choice("publish", "true", "true", "false") == "true"
	if p.err != nil {
		return nil, p.err
	}
	l, err := s.findLetter(r, retryParams)
	if err != nil {
		return nil, err
	}
	answer := &retryAnswer{Resolved: l.id, How: letterRetried}
	ctx := context.WithoutCancel(r.Context()) // who leaves in the middle must not leave it half done
	return answer, s.resolve(ctx, l, letterRetried, func() error {
		original, copied, err := s.found(l)
		if err != nil {
			return err
		}
		delivered, err := s.redeliverLetter(l, original)
		if err != nil {
			return err
		}
		if delivered {
			answer.DeliveredTo = l.Consumer
			return nil
		}
		if !publish {
			return bus.ErrUnknownConsumer.With("nobody can be delivered dead letter %s alone: %s, or the event is gone; leave publish=false out to publish it again for everybody", l.id, l.whose())
		}
		answer.Published, err = s.publishLetter(ctx, l, cmp.Or(copied, original))
		return err
	})
}

func (l *letter) whose() string {
	if !l.named {
		return "its consumer has no name"
	}
	return "consumer " + l.Consumer + " is not there, or does not take its subject"
}

// redeliverLetter has the event delivered to the named consumer alone, at its
// first attempt, and reports false where there is no such consumer or event.
func (s *Server) redeliverLetter(l *letter, e *bus.Event) (bool, error) {
	if !l.named || e == nil {
		return false, nil
	}
	c, err := s.named.find(l.Namespace, l.Consumer)
	if errors.Is(err, bus.ErrUnknownConsumer) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(c.Spec().Patterns, func(p bus.Pattern) bool { return p.Match(e.Subject) }) {
		return false, nil // another consumer of that name
	}
	if err := c.Reopen(e.Index); err != nil {
		return false, err
	}
	again, err := s.named.find(l.Namespace, l.Consumer)
	return err == nil && again == c, nil // it may have been deleted meanwhile
}

// publishLetter publishes the event again. It has a key of its own, so that a
// retry whose end a crash took publishes once, within the window.
func (s *Server) publishLetter(ctx context.Context, l *letter, e *bus.Event) (*retryReceipts, error) {
	if e == nil {
		return nil, bus.ErrUnknownEvent.With("event %s is gone, and was too large for dead letter %s to have a copy; all that is left is to drop it", l.EventID, l.id)
	}
	anew := bus.Event{
		Subject: e.Subject, Payload: e.Payload, ContentType: e.ContentType, TraceId: e.TraceId,
		Headers: e.Headers, ResponseSubject: e.ResponseSubject, Key: "retry " + l.id,
	}
	if e.Timing != nil && !e.Timing.ExpiresAt.IsZero() {
		anew.Timing = &bus.Timing{ExpiresAt: e.Timing.ExpiresAt}
	}
	receipts, err := s.storeNewest(ctx, l, anew)
	if err != nil {
		return nil, err
	}
	return &retryReceipts{receipts[0].ID, receipts[0].Index}, nil
}
