package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// maxBackoff is how many steps a back-off list has at most.
const maxBackoff = 64

// consumerSettings is what a named consumer is made of, as it is kept and as it
// travels under /v1. Absent fields are not asked for.
type consumerSettings struct {
	Subjects        []string  `json:"subjects,omitempty"`
	Start           string    `json:"start,omitempty"` // where it began
	Redelivery      string    `json:"redelivery,omitempty"`
	RedeliveryCount *int      `json:"redelivery_count,omitempty"` // 0: without end
	Backoff         []string  `json:"backoff,omitempty"`
	Inflight        int       `json:"inflight,omitempty"`
	IdleExpiry      string    `json:"idle_expiry,omitempty"` // it is deleted after nobody was connected for so long
	Paused          bool      `json:"paused,omitempty"`
	CreatedAt       time.Time `json:"created_at,omitzero"`

	pausing *bool // a request says whether
}

// never is the idle_expiry of a consumer that is kept for good, as it is asked for.
const never = "never"

// settle makes one of what means the same: a redelivery of zero is not asked for, a
// count below 0 has no end, as in a query, and what expires after no time never does.
func (c *consumerSettings) settle() {
	if d, ok := bus.ParseAge(c.Redelivery); ok && d == 0 {
		c.Redelivery = ""
	}
	if c.RedeliveryCount != nil && *c.RedeliveryCount < 0 && *c.RedeliveryCount >= -maxAttempts {
		c.RedeliveryCount = new(0)
	}
	if d, ok := bus.ParseAge(c.IdleExpiry); ok && d == 0 {
		c.IdleExpiry = never
	}
}

// expiry is an idle_expiry that was asked for, as it is kept.
func expiry(asked string) string {
	if asked == never {
		return ""
	}
	return asked
}

// complete fills in what was not asked for.
func (c *consumerSettings) complete(now time.Time) consumerSettings {
	all := *c
	all.Subjects = slices.Compact(slices.Sorted(slices.Values(c.Subjects)))
	if all.Start == "" {
		all.Start = "newest"
	}
	if all.Redelivery == "" {
		all.Redelivery = defaultRedelivery.String()
	}
	if all.RedeliveryCount == nil {
		count := defaultAttempts
		all.RedeliveryCount = &count
	}
	if all.Inflight == 0 {
		all.Inflight = defaultInflight
	}
	all.IdleExpiry = expiry(c.IdleExpiry)
	all.CreatedAt = now.UTC().Truncate(time.Second)
	return all
}

// spec is what delivery makes of the settings.
func (c *consumerSettings) spec(name consumerName) (delivery.ConsumerSpec, error) {
	spec := delivery.ConsumerSpec{Namespace: name.namespace, Name: name.name}
	var err error
	if spec.Patterns, err = c.patternsOf(name); err != nil {
		return spec, err
	}
	if spec.Ack.Redelivery, err = within("redelivery", c.Redelivery, minRedelivery, maxRedelivery); err != nil {
		return spec, err
	}
	for _, step := range c.Backoff {
		wait, err := within("backoff", step, minRedelivery, maxRedelivery)
		if err != nil {
			return spec, err
		}
		spec.Ack.Backoff = append(spec.Ack.Backoff, wait)
	}
	spec.Ack.Attempts, spec.Ack.Inflight = *c.RedeliveryCount, c.Inflight
	return spec, nil
}

// patternsOf reads the subjects.
func (c *consumerSettings) patternsOf(name consumerName) (all []bus.Pattern, err error) {
	for _, text := range c.Subjects {
		pattern, err := bus.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		if pattern.Namespace() != name.namespace {
			return nil, bus.ErrInvalidSubject.With("subject %.80q is not of namespace %s: a named consumer is of one namespace", text, name.namespace)
		}
		all = append(all, pattern)
	}
	return all, nil
}

func within(name, text string, least, most time.Duration) (time.Duration, error) {
	d, ok := bus.ParseAge(text)
	if !ok || d < least || d > most {
		return 0, bus.ErrInvalidParameter.With("%s is %.80q, wanted a duration from %s to %s, as in 500ms, 5s or 2m", name, text, least, most)
	}
	return d, nil
}

// check refuses what cannot be meant. The subjects were looked at by who read
// them.
func (c *consumerSettings) check(maxInflight int) error {
	for _, text := range append([]string{c.Redelivery}, c.Backoff...) {
		if text == "" {
			continue
		}
		if _, err := within("redelivery", text, minRedelivery, maxRedelivery); err != nil {
			return err
		}
	}
	switch {
	case len(c.Backoff) > maxBackoff:
		return bus.ErrInvalidParameter.With("backoff has %d steps, at most %d are allowed; the last one stays", len(c.Backoff), maxBackoff)
	case c.RedeliveryCount != nil && (*c.RedeliveryCount < 0 || *c.RedeliveryCount > maxAttempts):
		return bus.ErrInvalidParameter.With("redelivery_count is %d, wanted 0 to %d", *c.RedeliveryCount, maxAttempts)
	case c.Inflight < 0 || c.Inflight > maxInflight:
		return bus.ErrInvalidParameter.With("inflight is %d, wanted 1 to %d", c.Inflight, maxInflight)
	}
	if expiry(c.IdleExpiry) != "" {
		if _, err := within("idle_expiry", c.IdleExpiry, time.Minute, 366*24*time.Hour); err != nil {
			return err
		}
	}
	return checkStart(c.Start)
}

// differs says which of the settings that are asked for are others than those
// that there are, and what to do. What is not asked for does not differ.
func (c *consumerSettings) differs(name consumerName, asked *consumerSettings) error {
	var all, ways []string
	path := "/v1/namespaces/" + name.namespace + "/consumers/" + name.name
	change := "change them with PATCH " + path + " or bus consumers set"
	tell := func(what string, is, wanted any, way string) {
		all = append(all, fmt.Sprintf("%s is %v, asked for is %v", what, is, wanted))
		if !slices.Contains(ways, way) {
			ways = append(ways, way)
		}
	}
	if subjects := slices.Compact(slices.Sorted(slices.Values(asked.Subjects))); len(subjects) > 0 && !slices.Equal(subjects, c.Subjects) {
		tell("subject", c.Subjects, subjects, "ask for the subjects that it has, which stay")
	}
	if asked.Start != "" && asked.Start != c.Start {
		tell("start", c.Start, asked.Start, "move it with POST "+path+"/reset?start= or bus consumers reset")
	}
	if asked.Redelivery != "" && !sameDuration(asked.Redelivery, c.Redelivery) {
		tell("redelivery", c.Redelivery, asked.Redelivery, change)
	}
	if asked.RedeliveryCount != nil && *asked.RedeliveryCount != *c.RedeliveryCount {
		tell("redelivery_count", *c.RedeliveryCount, *asked.RedeliveryCount, change)
	}
	if asked.Backoff != nil && !slices.EqualFunc(asked.Backoff, c.Backoff, sameDuration) {
		tell("backoff", c.Backoff, asked.Backoff, change)
	}
	if asked.Inflight != 0 && asked.Inflight != c.Inflight {
		tell("inflight", c.Inflight, asked.Inflight, change)
	}
	if kept := cmp.Or(c.IdleExpiry, never); asked.IdleExpiry != "" && asked.IdleExpiry != kept && !sameDuration(asked.IdleExpiry, kept) {
		tell("idle_expiry", kept, asked.IdleExpiry, change)
	}
	if asked.pausing != nil && *asked.pausing != c.Paused {
		tell("paused", c.Paused, *asked.pausing, "change paused with PATCH "+path+" or bus consumers pause and resume")
	}
	if len(all) == 0 {
		return nil
	}
	return bus.ErrConsumerDiffers.With("consumer %s of namespace %s: %s; leave them out, %s, or use another name", name.name, name.namespace, strings.Join(all, "; "), strings.Join(ways, ", "))
}

func sameDuration(a, b string) bool {
	x, okX := bus.ParseAge(a)
	y, okY := bus.ParseAge(b)
	return okX && okY && x == y
}

// checkConsumerName refuses what cannot be the name of a consumer. A leading
// underscore is the bus's own.
func checkConsumerName(name string) error {
	if bus.CheckNamespace(name) != nil {
		return bus.ErrInvalidParameter.With("consumer is %.80q, wanted 1 to %d characters of A-Z a-z 0-9 _ -, not beginning with an underscore", name, bus.MaxSegmentLen)
	}
	return nil
}
