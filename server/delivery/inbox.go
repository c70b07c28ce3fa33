package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/bus"
)

// inboxEvents is how many events may wait in one inbox. More end who listens,
// with ErrSlowInbox: an inbox has no log to fall back on, and nothing may be
// dropped silently.
const inboxEvents = 256

// inboxBytes is what they may weigh in all; one event may always wait.
const inboxBytes = 4 << 20

// inboxFull reports whether one more event would be too much.
func inboxFull(waiting []*bus.Event) bool {
	bytes := 0
	for _, e := range waiting {
		bytes += weigh(e)
	}
	return len(waiting) >= inboxEvents || bytes >= inboxBytes
}

// inboxes says who listens to which inbox subject.
type inboxes struct {
	mu        sync.RWMutex // guards listeners; stream.mu and Inbox.mu are taken under it
	listeners map[string][]listener
}

// listener is a stream or an Inbox.
type listener interface {
	receive(e *bus.Event) bool
	finish(err error)
}

func (i *inboxes) add(subjects []string, l listener) {
	if len(subjects) == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.listeners == nil {
		i.listeners = make(map[string][]listener)
	}
	for _, subject := range subjects {
		if !slices.Contains(i.listeners[subject], l) {
			i.listeners[subject] = append(i.listeners[subject], l)
		}
	}
}

func (i *inboxes) remove(subjects []string, l listener) {
	if len(subjects) == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, subject := range subjects {
		all := i.listeners[subject]
		at := slices.Index(all, l)
		if at < 0 {
			continue
		}
		if all = slices.Delete(all, at, at+1); len(all) > 0 {
			i.listeners[subject] = all
		} else {
			delete(i.listeners, subject)
		}
	}
}

func (i *inboxes) close() {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, all := range i.listeners {
		for _, l := range all {
			l.finish(ErrClosed)
		}
	}
}

// Deliver hands an event to everybody who listens to the inbox now, and returns
// how many took it. The event is not stored. It never waits.
func (h *Hub) Deliver(inbox string, e bus.Event) (receivers int) {
	h.inboxes.mu.RLock()
	defer h.inboxes.mu.RUnlock()
	for _, l := range h.inboxes.listeners[inbox] {
		if l.receive(&e) {
			receivers++
		}
	}
	return receivers
}

// receive queues an inbox event for the stream, or ends the stream when it does
// not keep up.
func (s *Stream) receive(e *bus.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.end != nil {
		return false
	}
	defer s.notify()
	if inboxFull(s.inbox) {
		s.end = ErrSlowInbox
		return false
	}
	s.inbox = append(s.inbox, e)
	return true
}

// takeInbox puts waiting inbox events into the chunk, as many as the window has
// room for. The caller holds s.mu.
func (s *Stream) takeInbox() {
	n := 0
	for n < len(s.inbox) && !s.full() && !s.limited() && s.launchInbox(s.inbox[n]) {
		n++
	}
	s.inbox = slices.Delete(s.inbox, 0, n)
	if len(s.inbox) == 0 {
		s.inbox = nil
	}
}

// launchInbox delivers one inbox event, unless the window has no room.
func (s *Stream) launchInbox(e *bus.Event) bool {
	if s.flights != nil && s.flights.launch(nil, e, time.Now()) == nil {
		s.starved = true
		return false
	}
	s.recent.add(e)
	s.deliver(e, 1, bus.InboxNamespace)
	return true
}

// Inbox collects what is sent to one inbox subject, for the server's own
// requests.
type Inbox struct {
	hub     *Hub
	subject string
	wake    chan struct{}

	mu    sync.Mutex // guards the rest
	queue []*bus.Event
	end   error
}

// Inbox starts listening to an inbox subject. The caller closes it.
func (h *Hub) Inbox(subject string) *Inbox {
	i := &Inbox{hub: h, subject: subject, wake: make(chan struct{}, 1)}
	h.inboxes.add([]string{subject}, i)
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	if closed {
		i.finish(ErrClosed)
	}
	return i
}

// Wait returns the next event, in the order of arrival. Errors: ctx's;
// ErrSlowInbox after too many that nobody fetched; ErrClosed. It is for one
// goroutine at a time.
func (i *Inbox) Wait(ctx context.Context) (bus.Event, error) {
	for {
		e, err := i.take()
		if e != nil {
			return *e, nil
		}
		if err != nil {
			return bus.Event{}, err
		}
		select {
		case <-ctx.Done():
			return bus.Event{}, ctx.Err()
		case <-i.wake:
		}
	}
}

func (i *Inbox) take() (*bus.Event, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.queue) == 0 {
		return nil, i.end
	}
	e := i.queue[0]
	i.queue = slices.Delete(i.queue, 0, 1)
	return e, nil
}

// Close stops listening. A second call does nothing.
func (i *Inbox) Close() {
	i.hub.inboxes.remove([]string{i.subject}, i)
	i.finish(ErrClosed)
}

func (i *Inbox) receive(e *bus.Event) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.end != nil {
		return false
	}
	defer i.notify()
	if inboxFull(i.queue) {
		i.end = ErrSlowInbox
		return false
	}
	i.queue = append(i.queue, e)
	return true
}

func (i *Inbox) finish(err error) {
	i.mu.Lock()
	if i.end == nil {
		i.end = err
	}
	i.mu.Unlock()
	i.notify()
}

func (i *Inbox) notify() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}
