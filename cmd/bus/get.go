package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"example.com/bus/client"
	"github.com/urfave/cli/v2"
)

// What the server does unless told.
const (
	defaultRedelivery = 5 * time.Second
	defaultInflight   = 64
)

func getCommand() *cli.Command {
	return &cli.Command{
		Name:  "get",
		Usage: "read events, one a line",
		Description: `Reads on until it is interrupted, which is no failure, or until a bound:
--limit, --wait or --until newest. A lost connection is taken up again where it
broke. Gaps are told on stderr.

   bus get --subject "orders.>" --start oldest --until newest
   bus get --subject orders.eu.created --ack manual --redelivery 10s
   bus get --subject "orders.>" --consumer billing --limit 10 --wait 5s

--ack auto acknowledges what has been printed; manual leaves it to bus ack, with
the consumer's id from stderr; none is for reading only.

With --consumer the server keeps the place: the next bus get of that name goes
on behind what was acknowledged, and several share the work. --subject, --start,
--redelivery, --redelivery-count and --inflight say how it is made the first
time, and --subject may be left out later.`,
		Flags: []cli.Flag{
			hostFlag(),
			&cli.StringSliceFlag{Name: "subject", Usage: "what to read: * stands for one segment, > at the end for one or more; repeatable; required without --consumer"},
			&cli.StringFlag{Name: "consumer", Usage: "name of a consumer whose place the server keeps"},
			&cli.StringFlag{Name: "namespace", Usage: "with --consumer and without --subject, where several namespaces have one of that name"},
			&cli.StringFlag{Name: "start", Usage: "newest, oldest, last (the newest of each subject, then what follows), an event's id (right after it), an index (#42), a time (RFC 3339) or an age (15m, 7d)", DefaultText: "newest"},
			&cli.StringFlag{Name: "ack", Value: "auto", Usage: "auto, manual or none"},
			&cli.DurationFlag{Name: "redelivery", Usage: "time after which an event that is not acknowledged comes again", DefaultText: "5s"},
			&cli.IntFlag{Name: "redelivery-count", Value: 3, Usage: "deliveries of an event in all; 0: without end"},
			&cli.IntFlag{Name: "inflight", Usage: "events that may be unacknowledged at once; 1 keeps strict order", DefaultText: "64"},
			&cli.IntFlag{Name: "limit", Usage: "end after `N` events"},
			&cli.DurationFlag{Name: "wait", Usage: "end after this time without an event"},
			&cli.StringFlag{Name: "until", Usage: "newest: end at what is the newest event now"},
			&cli.BoolFlag{Name: "payload", Usage: "print payloads only"},
		},
		Action: get,
	}
}

// get prints until the loop ends. An interrupt ends it without an error.
func get(c *cli.Context) error {
	options, err := getOptions(c)
	if err != nil {
		return err
	}
	if err := reachable(c.Context, hostOf(c)); err != nil {
		return err
	}
	subjects, err := getSubjects(c)
	if err != nil {
		return err
	}
	options = append(options, subjects...)
	reader := newClient(c, client.WithLogger(newLogger(c.App.ErrWriter, logLevel(slog.LevelInfo), "text")))
	p := &printer{out: bufio.NewWriterSize(c.App.Writer, 64<<10), talk: c.App.ErrWriter, payloads: c.Bool("payload"), terminal: isTerminal(c.App.Writer)}
	p.tell, p.name = c.String("ack") == "manual", c.String("consumer")
	if c.String("ack") == "auto" {
		p.recent = newRecent(4 * max(c.Int("inflight"), defaultInflight))
	}
	for event, err := range reader.Get(c.Context, options...) {
		if err := p.handle(event, err); err != nil {
			return serverError(c, err)
		}
		if n := c.Int("limit"); n > 0 && p.printed == n {
			break // the end of the loop settles what was printed
		}
	}
	if p.name != "" {
		return settled(c, reader)
	}
	return nil
}

// settled tells whether everything that was printed is acknowledged: who reads
// with a name counts on it.
func settled(c *cli.Context, reader *client.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), putTimeout)
	defer cancel()
	if err := reader.Flush(ctx); err != nil {
		return serverError(c, fmt.Errorf("some events that were printed are not acknowledged, and come again: %w", err))
	}
	return nil
}

// getOptions turns the flags into what the client is asked for. What the flags
// leave open the server decides.
func getOptions(c *cli.Context) ([]client.GetOption, error) {
	var options []client.GetOption
	if len(c.StringSlice("subject")) == 0 && c.String("consumer") == "" {
		return nil, usageError(`--subject is missing, as in --subject "orders.>"`)
	}
	if c.String("namespace") != "" && (c.String("consumer") == "" || len(c.StringSlice("subject")) > 0) {
		return nil, usageError("--namespace goes with --consumer, and without --subject, which says it")
	}
	if name := c.String("consumer"); name != "" {
		options = append(options, client.WithConsumer(name))
	}
	if s := c.String("start"); s != "" {
		options = append(options, client.WithStartFrom(s))
	}
	bounds, err := boundOptions(c)
	if err != nil {
		return nil, err
	}
	acks, err := ackOptions(c)
	return append(append(options, bounds...), acks...), err
}

// getSubjects are what is asked for or, without, what the named consumer reads.
func getSubjects(c *cli.Context) (options []client.GetOption, err error) {
	subjects := c.StringSlice("subject")
	if len(subjects) == 0 {
		info, err := consumerNamed(c, newClient(c))
		if err != nil {
			return nil, err
		}
		subjects = info.Subjects
	}
	for _, s := range subjects {
		options = append(options, client.WithSubject(s))
	}
	return options, nil
}

// boundOptions leave the limit to get, which has to acknowledge the last event
// before the stream ends. A named consumer's is the server's: what it gave out
// beyond that would count as an attempt.
func boundOptions(c *cli.Context) ([]client.GetOption, error) {
	var options []client.GetOption
	if c.Int("limit") < 0 || c.IsSet("limit") && c.Int("limit") == 0 {
		return nil, usageError("--limit is %d, wanted at least 1", c.Int("limit"))
	}
	if c.IsSet("limit") && (c.String("ack") == "none" || c.String("consumer") != "") {
		options = append(options, client.WithLimit(c.Int("limit")))
	}
	if c.IsSet("wait") {
		options = append(options, client.WithWait(c.Duration("wait")))
	}
	if c.IsSet("until") {
		if c.String("until") != "newest" {
			return nil, usageError("--until is %q, wanted newest", c.String("until"))
		}
		options = append(options, client.WithUntilNewest())
	}
	return options, nil
}

// ackOptions makes auto and manual the same to the server: who acknowledges is
// a matter of this end.
func ackOptions(c *cli.Context) ([]client.GetOption, error) {
	switch ack := c.String("ack"); ack {
	case "none":
		if c.String("consumer") != "" {
			return nil, usageError("--ack none does not go with --consumer, which keeps its place by acknowledgements")
		}
		for _, name := range []string{"redelivery", "redelivery-count", "inflight"} {
			if c.IsSet(name) {
				return nil, usageError("--%s does not go with --ack none; leave one of them out", name)
			}
		}
		return nil, nil
	case "auto", "manual":
	default:
		return nil, usageError("--ack is %q, wanted auto, manual or none", ack)
	}
	options := []client.GetOption{client.WithAckStrategy(client.AckManual)}
	if c.Duration("redelivery") < 0 || c.Int("inflight") < 0 {
		return nil, usageError("--redelivery and --inflight must not be negative")
	}
	if d := c.Duration("redelivery"); d > 0 || c.IsSet("redelivery-count") {
		if d == 0 {
			d = defaultRedelivery // the predecessor's clients say 0s for it, too
		}
		options = append(options, client.WithDelivery(d, max(0, c.Int("redelivery-count"))))
	}
	if n := c.Int("inflight"); n > 0 {
		options = append(options, client.WithInflight(n))
	}
	return options, nil
}

// printer writes events to stdout and everything else to stderr.
type printer struct {
	out      *bufio.Writer
	talk     io.Writer
	payloads bool
	terminal bool
	tell     bool    // say the consumer's id, for bus ack
	name     string  // of a named one, which is said instead
	told     string  // the one that was said
	recent   *recent // what has been printed lately, nil when nothing is acknowledged
	printed  int
}

// handle prints an event and has it acknowledged, in this order: a crash between
// the two repeats an event, the other way round it would be lost. That it cannot
// be acknowledged is no error of get's: the server delivers again, and who reads
// sees the event once.
func (p *printer) handle(event *client.Event, err error) error {
	if err != nil {
		return p.problem(err)
	}
	if id := cmp.Or(p.name, event.ConsumerId); p.tell && id != p.told {
		p.told = id
		fmt.Fprintf(p.talk, "consumer %s\n", oneLine(p.told))
	}
	if p.recent != nil && p.recent.has(event.Id) {
		event.AckAsync() // the server does not know yet
		return nil
	}
	if err := p.print(event); err != nil {
		return err
	}
	// Flushed event by event: what is acknowledged has left this process.
	if err := p.out.Flush(); err != nil {
		return stdoutError{err}
	}
	p.printed++
	if p.recent != nil {
		p.recent.add(event.Id)
		event.AckAsync()
	}
	return nil
}

// problem tells a gap and goes on. What ends the loop is the caller's error.
func (p *printer) problem(err error) error {
	if gap, ok := errors.AsType[*client.GapError](err); ok {
		fmt.Fprintln(p.talk, "bus:", oneLine(gap.Error()))
		return nil
	}
	return err
}

// print writes a line. Ids and subjects hold nothing that could break it.
func (p *printer) print(event *client.Event) error {
	if p.payloads {
		return printPayload(p.out, event.Payload, event.ContentType, p.terminal)
	}
	line, err := event.MarshalJSON()
	if err != nil {
		return err
	}
	return writeOut(p.out, append(forTerminal(line, p.terminal), '\n'))
}

// printPayload writes JSON as a line, and bytes of another type as they are, but
// quoted to a terminal, which would obey them.
func printPayload(w io.Writer, payload json.RawMessage, contentType string, terminal bool) error {
	switch {
	case contentType != "" && terminal && !printable(payload):
		payload = append(strconv.AppendQuoteToASCII(nil, string(payload)), '\n')
	case contentType != "":
	case len(payload) == 0:
		payload = json.RawMessage("null\n")
	default:
		payload = forTerminal(payload, terminal)
		payload = append(payload[:len(payload):len(payload)], '\n')
	}
	return writeOut(w, payload)
}

// printable tells whether a terminal shows data as it is.
func printable(data []byte) bool {
	return utf8.Valid(data) && oneLine(string(data)) == string(data)
}
