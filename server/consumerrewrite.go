package server

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"example.com/bus"
)

// The log of named consumers has an entry for each few acknowledgements. When it
// has grown to rewriteConsumersAt, and to several times of what there is to say, all
// that is said at its end once more, and what stands before is deleted.
const (
	rewriteConsumersAt = 64 << 20
	rewriteGrowth      = 4
	rewriteLookEvery   = 256 // entries between two looks at its size
	rewriteBatch       = 500 // settings in one commit
)

// grew looks now and then whether the log is to be written anew. It does not wait.
func (c *consumers) grew() {
	if c.written.Add(1)%rewriteLookEvery != 0 || c.server.engine.Inspect(bus.ConsumersNamespace).Bytes < c.rewriteAt.Load() || c.server.drained.Err() != nil {
		return
	}
	if c.rewriting.Swap(true) {
		return
	}
	go func() {
		defer c.rewriting.Store(false)
		if err := c.rewrite(context.Background()); err != nil {
			c.server.log.Warn("the log of named consumers could not be written anew; it is tried again later", "error", err)
		}
		bytes := c.server.engine.Inspect(bus.ConsumersNamespace).Bytes
		c.rewriteAt.Store(max(c.server.config.rewriteConsumers, rewriteGrowth*bytes))
	}()
}

// rewrite says all there is of every consumer at the end of the log, and deletes
// what stands before. Nothing is deleted before all of it is durable, so that a
// crash leaves what there was, some of it twice. Acknowledgements go on meanwhile.
func (c *consumers) rewrite(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(); err != nil {
		return err
	}
	_, before := c.server.engine.Bounds(bus.ConsumersNamespace)
	names := slices.SortedFunc(maps.Keys(c.known), func(a, b consumerName) int {
		return strings.Compare(consumerSubject(a), consumerSubject(b))
	})
	for some := range slices.Chunk(names, rewriteBatch) {
		if err := c.rewriteSettings(ctx, some); err != nil {
			return err
		}
	}
	for _, name := range names {
		if k := c.known[name]; k.live != nil {
			if err := k.live.Note(); err != nil {
				return err
			}
		}
	}
	return c.server.engine.Purge(ctx, bus.ConsumersNamespace, before)
}

// rewriteSettings says the settings of some consumers once more and, of those that
// nobody can use now, their place.
func (c *consumers) rewriteSettings(ctx context.Context, names []consumerName) error {
	var events []bus.Event
	for _, name := range names {
		k := c.known[name]
		entry := k.entry()
		if k.live != nil {
			entry.State = nil // it says so itself, in the order of its notes
		}
		payload, err := json.Marshal(entry)
		if err != nil {
			return err
		}
		events = append(events, bus.Event{Subject: consumerSubject(name), Payload: payload})
	}
	return c.server.engine.Append(ctx, bus.ConsumersNamespace, events)
}
