package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// Waits before the keys of a namespace are read again after a failed read.
const (
	keyRetryMin = 100 * time.Millisecond
	keyRetryMax = 10 * time.Second
)

// keyLoad reads the keys of one namespace's last window from its log, so that a
// repeat is known across a restart. Until they are known, a publish with a key
// cannot be told from a repeat: it waits, or is refused once a read has failed.
// Publishes without a key do not come here.
type keyLoad struct {
	server    *Server
	namespace string
	since     time.Time
	at, end   uint64        // what is to be read; 0: not known yet
	done      chan struct{} // closed once the keys are known
	failed    chan struct{} // closed by the first read that fails

	mu      sync.Mutex // guards problem
	problem string     // why they are not known; "" while nothing has failed
}

// keysOf returns what is known of the keys of a namespace, nil when it is not
// declared any more.
func (s *Server) keysOf(namespace string) *keyLoad {
	load, _ := s.keys.Load(namespace)
	l, _ := load.(*keyLoad)
	return l
}

// loadKeys has the keys of namespaces read. It does not wait.
func (s *Server) loadKeys(namespaces []string) {
	since := time.Now().Add(-s.config.DedupWindow)
	var loads []*keyLoad
	for _, namespace := range namespaces {
		load := &keyLoad{server: s, namespace: namespace, since: since, done: make(chan struct{}), failed: make(chan struct{})}
		s.keys.Store(namespace, load)
		loads = append(loads, load)
	}
	s.loading.Go(func() { s.readKeys(loads) })
}

// readKeys reads one namespace after the other. One that cannot be read goes on
// by itself and does not hold up the others.
func (s *Server) readKeys(loads []*keyLoad) {
	for _, load := range loads {
		if s.config.DedupKeys <= 0 {
			close(load.done)
		} else if err := load.read(); err != nil {
			load.fail(err)
			s.loading.Go(load.retry)
		}
	}
}

// retry reads again until it works or the server stops.
func (l *keyLoad) retry() {
	close(l.failed)
	if l.server.drained.Err() == nil {
		l.server.log.Error("the keys of a namespace cannot be read; events with a key are refused until they can", "namespace", l.namespace, "error", l.waitsFor())
	}
	for wait := keyRetryMin; ; wait = min(2*wait, keyRetryMax) {
		select {
		case <-time.After(wait):
		case <-l.server.drained.Done():
			return
		}
		err := l.read()
		if err == nil {
			l.server.log.Info("the keys of a namespace are known now", "namespace", l.namespace)
			return
		}
		l.fail(err)
	}
}

func (l *keyLoad) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = err.Error()
}

// waitsFor says why the keys are not known, "" while that is nobody's fault.
func (l *keyLoad) waitsFor() string {
	if l == nil {
		return ""
	}
	select {
	case <-l.done:
		return ""
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem
}

// read goes on where the last one failed, and closes done at the end. A server
// that stops ends it too: with an error, for who waits must not take what was
// read so far for all.
func (l *keyLoad) read() error {
	s := l.server
	if l.end == 0 {
		from, err := s.engine.IndexAt(s.drained, l.namespace, l.since)
		if err != nil {
			return fmt.Errorf("index at %s: %w", l.since.Format(time.RFC3339), err)
		}
		l.at = from
		_, l.end = s.engine.Bounds(l.namespace) // what comes later is committed to the memory by its publish
	}
	reader := s.engine.Reader(l.namespace, l.at)
	defer reader.Close()
	for l.at < l.end && s.drained.Err() == nil {
		events, err := reader.Next()
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && damage.Next > 0 {
			l.at = damage.Next
			reader.Seek(l.at)
			continue
		}
		if removed, ok := bus.AsRemoved(err); ok { // with its key: a repeat of it is stored again
			l.at = removed.Next
			reader.Seek(l.at)
			continue
		}
		if damage, ok := errors.AsType[*bus.DamageError](err); ok { // no try will read them
			s.log.Error("keys of events that are damaged are not known; repeats of them will be stored again", "namespace", l.namespace, "error", damage)
			l.at = l.end
			break
		}
		if err == io.EOF {
			l.at = l.end
			break
		}
		if err != nil {
			return err
		}
		s.remember(l.namespace, events)
		l.at = events[len(events)-1].Index + 1
	}
	if err := s.drained.Err(); err != nil && l.at < l.end {
		return fmt.Errorf("the server is stopping: %w", err)
	}
	close(l.done)
	return nil
}

// remember keeps the keys of stored events. An event with an id of its own was
// published when it says; a restored or copied one was published long before
// it came here. Any other was committed within the window, whatever time its
// publisher gave it.
func (s *Server) remember(namespace string, events []bus.Event) {
	now, incarnation := time.Now(), s.engine.Incarnation(namespace)
	var entries []delivery.Entry
	for i := range events {
		e := &events[i]
		if e.Key == "" {
			continue
		}
		at := e.CreatedAt
		if gaveID(e, incarnation) && now.Sub(at) > s.config.DedupWindow {
			at = now
		}
		entries = append(entries, delivery.Entry{
			Key:     delivery.Key{Key: e.Key, Fingerprint: fingerprint(e)},
			Receipt: delivery.Receipt{Index: e.GivenIndex(), ID: e.Id, CreatedAt: e.CreatedAt},
			At:      at,
		})
	}
	if len(entries) > 0 {
		s.hub.Dedup().Load(namespace, entries)
	}
}

// gaveID reports whether an event got its id when it was committed where it stands.
// That of an event that waited, and stands where it came due, was committed before.
func gaveID(e *bus.Event, incarnation uint64) bool {
	if p, ok := bus.ParseEventID(e.Id); ok {
		return p.Incarnation == incarnation
	}
	return e.Waits() && bus.IsDelayedID(e.Id, incarnation)
}

// windowShrunk says that repeats may be stored again which the window should have
// caught. Publishing goes on: refusing new keys would be worse than forgetting old
// ones.
func (s *Server) windowShrunk(namespace string) {
	s.shrunk.warn(s.log, "keys are forgotten before --dedup-window has passed, because there are more than --dedup-keys: allow more, or shorten the window",
		"namespace", namespace, "dedup_keys", s.config.DedupKeys, "dedup_window", s.config.DedupWindow.String())
}

// awaitKeys waits until the keys of a namespace are known. A disk that does not
// give them now may do so later, so that the refusal says to come again.
func (s *Server) awaitKeys(ctx context.Context, namespace string) error {
	load := s.keysOf(namespace)
	if load == nil { // it was deleted meanwhile, which the append will say
		return nil
	}
	select {
	case <-load.done:
		return nil
	default:
	}
	select {
	case <-load.done:
	case <-load.failed:
		if problem := load.waitsFor(); problem != "" {
			return bus.ErrUnavailable.With("the keys of namespace %s cannot be read, so that a repeat would not be known: %s; nothing was stored, and events without a key are taken", namespace, problem)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
