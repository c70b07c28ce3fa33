package server

import (
	"context"
	"strconv"
	"time"

	"example.com/bus"
)

// remove deletes a consumer. Its connections end.
func (c *consumers) remove(ctx context.Context, name consumerName) error {
	if _, err := c.kept(name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[name]
	if k == nil {
		return bus.ErrUnknownConsumer.With("consumer %.80q was deleted meanwhile", name.name)
	}
	if err := c.write(ctx, name, consumerEntry{Deleted: true}); err != nil {
		return err
	}
	delete(c.known, name)
	if k.live != nil {
		c.server.hub.Forget(k.live, bus.ErrUnknownConsumer.With("consumer %s was deleted", name.name))
	}
	return nil
}

// removeAll deletes the consumers of a namespace that is being deleted.
func (c *consumers) removeAll(ctx context.Context, namespace string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server.engine.Incarnation(bus.ConsumersNamespace) == 0 {
		return nil
	}
	if err := c.ready(); err != nil {
		return err
	}
	for name := range c.known {
		if name.namespace != namespace {
			continue
		}
		if err := c.write(ctx, name, consumerEntry{Deleted: true}); err != nil {
			return err
		}
		delete(c.known, name)
	}
	return nil
}

// change gives a consumer other settings; subjects and start stay.
func (c *consumers) change(ctx context.Context, name consumerName, change func(*consumerSettings) error) (*keptConsumer, error) {
	if _, err := c.kept(name); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[name]
	if k == nil {
		return nil, bus.ErrUnknownConsumer.With("consumer %.80q was deleted meanwhile", name.name)
	}
	settings := *k.settings
	if err := change(&settings); err != nil {
		return nil, err
	}
	spec, err := settings.spec(name)
	if err != nil {
		return nil, err
	}
	entry := consumerEntry{Settings: &settings, Incarnation: strconv.FormatUint(k.incarnation, 16)}
	if err := c.write(ctx, name, entry); err != nil {
		return nil, err
	}
	k.settings = &settings
	if err := k.live.Change(spec.Ack); err != nil {
		return nil, err
	}
	k.live.Pause(settings.Paused)
	c.watch(k)
	return k, nil
}

// idleEvery is how often idle consumers are looked for.
const idleEvery = 30 * time.Second

// watch begins to look for idle consumers, once there is one with an expiry. The
// caller holds c.mu.
func (c *consumers) watch(k *keptConsumer) {
	if c.watching || k.settings == nil || k.settings.IdleExpiry == "" {
		return
	}
	c.watching = true
	go func() {
		ticker := time.NewTicker(idleEvery)
		defer ticker.Stop()
		for {
			select {
			case <-c.server.drained.Done():
				return
			case <-ticker.C:
				c.expire()
			}
		}
	}()
}

// expire deletes the consumers that nobody was connected to for their expiry.
func (c *consumers) expire() {
	for name, expiry := range c.idle() {
		if err := c.remove(context.Background(), name); err != nil {
			c.server.log.Error("an idle consumer could not be deleted; it will be tried again", "namespace", name.namespace, "consumer", name.name, "error", err)
			continue
		}
		c.server.log.Info("a consumer is deleted: nobody was connected for its idle_expiry", "namespace", name.namespace, "consumer", name.name, "idle_expiry", expiry)
	}
}

func (c *consumers) idle() map[consumerName]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := make(map[consumerName]string)
	for name, k := range c.known {
		if k.live == nil || k.settings.IdleExpiry == "" {
			continue
		}
		if expiry, ok := parseAge(k.settings.IdleExpiry); ok && k.live.IdleFor() > expiry {
			idle[name] = k.settings.IdleExpiry
		}
	}
	return idle
}
