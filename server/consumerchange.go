package server

import (
	"context"
	"errors"
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
	if k == nil || k.live == nil {
		return bus.ErrUnknownConsumer.With("consumer %.80q was deleted meanwhile", name.name)
	}
	return c.forget(ctx, name, k, func() error { return nil })
}

// forget deletes a consumer unless, when nobody can join any more, may refuses.
// The caller holds c.mu.
func (c *consumers) forget(ctx context.Context, name consumerName, k *keptConsumer, may func() error) error {
	err := c.server.hub.Forget(k.live, bus.ErrUnknownConsumer.With("consumer %s was deleted", name.name), func() error {
		if err := may(); err != nil {
			return err
		}
		return c.write(ctx, name, consumerEntry{Deleted: true})
	})
	if err == nil {
		delete(c.known, name)
	}
	return err
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
	if k == nil || k.live == nil {
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
	go c.every(idleEvery, c.expire)
}

// errInUse says that a consumer was idle when it was looked for, and is not now.
var errInUse = errors.New("somebody has connected")

// expire deletes the consumers that nobody was connected to for their expiry.
func (c *consumers) expire() {
	for name, k := range c.idle() {
		switch err := c.removeIdle(name, k); {
		case errors.Is(err, errInUse):
		case err != nil:
			c.server.log.Error("an idle consumer could not be deleted; it will be tried again", "namespace", name.namespace, "consumer", name.name, "error", err)
		default:
			c.server.log.Info("a consumer is deleted: nobody was connected for its idle_expiry", "namespace", name.namespace, "consumer", name.name, "idle_expiry", k.settings.IdleExpiry)
		}
	}
}

// removeIdle deletes a consumer if it is still the one that was idle, and still is.
func (c *consumers) removeIdle(name consumerName, was *keptConsumer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[name] != was {
		return errInUse
	}
	return c.forget(context.Background(), name, was, func() error {
		if !was.isIdle() {
			return errInUse
		}
		return nil
	})
}

// isIdle reports whether nobody was connected for the expiry, when there is one.
func (k *keptConsumer) isIdle() bool {
	if k.live == nil || k.settings.IdleExpiry == "" {
		return false
	}
	expiry, ok := bus.ParseAge(k.settings.IdleExpiry)
	return ok && k.live.IdleFor() > expiry
}

func (c *consumers) idle() map[consumerName]*keptConsumer {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := make(map[consumerName]*keptConsumer)
	for name, k := range c.known {
		if k.isIdle() {
			idle[name] = k
		}
	}
	return idle
}
