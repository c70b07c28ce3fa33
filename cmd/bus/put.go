package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"example.com/bus"
	"example.com/bus/client"
	"github.com/urfave/cli/v2"
)

// How long put waits unless told.
const (
	putTimeout    = 30 * time.Second // for the server's answer
	answerTimeout = 5 * time.Second  // for confirmations or a reply
)

func putCommand() *cli.Command {
	return &cli.Command{
		Name:  "put",
		Usage: "publish an event",
		Description: `Prints the event's id and index when it is stored, or with --reply the
payload of the first reply.

   bus put --subject orders.created --data '{"total":42}'
   echo hello | bus put --subject app.said --data -
   bus put --subject app.ask --data '"time?"' --reply --timeout 2s

   bus put --subject app.leader --data '"me"' --expected-subject-index 0

With --expected-index or --expected-subject-index it is stored only if that is
still the last index; otherwise the exit code is 1, and the text has the actual one.
Exit code 4: it is stored, but not enough confirmations, or no reply, came in
time. With --key a failed connection is tried again, and a repeat stored once.`,
		Flags: []cli.Flag{
			hostFlag(),
			&cli.StringFlag{Name: "subject", Usage: "where to, as in orders.created; required"},
			&cli.StringFlag{Name: "data", Usage: "payload: JSON, or else text that becomes a JSON string; - reads stdin; null when absent"},
			&cli.StringFlag{Name: "content-type", Usage: "media `TYPE` of a payload that is kept as bytes, such as image/png"},
			&cli.StringFlag{Name: "trace-id", Usage: "kept with the event"},
			&cli.StringSliceFlag{Name: "header", Usage: "`NAME:VALUE` kept with the event, as in source:checkout; repeatable"},
			&cli.StringFlag{Name: "key", Usage: "idempotency key: the same key is stored once"},
			&cli.StringFlag{Name: "id", Usage: "id of your own instead of the server's"},
			&cli.Uint64Flag{Name: "expected-index", Usage: "store it only if `N` is the last index of the namespace; 0: it holds nothing", DefaultText: "any"},
			&cli.Uint64Flag{Name: "expected-subject-index", Usage: "store it only if `N` is the index of the newest event of this subject; 0: there is none", DefaultText: "any"},
			&cli.StringFlag{Name: "delay", Usage: "`HOW-LONG` until it is delivered, as in 90s, 36h or 7d; it is stored at once"},
			&cli.StringFlag{Name: "deliver-at", Usage: "`TIME` before which it is not delivered, as in 2026-01-31T12:00:00Z"},
			&cli.StringFlag{Name: "ttl", Usage: "`HOW-LONG` it is worth delivering, from when it may be; nobody is given it later"},
			&cli.StringFlag{Name: "expires-at", Usage: "`TIME` from which on it is not delivered any more"},
			&cli.IntFlag{Name: "confirm", Usage: "wait until `N` consumers have acknowledged"},
			&cli.BoolFlag{Name: "reply", Usage: "wait for a reply and print it"},
			&cli.DurationFlag{Name: "timeout", Usage: "how long to wait", DefaultText: "5s for --confirm and --reply, 30s otherwise"},
		},
		Action: put,
	}
}

// put prints the receipt when the event is stored, and not before.
func put(c *cli.Context) error {
	if c.String("subject") == "" {
		return usageError("--subject is missing, as in --subject orders.created")
	}
	if c.Int("confirm") > 0 && c.Bool("reply") {
		return usageError("--confirm and --reply are both given; wanted one of them")
	}
	options, err := putOptions(c)
	if err != nil {
		return err
	}
	resp := newClient(c).Put(c.Context, options...)
	if err := resp.Error(); err != nil {
		return putError(c, resp, err)
	}
	if resp.Duplicate {
		fmt.Fprintln(c.App.ErrWriter, "bus: the key was published before; this is that event")
	}
	if c.Bool("reply") {
		return printPayload(c.App.Writer, resp.Payload, resp.ContentType, isTerminal(c.App.Writer))
	}
	return writeOut(c.App.Writer, fmt.Appendf(nil, "%s %d\n", oneLine(resp.Id), resp.Index))
}

// putOptions gives every put a time limit: a script must not hang on a server
// that vanished.
func putOptions(c *cli.Context) ([]client.PutOption, error) {
	timeout := c.Duration("timeout")
	if timeout < 0 || c.IsSet("timeout") && timeout == 0 {
		return nil, usageError("--timeout is %s, wanted more than 0, as in 5s", timeout)
	}
	if n := c.Int("confirm"); n < 0 {
		return nil, usageError("--confirm is %d, wanted 0 or more", n)
	}
	options := []client.PutOption{client.WithSubject(c.String("subject"))}
	data, err := putData(c)
	if err != nil {
		return nil, err
	}
	if data != nil {
		options = append(options, data)
	}
	for name, option := range map[string]func(string) client.PutOption{"trace-id": client.WithTraceId, "key": client.WithKey, "id": client.WithId} {
		if v := c.String(name); v != "" {
			options = append(options, option(v))
		}
	}
	timing, err := timingOptions(c)
	if err != nil {
		return nil, err
	}
	options = append(options, timing...)
	for _, text := range c.StringSlice("header") {
		name, value, err := bus.ParseHeader(text)
		if err != nil {
			return nil, usageError("--header: %s", err)
		}
		options = append(options, client.WithHeader(name, value))
	}
	if c.IsSet("expected-index") {
		options = append(options, client.WithExpectedIndex(c.Uint64("expected-index")))
	}
	if c.IsSet("expected-subject-index") {
		options = append(options, client.WithExpectedSubjectIndex(c.Uint64("expected-subject-index")))
	}
	standard := putTimeout
	if n := c.Int("confirm"); n != 0 {
		options, standard = append(options, client.WithConfirm(n)), answerTimeout
	}
	if c.Bool("reply") {
		options, standard = append(options, client.WithRequestReply()), answerTimeout
	}
	if timeout == 0 {
		timeout = standard
	}
	return append(options, client.WithTimeout(timeout)), nil
}

// timingOptions are when the event is delivered, and until when.
func timingOptions(c *cli.Context) (options []client.PutOption, err error) {
	for _, both := range [][2]string{{"delay", "deliver-at"}, {"ttl", "expires-at"}} {
		if c.String(both[0]) != "" && c.String(both[1]) != "" {
			return nil, usageError("--%s and --%s are both given; wanted one of them", both[0], both[1])
		}
	}
	for name, option := range map[string]func(time.Duration) client.PutOption{
		"delay": func(d time.Duration) client.PutOption { return client.WithDelay(d) }, "ttl": client.WithTTL,
	} {
		if text := c.String(name); text != "" {
			d, ok := bus.ParseAge(text)
			if !ok || d == 0 {
				return nil, usageError("--%s is %.80q, wanted a duration such as 90s, 36h or 7d", name, text)
			}
			options = append(options, option(d))
		}
	}
	for name, option := range map[string]func(time.Time) client.PutOption{"deliver-at": client.WithDeliverAt, "expires-at": client.WithExpiresAt} {
		if text := c.String(name); text != "" {
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return nil, usageError("--%s is %.80q, wanted a time like 2026-01-31T12:00:00Z", name, text)
			}
			options = append(options, option(at))
		}
	}
	return options, nil
}

// putData returns the payload as an option, nil when there is none.
func putData(c *cli.Context) (client.PutOption, error) {
	contentType := c.String("content-type")
	if !c.IsSet("data") {
		if contentType != "" {
			return nil, usageError("--content-type is given without --data; --data - reads the payload from stdin")
		}
		return nil, nil
	}
	data, err := dataFlag(c)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		return client.WithRaw(contentType, data), nil
	}
	payload, err := jsonPayload(data)
	if err != nil {
		return nil, err
	}
	return client.WithData(payload), nil
}

// dataFlag returns --data, or stdin for "-".
func dataFlag(c *cli.Context) ([]byte, error) {
	if c.String("data") != "-" {
		return []byte(c.String("data")), nil
	}
	data, err := io.ReadAll(io.LimitReader(c.App.Reader, maxPayload+1))
	if err != nil {
		return nil, fmt.Errorf("reading stdin: %w", err)
	}
	if len(data) > maxPayload {
		return nil, fmt.Errorf("stdin has more than %d bytes, which no server takes as one event; send it in parts", maxPayload)
	}
	return data, nil
}

// maxPayload is more than any server takes, so that its own limit answers.
const maxPayload = 32 << 20

// jsonPayload returns data as JSON: as it is, or as a JSON string.
func jsonPayload(data []byte) (json.RawMessage, error) {
	if compact, err := bus.CompactJSON(data); err == nil {
		return compact, nil
	}
	if !utf8.Valid(data) {
		return nil, usageError("--data is neither JSON nor UTF-8 text; say what it is, as in --content-type application/octet-stream")
	}
	return json.Marshal(string(data))
}

// putError keeps the id of an event that was stored in spite of the error.
func putError(c *cli.Context, resp *client.Response, err error) error {
	if errors.Is(err, bus.ErrConfirmTimeout) || errors.Is(err, bus.ErrReplyTimeout) {
		if resp.Id != "" && !c.Bool("reply") {
			err = errors.Join(writeOut(c.App.Writer, fmt.Appendf(nil, "%s %d\n", oneLine(resp.Id), resp.Index)), err)
		}
		return &exitError{exitTimeout, hint(err, "is a consumer there that acknowledges? wait longer with --timeout")}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return hint(fmt.Errorf("no answer came: %w", err), "the event may be stored or not; with --key a repeat is stored once")
	}
	return serverError(c, err)
}
