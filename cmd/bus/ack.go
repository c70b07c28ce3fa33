package main

import (
	"fmt"
	"slices"

	"example.com/bus/client"
	"github.com/urfave/cli/v2"
)

func ackCommand() *cli.Command {
	return &cli.Command{
		Name:  "ack",
		Usage: "acknowledge events of a consumer",
		Description: `For events that bus get --ack manual, or any other stream, has received. The
consumer's id is on its stderr, and in the stream's hello. Of a named consumer
the name is enough, also when nothing of it is connected.

   bus ack --consumer billing --event-id e_yyy
   bus ack --consumer-id c_xxx --event-id e_yyy
   bus ack --consumer-id c_xxx --event-id e_yyy --data '"done"'   (a reply)
   bus ack --consumer-id c_xxx --event-id e_yyy --verdict nak --delay 30s`,
		Flags: []cli.Flag{
			hostFlag(),
			&cli.StringFlag{Name: "consumer-id", Usage: "id of the consumer; this or --consumer is required"},
			&cli.StringFlag{Name: "consumer", Usage: "name of a named consumer"},
			&cli.StringFlag{Name: "namespace", Usage: "with --consumer, where several namespaces have one of that name"},
			&cli.StringSliceFlag{Name: "event-id", Usage: "id of the event; repeatable, for all or none of them; required"},
			&cli.BoolFlag{Name: "up-to", Usage: "all events of the namespace up to this one"},
			&cli.StringFlag{Name: "verdict", Usage: "ack, nak (not now), term (never again) or wip (still at work)", DefaultText: "ack"},
			&cli.DurationFlag{Name: "delay", Usage: "with --verdict nak: not before this time"},
			&cli.StringFlag{Name: "data", Usage: "the reply to a request: JSON, or else text; - reads stdin"},
		},
		Action: ack,
	}
}

// ack settles several events in one request, all of them or none, as long as a
// request takes them. Acknowledging twice is fine, and the whole can be run again.
func ack(c *cli.Context) error {
	consumer, events := c.String("consumer-id"), c.StringSlice("event-id")
	named, err := namedOptions(c)
	if err != nil {
		return err
	}
	if consumer == "" && named == nil || len(events) == 0 {
		return usageError("--consumer-id, or --consumer, and --event-id are both needed, as in bus ack --consumer-id c_xxx --event-id e_yyy")
	}
	options, err := verdictOptions(c)
	if err != nil {
		return err
	}
	options = append(options, named...)
	if len(events) > 1 && (c.Bool("up-to") || c.IsSet("data")) {
		return usageError("--up-to and --data go with one --event-id, found %d", len(events))
	}
	server := newClient(c)
	if len(events) == 1 {
		if err := server.Ack(c.Context, consumer, events[0], options...); err != nil {
			return serverError(c, err)
		}
		return nil
	}
	done := 0
	for some := range slices.Chunk(events, client.MaxAckBatch) {
		if err := server.AckBatch(c.Context, consumer, some, options...); err != nil {
			return serverError(c, fmt.Errorf("%w (of %d events %d are acknowledged)", err, len(events), done))
		}
		done += len(some)
	}
	return nil
}

// namedOptions say which named consumer is meant, nil for none.
func namedOptions(c *cli.Context) ([]client.AckOption, error) {
	name, namespace := c.String("consumer"), c.String("namespace")
	switch {
	case name == "" && namespace == "":
		return nil, nil
	case name == "":
		return nil, usageError("--namespace goes with --consumer, the name of a consumer")
	case c.String("consumer-id") != "":
		return nil, usageError("--consumer-id and --consumer are both there, wanted one of them")
	}
	options := []client.AckOption{client.WithConsumer(name)}
	if namespace != "" {
		options = append(options, client.WithNamespace(namespace))
	}
	return options, nil
}

// verdictOptions refuses here what the server would refuse, before the first of
// several events is settled.
func verdictOptions(c *cli.Context) ([]client.AckOption, error) {
	options := []client.AckOption{client.WithTimeout(putTimeout)}
	if c.Bool("up-to") {
		options = append(options, client.WithUpTo())
	}
	switch v := c.String("verdict"); v {
	case "", "ack":
	case "nak", "term", "wip":
		options = append(options, client.WithVerdict(client.Verdict(v)))
	default:
		return nil, usageError("--verdict is %q, wanted ack, nak, term or wip", v)
	}
	if c.IsSet("delay") {
		options = append(options, client.WithDelay(c.Duration("delay")))
	}
	if c.IsSet("data") {
		data, err := dataFlag(c)
		if err != nil {
			return nil, err
		}
		payload, err := jsonPayload(data)
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithData(payload))
	}
	return options, nil
}
