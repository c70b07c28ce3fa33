package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

func randomIncarnation() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: the program ends if the system has no randomness
	return binary.LittleEndian.Uint64(b[:]) & (1<<bus.IncarnationBits - 1)
}

// store appends events of one namespace as one commit, leaving out those whose
// key or chosen id is known already: they are answered with the receipt of the
// event that has it. All or none.
func (s *Server) store(ctx context.Context, events []bus.Event) ([]receipt, error) {
	namespace := bus.Namespace(events[0].Subject)
	start := time.Now()
	receipts, err := s.storeNew(ctx, namespace, events)
	if err != nil {
		return nil, err
	}
	s.metrics.published(namespace, receipts, time.Since(start))
	return receipts, nil
}

func (s *Server) storeNew(ctx context.Context, namespace string, events []bus.Event) ([]receipt, error) {
	if !s.claimsAny(events) {
		if err := s.engine.Append(ctx, namespace, events); err != nil {
			return nil, err
		}
		receipts := make([]receipt, len(events))
		for i := range events {
			receipts[i] = receiptOf(&events[i])
		}
		return receipts, nil
	}
	c := &claim{server: s, namespace: namespace, events: events, known: make([]*receipt, len(events))}
	defer c.release()
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	return c.append(ctx)
}

func receiptOf(e *bus.Event) receipt {
	return receipt{ID: e.Id, Index: e.Index, CreatedAt: e.CreatedAt}
}

// claimsAny reports whether an event has a key or an id that may be known.
func (s *Server) claimsAny(events []bus.Event) bool {
	for i := range events {
		if events[i].Id != "" || s.claimsKey(&events[i]) {
			return true
		}
	}
	return false
}

func (s *Server) claimsKey(e *bus.Event) bool { return e.Key != "" && s.config.DedupKeys > 0 }

// fingerprint is what two publishes with one key must have in common.
func fingerprint(e *bus.Event) (f [16]byte) {
	h := sha256.New()
	for _, part := range []string{e.Subject, e.ContentType} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(e.Payload)
	copy(f[:], h.Sum(nil))
	return f
}

// claim holds the keys and ids of events while they are appended, so that two
// requests with one key store one event. Ids come before keys in every
// request, so no two of them can wait for each other.
type claim struct {
	server    *Server
	namespace string
	events    []bus.Event
	known     []*receipt // by event: the receipt of the event that has its key or id
	ids, keys *delivery.Reservation
}

func (c *claim) take(ctx context.Context) error {
	if err := c.takeIDs(ctx); err != nil {
		return err
	}
	return c.takeKeys(ctx)
}

// takeIDs holds chosen ids only while they are appended: afterwards the log
// itself knows them.
func (c *claim) takeIDs(ctx context.Context) (err error) {
	var names []delivery.Key
	for i := range c.events {
		if e := &c.events[i]; e.Id != "" {
			names = append(names, delivery.Key{Key: "id " + e.Id, Fingerprint: fingerprint(e)})
		}
	}
	if len(names) == 0 {
		return nil
	}
	if c.ids, _, err = c.server.hub.Dedup().BeginBatch(ctx, c.namespace, names); err != nil {
		return err
	}
	for i := range c.events {
		if c.events[i].Id == "" {
			continue
		}
		if err := c.findID(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// findID looks whether the log has an event with this id. The same event again
// is a repeat; another one is a clash.
func (c *claim) findID(ctx context.Context, i int) error {
	e := &c.events[i]
	index, err := c.server.engine.Find(ctx, c.namespace, e.Id)
	if errors.Is(err, bus.ErrUnknownEvent) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := c.server.readOne(c.namespace, index)
	if err != nil {
		return err
	}
	if fingerprint(have) != fingerprint(e) {
		clash := bus.ErrKeyConflict.With("the id %s is that of another event, at index %d", e.Id, index)
		clash.EventID, clash.Index = e.Id, index
		return clash
	}
	known := receiptOf(have)
	known.Duplicate = true
	c.known[i] = &known
	return nil
}

func (c *claim) takeKeys(ctx context.Context) error {
	var keys []delivery.Key
	var at []int // the event of each key
	for i := range c.events {
		if e := &c.events[i]; c.known[i] == nil && c.server.claimsKey(e) {
			keys, at = append(keys, delivery.Key{Key: e.Key, Fingerprint: fingerprint(e)}), append(at, i)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if err := c.server.awaitKeys(ctx); err != nil {
		return err
	}
	reservation, duplicates, err := c.server.hub.Dedup().BeginBatch(ctx, c.namespace, keys)
	if err != nil {
		return err
	}
	c.keys = reservation
	for j, d := range duplicates {
		if d != nil {
			c.known[at[j]] = &receipt{ID: d.ID, Index: d.Index, CreatedAt: d.CreatedAt, Duplicate: true}
		}
	}
	return nil
}

// append stores what is new. The keys count only once it is durable.
func (c *claim) append(ctx context.Context) ([]receipt, error) {
	var fresh []bus.Event
	for i := range c.events {
		if c.known[i] == nil {
			fresh = append(fresh, c.events[i])
		}
	}
	if len(fresh) > 0 {
		if err := c.server.engine.Append(ctx, c.namespace, fresh); err != nil {
			return nil, err
		}
	}
	receipts, commits, next := make([]receipt, len(c.events)), []delivery.Receipt(nil), 0
	for i := range c.events {
		if c.known[i] != nil {
			receipts[i] = *c.known[i]
			continue
		}
		receipts[i] = receiptOf(&fresh[next])
		next++
		if c.server.claimsKey(&c.events[i]) {
			commits = append(commits, delivery.Receipt{Index: receipts[i].Index, ID: receipts[i].ID, CreatedAt: receipts[i].CreatedAt})
		}
	}
	if c.keys != nil {
		c.keys.Commit(commits...)
	}
	return receipts, nil
}

// release lets go what was not committed, so that a repeat can succeed.
func (c *claim) release() {
	if c.ids != nil {
		c.ids.Abort()
	}
	if c.keys != nil {
		c.keys.Abort()
	}
}

// loadKeys reads the keys of the last window from the log, so that a repeat is
// known across a restart. Publishes with a key wait for it, others do not.
func (s *Server) loadKeys() {
	defer close(s.loaded)
	if s.config.DedupKeys <= 0 {
		return
	}
	since := time.Now().Add(-s.config.DedupWindow)
	for _, namespace := range s.engine.Namespaces() {
		if err := s.loadNamespace(namespace, since); err != nil && s.drained.Err() == nil {
			s.log.Warn("the keys of a namespace could not be read; repeats of older events will not be known", "namespace", namespace, "error", err)
		}
	}
}

func (s *Server) loadNamespace(namespace string, since time.Time) error {
	from, err := s.engine.IndexAt(s.drained, namespace, since)
	if err != nil {
		return fmt.Errorf("index at %s: %w", since.Format(time.RFC3339), err)
	}
	_, end := s.engine.Bounds(namespace) // what comes later is committed to the memory by its publish
	reader := s.engine.Reader(namespace, from)
	defer reader.Close()
	for from < end && s.drained.Err() == nil {
		events, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && damage.Next > 0 {
			from = damage.Next
			reader.Seek(from)
			continue
		}
		if err != nil {
			return err
		}
		s.remember(namespace, events)
		from = events[len(events)-1].Index + 1
	}
	return nil
}

func (s *Server) remember(namespace string, events []bus.Event) {
	var entries []delivery.Entry
	for i := range events {
		e := &events[i]
		if e.Key == "" {
			continue
		}
		entries = append(entries, delivery.Entry{
			Key:     delivery.Key{Key: e.Key, Fingerprint: fingerprint(e)},
			Receipt: delivery.Receipt{Index: e.Index, ID: e.Id, CreatedAt: e.CreatedAt},
		})
	}
	if len(entries) > 0 {
		s.hub.Dedup().Load(namespace, entries)
	}
}

func (s *Server) awaitKeys(ctx context.Context) error {
	select {
	case <-s.loaded:
		return nil
	default:
	}
	select {
	case <-s.loaded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
