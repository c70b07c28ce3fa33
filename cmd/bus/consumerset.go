package main

import (
	"strconv"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/client"
	"github.com/urfave/cli/v2"
)

// createConsumer makes a consumer before anybody reads with it. Its namespace is
// that of its subjects.
func createConsumer(c *cli.Context) error {
	subjects := c.StringSlice("subject")
	if c.String("consumer") == "" || len(subjects) == 0 {
		return usageError(`--consumer and --subject are both needed, as in bus consumers create --consumer billing --subject "orders.>"`)
	}
	settings, err := consumerSettings(c)
	if err != nil {
		return err
	}
	settings.Subjects, settings.Start = subjects, c.String("start")
	namespace := c.String("namespace")
	if namespace == "" {
		namespace = bus.Namespace(subjects[0])
	}
	info, err := newClient(c).CreateConsumer(c.Context, namespace, c.String("consumer"), settings)
	if err != nil {
		return serverError(c, err)
	}
	return printConsumers(c, []client.ConsumerInfo{info})
}

func setConsumer(c *cli.Context) error {
	settings, err := consumerSettings(c)
	if err != nil {
		return err
	}
	if c.NumFlags() == 0 || !anySet(c, "redelivery", "redelivery-count", "backoff", "inflight", "idle-expiry") {
		return usageError("nothing is to be set; give --redelivery, --redelivery-count, --backoff, --inflight or --idle-expiry")
	}
	return changeConsumer(c, settings)
}

func anySet(c *cli.Context, names ...string) bool {
	for _, name := range names {
		if c.IsSet(name) {
			return true
		}
	}
	return false
}

func pauseConsumer(paused bool) cli.ActionFunc {
	return func(c *cli.Context) error { return changeConsumer(c, client.ConsumerSettings{Paused: &paused}) }
}

func changeConsumer(c *cli.Context, s client.ConsumerSettings) error {
	server := newClient(c)
	info, err := consumerNamed(c, server)
	if err != nil {
		return err
	}
	if info, err = server.ChangeConsumer(c.Context, info.Namespace, info.Name, s); err != nil {
		return serverError(c, err)
	}
	return printConsumers(c, []client.ConsumerInfo{info})
}

func resetConsumer(c *cli.Context) error {
	if c.String("start") == "" {
		return usageError("--start is missing, as in bus consumers reset --consumer billing --start oldest")
	}
	server := newClient(c)
	info, err := consumerNamed(c, server)
	if err != nil {
		return err
	}
	if info, err = server.ResetConsumer(c.Context, info.Namespace, info.Name, c.String("start")); err != nil {
		return serverError(c, err)
	}
	return printConsumers(c, []client.ConsumerInfo{info})
}

func deleteConsumer(c *cli.Context) error {
	server := newClient(c)
	info, err := consumerNamed(c, server)
	if err != nil {
		return err
	}
	return wrapServer(c, server.DeleteConsumer(c.Context, info.Namespace, info.Name))
}

// consumerSettings reads the flags. What is not set is not asked for.
func consumerSettings(c *cli.Context) (s client.ConsumerSettings, err error) {
	if s.Redelivery, err = spanFlag("redelivery", c.String("redelivery")); err != nil {
		return s, err
	}
	if s.IdleExpiry, err = expiryFlag(c.String("idle-expiry")); err != nil {
		return s, err
	}
	steps := c.StringSlice("backoff")
	if len(steps) == 1 && steps[0] == "none" {
		s.Backoff, steps = []time.Duration{}, nil
	}
	for _, text := range steps {
		d, err := spanFlag("backoff", text)
		if err != nil {
			return s, err
		}
		s.Backoff = append(s.Backoff, d)
	}
	if c.IsSet("redelivery-count") {
		if s.RedeliveryCount = c.Int("redelivery-count"); s.RedeliveryCount < 1 {
			s.RedeliveryCount = client.Endless
		}
	}
	if c.IsSet("inflight") {
		if s.Inflight = c.Int("inflight"); s.Inflight < 1 {
			return s, usageError("--inflight is %d, wanted at least 1", s.Inflight)
		}
	}
	return s, nil
}

// expiryFlag reads a duration, or never.
func expiryFlag(text string) (time.Duration, error) {
	if text == "never" {
		return client.Never, nil
	}
	d, err := spanFlag("idle-expiry", text)
	if err != nil {
		return 0, usageError("--idle-expiry is %q, wanted a duration as in 12h or 30d, or never", text)
	}
	return d, nil
}

// spanFlag reads a duration, also in days and weeks.
func spanFlag(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if count, ok := strings.CutSuffix(text, unit); ok {
			var n int
			n, err = strconv.Atoi(count)
			d = time.Duration(min(n, 1e5)) * length
		}
	}
	if err != nil || d <= 0 {
		return 0, usageError("--%s is %q, wanted a duration as in 500ms, 5s, 2m or 30d", name, text)
	}
	return d, nil
}
