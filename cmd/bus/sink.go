package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"

	"example.com/bus"
	"example.com/bus/client"
	"example.com/bus/crypto"
	"example.com/bus/server/disk"
)

// sink is where restore and copy write: a directory, or a server.
type sink interface {
	// write stores the events, which are of one namespace, in their order, and
	// leaves out those whose id is there, and those whose id is that of an event
	// which this very log has lost.
	write(ctx context.Context, namespace string, events []bus.Event) (written, error)
	close() error
}

// written is what became of events; those in neither number were there.
type written struct {
	stored int
	lost   int // their ids are places of this log at which nothing can ever stand again

	last uint64 // where the last one stands here; 0: not known
}

// openSink opens what a flag names for the namespaces that will be written.
func openSink(ctx context.Context, place string, namespaces []string, ring *crypto.Keyring, log *slog.Logger) (sink, error) {
	if isURL(place) {
		if ring != nil {
			return nil, usageError("a secret is given for %s, but a server has its own; leave it out", shown(place))
		}
		return openHostSink(ctx, place, namespaces)
	}
	engine, err := openEngine(place, disk.Options{Namespaces: namespaces, MaxEvent: disk.MaxEventLimit, MaxDelayed: math.MaxInt32, Logger: log}, ring)
	if errors.Is(err, disk.ErrLocked) {
		return nil, hint(err, "to write into a running server give its URL instead of the directory")
	}
	if err != nil {
		return nil, err
	}
	return &dirSink{engine: engine, known: make(map[string]*known)}, nil
}

// dirSink writes into the logs of a directory, which it holds the lock of.
type dirSink struct {
	engine *disk.Engine

	mu    sync.Mutex        // guards the map; each known is for whoever writes that namespace
	known map[string]*known // by namespace
}

// close makes everything durable; only then may it be reported as done.
func (s *dirSink) close() error {
	for _, k := range s.known {
		k.close()
	}
	return s.engine.Close()
}

// write commits what is not there as one, all or nothing.
func (s *dirSink) write(ctx context.Context, namespace string, events []bus.Event) (written, error) {
	there := s.knownOf(namespace)
	fresh := make([]bus.Event, 0, len(events))
	var places []int                          // of the fresh ones among events
	seen := make(map[string]int, len(events)) // an id may stand twice in one batch
	lost := 0
	for i := range events {
		e := &events[i]
		have, err := there.has(ctx, e)
		if isLost(err) {
			lost++
			continue
		}
		if err != nil {
			return written{}, bus.AtLine(err, i+1)
		}
		if first, twice := seen[e.Id]; twice && !sameStored(&events[first], e) {
			return written{}, bus.AtLine(bus.ErrInvalidEvent.With("the id %s stands for two different events: the source is not what bus wrote", e.Id), i+1)
		} else if have || twice {
			continue
		}
		seen[e.Id] = i
		fresh, places = append(fresh, *e), append(places, i)
	}
	if len(fresh) == 0 {
		return written{lost: lost}, nil
	}
	err := s.engine.Append(ctx, namespace, fresh)
	if e, ok := bus.AsError(err); ok && (e.Line > 0 || len(fresh) == 1) {
		err = bus.AtLine(err, places[max(e.Line, 1)-1]+1)
	}
	if err != nil {
		return written{}, err // all or none
	}
	return written{stored: len(fresh), lost: lost, last: fresh[len(fresh)-1].Index}, nil
}

// readBack reads what a sink has, as streams have it.
func readBack(out sink, d *damages) followed {
	if dir, ok := out.(*dirSink); ok {
		there := newDirSource(dir.engine, d)
		there.delivered = true
		return there
	}
	there := newHostSource(out.(*hostSink).url, d)
	there.delivered = true
	return there
}

func (s *dirSink) knownOf(namespace string) *known {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[namespace] == nil {
		s.known[namespace] = newKnown(s.engine, namespace)
	}
	return s.known[namespace]
}

// isLost tells of an event that the log has lost and says so itself.
func isLost(err error) bool {
	damage, ok := errors.AsType[*bus.DamageError](err)
	return ok && !damage.Repaired.IsZero() || errors.Is(err, bus.ErrEventLost)
}

// hostSink writes through a server.
type hostSink struct {
	url    string
	client *client.Client
	end    *tail // where the one namespace that is written ends; nil: anywhere will do
}

// tail is where the log of a server is known to end. A write says so, and is refused
// where that is not so.
type tail struct {
	index uint64
	any   bool // it is not said: somebody else writes all the time
}

// expect makes a write depend on where the log ends.
func (t *tail) expect(options []client.PutOption) []client.PutOption {
	if t == nil || t.any {
		return options
	}
	return append(options, client.WithExpectedIndex(t.index))
}

func (t *tail) wrote(index uint64) {
	if t != nil {
		t.index = index
	}
}

// openHostSink makes sure that the server takes the namespaces before the
// first write.
func openHostSink(ctx context.Context, url string, namespaces []string) (sink, error) {
	infos, err := namespacesOf(ctx, url)
	if err != nil {
		return nil, hostError(err, url)
	}
	declared := make(map[string]bool)
	for _, info := range infos {
		declared[info.Name] = true
	}
	for _, name := range namespaces {
		if !declared[name] {
			return nil, fmt.Errorf("%s does not take namespace %s; start it with --namespaces that include it", shown(url), name)
		}
	}
	return &hostSink{url: url, client: client.NewClient(url)}, nil
}

func (s *hostSink) close() error { return nil }

// write leaves it to the server to find what is there: it answers a known id
// with a receipt that says so. A batch with an event that its log has lost is
// refused at that event, and is sent again without it, as with one that was deleted.
func (s *hostSink) write(ctx context.Context, namespace string, events []bus.Event) (all written, err error) {
	for rest := events; len(rest) > 0; {
		part, lost := rest, false
		did, err := s.put(ctx, part)
		removed := isRemoved(err) // it was there, and is not to come back
		if e, ok := bus.AsError(err); ok && (removed || errors.Is(e, bus.ErrEventLost)) {
			// Nothing of the batch is stored; what comes before it can be.
			part, lost = part[:max(e.Line, 1)-1], true
			did, err = s.put(ctx, part)
		}
		all.stored, all.last = all.stored+did.stored, max(all.last, did.last)
		if e, ok := bus.AsError(err); ok && e.Line > 0 {
			err = bus.AtLine(err, len(events)-len(rest)+e.Line)
		}
		if err != nil {
			return all, err
		}
		if rest = rest[len(part):]; lost {
			rest = rest[1:]
		}
		if lost && !removed {
			all.lost++
		}
	}
	return all, nil
}

// put stores a batch. A key may make the server take one event for another,
// which is an error here, since the event would be missing.
func (s *hostSink) put(ctx context.Context, events []bus.Event) (did written, err error) {
	if len(events) == 0 {
		return did, nil
	}
	resp := s.client.Put(ctx, s.end.expect([]client.PutOption{client.WithBatch(events...), client.WithTimeout(putTimeout)})...)
	err = resp.Error()
	if errors.Is(err, bus.ErrTooLarge) && len(events) > 1 {
		return s.halves(ctx, events)
	}
	if err != nil && len(events) == 1 {
		err = bus.AtLine(err, 1)
	}
	if err != nil {
		return did, hostError(err, s.url)
	}
	if len(resp.Receipts) != len(events) {
		return did, fmt.Errorf("%s answered %d receipts for %d events; is it a bus server?", shown(s.url), len(resp.Receipts), len(events))
	}
	for i, receipt := range resp.Receipts {
		if receipt.Id != events[i].Id {
			return did, fmt.Errorf("the server took event %s for a repeat of %s, which has the same key; restore into a directory with --path instead", events[i].Id, oneLine(receipt.Id))
		}
		if !receipt.Duplicate {
			did.stored++
			s.end.wrote(receipt.Index)
		} else if !sameMoment(receipt.Id, receipt.CreatedAt, events[i].CreatedAt) {
			return did, fmt.Errorf("the id %s is that of another event of the server, at index %d of %s; write into another one", receipt.Id, receipt.Index, bus.Namespace(events[i].Subject))
		}
		did.last = receipt.Index
	}
	return did, nil
}

// halves writes a batch that is over the server's limit in two.
func (s *hostSink) halves(ctx context.Context, events []bus.Event) (written, error) {
	half := len(events) / 2
	first, err := s.put(ctx, events[:half])
	if err != nil {
		return first, err
	}
	second, err := s.put(ctx, events[half:])
	if e, ok := bus.AsError(err); ok && e.Line > 0 {
		err = bus.AtLine(err, half+e.Line)
	}
	return written{stored: first.stored + second.stored, last: max(first.last, second.last)}, err
}
