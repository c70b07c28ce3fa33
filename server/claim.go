package server

import (
	"context"
	"crypto/sha256"
	"errors"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

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

// idClaim begins the name under which an id is held. No key can: keys have no
// control characters.
const idClaim = "\x00id "

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
			names = append(names, delivery.Key{Key: idClaim + e.Id, Fingerprint: fingerprint(e)})
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
			return c.atItem(err, i)
		}
	}
	return nil
}

// atItem says which event of a batch an error is about.
func (c *claim) atItem(err error, i int) error {
	if damage, ok := errors.AsType[*bus.DamageError](err); ok && !damage.Repaired.IsZero() {
		err = bus.ErrEventLost.With("%s", damage)
	}
	if removed, ok := bus.AsRemoved(err); ok {
		err = removed.Refusal()
	}
	if len(c.events) == 1 {
		return err
	}
	return bus.AtLine(err, i+1)
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
	have, err := c.server.readStored(ctx, c.namespace, index)
	if err != nil {
		return err
	}
	if fingerprint(have) != fingerprint(e) {
		clash := bus.ErrKeyConflict.With("the id %s is that of another event, at index %d", e.Id, have.GivenIndex())
		clash.EventID, clash.Index = e.Id, have.GivenIndex()
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
		if e := &c.events[i]; c.server.claimsKey(e) {
			keys, at = append(keys, delivery.Key{Key: e.Key, Fingerprint: fingerprint(e)}), append(at, i)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if err := c.server.awaitKeys(ctx, c.namespace); err != nil {
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
func (c *claim) append(ctx context.Context, when bus.Condition) ([]receipt, error) {
	var fresh []bus.Event
	for i := range c.events {
		if c.known[i] == nil {
			fresh = append(fresh, c.events[i])
		}
	}
	if len(fresh) > 0 {
		if err := c.server.appendIf(ctx, c.namespace, fresh, when); err != nil {
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
		if early := c.keys.Commit(commits...); early > 0 {
			c.server.windowShrunk(c.namespace)
		}
	}
	if c.ids != nil && c.server.config.DedupKeys > 0 {
		c.server.remember(c.namespace, fresh) // those with ids of their own; it refuses nothing
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
