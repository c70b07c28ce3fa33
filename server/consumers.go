package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// consumers keeps the named consumers of a server: their settings and how far
// they have come are events of a log of the bus's own, _consumers_, a subject for
// each. Nothing of it is read before somebody asks for a consumer, unless there
// is such a log already.
type consumers struct {
	server *Server
	ends   map[string]uint64 // of the namespaces, when the server began

	written   atomic.Uint64 // entries, since the server began
	rewriteAt atomic.Int64  // bytes of the log
	rewriting atomic.Bool

	mu       patient // guards the rest, and is held while one is made, changed or deleted
	loaded   bool
	watching bool // for those that nobody uses any more
	tending  bool // likewise: consumers that nobody is connected to are seen to
	known    map[consumerName]*keptConsumer
}

// serve says whose consumers they are. Nothing is published meanwhile.
func (c *consumers) serve(s *Server) {
	c.server, c.ends, c.mu = s, make(map[string]uint64), make(patient, 1)
	c.rewriteAt.Store(s.config.rewriteConsumers)
	for _, namespace := range s.engine.Namespaces() {
		_, c.ends[namespace] = s.engine.Bounds(namespace)
	}
}

// began notes where a namespace stood when it was declared while the server runs,
// or before it took requests. What is below may have been delivered before.
func (c *consumers) began(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, c.ends[namespace] = c.server.engine.Bounds(namespace)
}

// patient is a lock that is held while a disk is waited for. It is a channel, so
// that a bubble of testing/synctest knows that who wants it waits for time to pass.
type patient chan struct{}

func (p patient) Lock()   { p <- struct{}{} }
func (p patient) Unlock() { <-p }

// consumerName is the name of a consumer in its namespace.
type consumerName struct{ namespace, name string }

// keptConsumer is what the log says of a consumer.
type keptConsumer struct {
	settings    *consumerSettings // nil: it was deleted
	incarnation uint64            // of the namespace's log when its place was taken
	at          delivery.Progress
	live        *delivery.Consumer // nil while its namespace is not declared
	read        bool               // from the log, and not yet held to that of its namespace
}

// consumerEntry is one event of the log: a note on the place of a consumer,
// or, with Settings, what it is made of from there on.
type consumerEntry struct {
	Settings    *consumerSettings `json:"settings,omitempty"`
	Incarnation string            `json:"incarnation,omitempty"` // with settings
	Deleted     bool              `json:"deleted,omitempty"`
	delivery.Note
}

func consumerSubject(n consumerName) string {
	return bus.ConsumersNamespace + "." + n.namespace + "." + n.name
}

// ready reads the log, once. What fails is tried again by the next who asks.
// The caller holds c.mu.
func (c *consumers) ready() error {
	if c.loaded {
		return nil
	}
	if err := c.server.engine.Keep(bus.ConsumersNamespace); err != nil {
		return err
	}
	known, err := c.read()
	if err != nil {
		return err
	}
	c.known, c.loaded = known, true
	for name, k := range known {
		c.watch(k)
		if err := c.wakeUp(name, k); err != nil {
			c.server.log.Error("a named consumer cannot be used", "namespace", name.namespace, "consumer", name.name, "error", err)
		}
	}
	return nil
}

// read reads what was written of all consumers.
func (c *consumers) read() (map[consumerName]*keptConsumer, error) {
	known := make(map[consumerName]*keptConsumer)
	first, next := c.server.engine.Bounds(bus.ConsumersNamespace)
	r := c.server.engine.Reader(bus.ConsumersNamespace, first)
	defer r.Close()
	for at := first; at < next; {
		events, err := r.Next()
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && damage.Next > at {
			c.server.log.Error("what named consumers have acknowledged is lost in part: they get some events again", "from", damage.From, "next", damage.Next, "error", damage)
			at = damage.Next
			r.Seek(at)
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for i := range events {
			if err := note(known, &events[i]); err != nil {
				c.server.log.Error("an entry on a named consumer cannot be read", "index", events[i].Index, "subject", events[i].Subject, "error", err)
			}
		}
		at = events[len(events)-1].Index + 1
	}
	for name, k := range known {
		if k.settings == nil { // what it was made of stood in what is damaged
			c.server.log.Error("a named consumer is lost: make it anew", "namespace", name.namespace, "consumer", name.name, "settled_up_to", k.at.Floor()-min(k.at.Floor(), 1))
			delete(known, name)
		}
	}
	return known, nil
}

// note takes one event of the log in.
func note(known map[consumerName]*keptConsumer, e *bus.Event) error {
	name, err := parseConsumerSubject(e.Subject)
	if err != nil {
		return err
	}
	var entry consumerEntry
	d := json.NewDecoder(bytes.NewReader(e.Payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&entry); err != nil {
		return err
	}
	if entry.Deleted {
		delete(known, name)
		return nil
	}
	k := known[name]
	if k == nil {
		k = &keptConsumer{read: true}
		known[name] = k
	}
	if entry.Settings != nil {
		k.settings = entry.Settings
		if k.incarnation, err = strconv.ParseUint(cmp.Or(entry.Incarnation, "0"), 16, 64); err != nil {
			return err
		}
	}
	k.at.Apply(entry.Note)
	return nil
}

// parseConsumerSubject takes apart what consumerSubject has made.
func parseConsumerSubject(subject string) (name consumerName, err error) {
	parts := bytes.Split([]byte(subject), []byte{'.'})
	if len(parts) != 3 {
		return name, bus.ErrInvalidSubject.With("%.80q; wanted %s.<namespace>.<consumer>", subject, bus.ConsumersNamespace)
	}
	return consumerName{string(parts[1]), string(parts[2])}, nil
}

// wakeUp hands a consumer that was read to delivery. One of a namespace that is
// not declared now sleeps until it is. The caller holds c.mu.
func (c *consumers) wakeUp(name consumerName, k *keptConsumer) error {
	incarnation := c.server.engine.Incarnation(name.namespace)
	if k.settings == nil || incarnation == 0 || k.live != nil {
		return nil
	}
	spec, err := k.settings.spec(name)
	if err != nil {
		return err
	}
	if found := c.found(name, k, incarnation); found != nil {
		if err := c.write(context.Background(), name, found.entry()); err != nil {
			return err // and it is found again by who asks next
		}
		k.incarnation, k.at = found.incarnation, found.at
	}
	spec.Resumed, k.read = k.read, false
	if k.live, err = c.server.hub.Declare(spec, k.at); err != nil {
		return err
	}
	k.live.Pause(k.settings.Paused)
	if !c.tending {
		c.tending = true
		go c.tend()
	}
	k.at = delivery.Progress{} // the live one knows from here on
	return nil
}

// found returns where a consumer goes on whose log is not the one that it knew,
// nil when it is, or it was made by this server. That is written down before anything else, or what comes to
// stand where it had been would count as acknowledged after the next start.
func (c *consumers) found(name consumerName, k *keptConsumer, incarnation uint64) *keptConsumer {
	if !k.read {
		return nil
	}
	first, _ := c.server.engine.Bounds(name.namespace)
	next := c.ends[name.namespace] // with what was published since, it could not be seen
	found := &keptConsumer{settings: k.settings, incarnation: incarnation, at: delivery.Progress{Next: first}}
	if incarnation != k.incarnation {
		c.server.log.Warn("the log of a named consumer was replaced: the consumer begins with the oldest event of the new one", "namespace", name.namespace, "consumer", name.name)
		return found
	}
	var lost bool
	if found.at, lost = k.at.Within(next); !lost {
		return nil
	}
	c.server.log.Warn("the log of a named consumer has fewer events than the consumer had come to: it goes on at the end", "namespace", name.namespace, "consumer", name.name, "index", k.at.Next-1, "last", next-1)
	return found
}

// entry says all there is of a consumer at its beginning.
func (k *keptConsumer) entry() consumerEntry {
	at := k.at
	return consumerEntry{Settings: k.settings, Incarnation: strconv.FormatUint(k.incarnation, 16), Note: delivery.Note{State: &at}}
}

// write appends to the log and returns once that is durable.
func (c *consumers) write(ctx context.Context, name consumerName, entry consumerEntry) error {
	payload, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	err = c.server.engine.Append(ctx, bus.ConsumersNamespace, []bus.Event{{Subject: consumerSubject(name), Payload: payload}})
	if err == nil {
		c.grew()
	}
	return err
}

// find returns a named consumer that is there.
func (c *consumers) find(namespace, name string) (*delivery.Consumer, error) {
	k, err := c.kept(consumerName{namespace, name})
	if err != nil {
		return nil, err
	}
	return k.live, nil
}

// called returns the consumer of a name, in a namespace or, with none, wherever
// it is.
func (c *consumers) called(namespace, name string) (*delivery.Consumer, error) {
	if namespace != "" {
		return c.find(namespace, name)
	}
	return c.byName(name)
}

// begin reads what there is when the server starts, so that nobody has to wait
// for it.
func (c *consumers) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(); err != nil {
		c.server.log.Error("named consumers cannot be used yet", "error", err)
	}
}

// kept returns what there is of a consumer, as it is now.
func (c *consumers) kept(name consumerName) (*keptConsumer, error) {
	if err := c.server.checkNamespace(name.namespace); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(); err != nil {
		return nil, err
	}
	k := c.known[name]
	if k != nil {
		if err := c.wakeUp(name, k); err != nil {
			return nil, err // it is there, whatever keeps it from being used
		}
	}
	if k == nil || k.live == nil {
		return nil, bus.ErrUnknownConsumer.With("namespace %s has no consumer %.80q; GET /?subject=…&consumer=%.80s makes one, GET /v1/namespaces/%s/consumers lists them", name.namespace, name.name, name.name, name.namespace)
	}
	copied := *k // what it points to is replaced, never changed
	return &copied, nil
}

// byName returns the one consumer of a name, whichever namespace it is of.
func (c *consumers) byName(name string) (*delivery.Consumer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(); err != nil {
		return nil, err
	}
	var found *delivery.Consumer
	var namespaces []string
	for key, k := range c.known {
		if key.name != name {
			continue
		}
		if err := c.wakeUp(key, k); err != nil {
			return nil, err
		}
		if k.live != nil {
			found, namespaces = k.live, append(namespaces, key.namespace)
		}
	}
	switch len(namespaces) {
	case 0:
		return nil, bus.ErrUnknownConsumer.With("no consumer is named %.80q; GET /?subject=…&consumer=%.80s makes one", name, name)
	case 1:
		return found, nil
	}
	slices.Sort(namespaces)
	return nil, bus.ErrInvalidParameter.With("consumer %.80q is one of each of the namespaces %v: say which with namespace=, or --namespace of bus", name, namespaces)
}

// make returns the consumer of a name, and makes it when there is none. asked are
// the settings that were asked for: of a consumer that is there, none of them may
// be another.
func (c *consumers) make(ctx context.Context, name consumerName, asked *consumerSettings, from func() (delivery.Progress, error)) (live *delivery.Consumer, made bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, there, err := c.plan(name, asked, from)
	if err != nil {
		return nil, false, err
	}
	if there {
		return k.live, false, nil
	}
	if err := c.write(ctx, name, k.entry()); err != nil {
		return nil, false, err
	}
	c.known[name] = k
	err = c.wakeUp(name, k)
	c.watch(k)
	return k.live, true, err
}

// check refuses what make would refuse, and makes nothing.
func (c *consumers) check(name consumerName, asked *consumerSettings, from func() (delivery.Progress, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, err := c.plan(name, asked, from)
	return err
}

// plan returns the consumer of a name, or what there would be to make. The caller
// holds c.mu.
func (c *consumers) plan(name consumerName, asked *consumerSettings, from func() (delivery.Progress, error)) (k *keptConsumer, there bool, err error) {
	if err := c.ready(); err != nil {
		return nil, false, err
	}
	if k := c.known[name]; k != nil {
		if err := c.wakeUp(name, k); err != nil {
			return nil, false, err
		}
		return k, true, k.settings.differs(name, asked)
	}
	if err := c.room(name.namespace); err != nil {
		return nil, false, err
	}
	at, err := from()
	if err != nil {
		return nil, false, err
	}
	settings := asked.complete(time.Now())
	if _, err := settings.spec(name); err != nil {
		return nil, false, err
	}
	return &keptConsumer{settings: &settings, incarnation: c.server.engine.Incarnation(name.namespace), at: at}, false, nil
}

// room refuses one consumer more than there may be.
func (c *consumers) room(namespace string) error {
	n := 0
	for name := range c.known {
		if name.namespace == namespace {
			n++
		}
	}
	if most := c.server.config.MaxConsumers; n >= most {
		c.server.metrics.overLimit(limitConsumers)
		return bus.ErrServerFull.With("namespace %s has %d named consumers, at most %d are allowed: delete some, or use bus server --max-consumers", namespace, n, most)
	}
	return nil
}
