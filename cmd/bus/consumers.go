package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/bus/client"
	"github.com/urfave/cli/v2"
)

func consumersCommand() *cli.Command {
	return &cli.Command{
		Name:  "consumers",
		Usage: "list, make, change, move and delete named consumers",
		Description: `A named consumer's place is kept by the server. bus get --consumer makes one as
it is first used; create does before that, so that it misses nothing.

   bus consumers ls
   bus consumers create --namespace orders --consumer billing --subject "orders.>"
   bus consumers set --namespace orders --consumer billing --redelivery 1m
   bus consumers reset --namespace orders --consumer billing --start oldest

Prints a table, or with --json an object a line.`,
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list those of one namespace or of all", Flags: []cli.Flag{hostFlag(), namespaceFlag("of this namespace only"), jsonFlag()}, Action: listConsumers},
			{Name: "show", Usage: "show one with all there is to say", Flags: oneConsumer(jsonFlag()), Action: showConsumer},
			{Name: "create", Usage: "make one, or find that it is there with these settings", Flags: oneConsumer(append(settingFlags(),
				&cli.StringSliceFlag{Name: "subject", Usage: "what it reads; repeatable; required"},
				&cli.StringFlag{Name: "start", Usage: "where it begins: newest, oldest, last (the newest of each subject, then what follows), an event's id, an index, a time or an age", DefaultText: "newest"},
				jsonFlag())...), Action: createConsumer},
			{Name: "set", Usage: "change settings; subjects and start stay", Flags: oneConsumer(append(settingFlags(), jsonFlag())...), Action: setConsumer},
			{Name: "pause", Usage: "give nothing out until resume", Flags: oneConsumer(jsonFlag()), Action: pauseConsumer(true)},
			{Name: "resume", Usage: "go on after pause", Flags: oneConsumer(jsonFlag()), Action: pauseConsumer(false)},
			{Name: "reset", Usage: "move it: everything from there on is delivered, nothing before", Flags: oneConsumer(
				&cli.StringFlag{Name: "start", Usage: "oldest, newest, last (the newest of each subject, then what follows), an event's id, an index, a time or an age; required"}, jsonFlag()), Action: resetConsumer},
			{Name: "delete", Usage: "delete it and its place; who reads with it is ended", Flags: oneConsumer(), Action: deleteConsumer},
		},
	}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON, an object a line"}
}

func namespaceFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "namespace", Usage: usage}
}

// oneConsumer are the flags of a verb about one of them.
func oneConsumer(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{hostFlag(), namespaceFlag("of the consumer; needed where several have one of that name"),
		&cli.StringFlag{Name: "consumer", Usage: "its name; required"}}, more...)
}

func settingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "redelivery", Usage: "time after which an event that is not acknowledged comes again", DefaultText: "5s"},
		&cli.IntFlag{Name: "redelivery-count", Usage: "deliveries of an event in all; 0: without end", DefaultText: "3"},
		&cli.StringSliceFlag{Name: "backoff", Usage: "in place of --redelivery: for the first delivery, the second, and so on; repeatable; none takes them away"},
		&cli.IntFlag{Name: "inflight", Usage: "events that may be unacknowledged at once", DefaultText: "64"},
		&cli.StringFlag{Name: "idle-expiry", Usage: "delete it after nobody was connected for so long, as in 30d; never switches it off", DefaultText: "never"},
	}
}

func listConsumers(c *cli.Context) error {
	found, err := consumersOf(c.Context, newClient(c), hostOf(c), c.String("namespace"))
	if err != nil {
		return serverError(c, err)
	}
	return printConsumers(c, found)
}

// consumersOf are those of a namespace or, with none named, of all.
func consumersOf(ctx context.Context, server *client.Client, host, namespace string) ([]client.ConsumerInfo, error) {
	if namespace != "" {
		return server.Consumers(ctx, namespace)
	}
	namespaces, err := namespacesOf(ctx, host)
	if err != nil {
		return nil, err
	}
	var all []client.ConsumerInfo
	for _, one := range namespaces {
		some, err := server.Consumers(ctx, one.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// consumerNamed finds the one that is meant, in whichever namespace it is.
func consumerNamed(c *cli.Context, server *client.Client) (found client.ConsumerInfo, err error) {
	name, namespace := c.String("consumer"), c.String("namespace")
	if name == "" {
		return found, usageError("--consumer is missing, as in %s --consumer billing; bus consumers ls lists them", c.Command.HelpName)
	}
	if namespace != "" {
		found, err = server.Consumer(c.Context, namespace, name)
		return found, wrapServer(c, err)
	}
	all, err := consumersOf(c.Context, server, hostOf(c), "")
	if err != nil {
		return found, serverError(c, err)
	}
	var where []string
	for _, one := range all {
		if one.Name == name {
			found, where = one, append(where, one.Namespace)
		}
	}
	switch len(where) {
	case 0:
		return found, fmt.Errorf("no consumer is named %q; bus consumers ls lists them, bus consumers create makes one", name)
	case 1:
		return found, nil
	}
	return found, usageError("consumer %q is one of each of the namespaces %s; say which with --namespace", name, strings.Join(where, ", "))
}

func wrapServer(c *cli.Context, err error) error {
	if err == nil {
		return nil
	}
	return serverError(c, err)
}

func showConsumer(c *cli.Context) error {
	info, err := consumerNamed(c, newClient(c))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printConsumers(c, []client.ConsumerInfo{info})
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, line := range consumerLines(&info) {
		fmt.Fprintf(w, "%s\t%s\n", line[0], oneLine(line[1]))
	}
	return flushed(w)
}

// consumerLines are all there is to say of one.
func consumerLines(i *client.ConsumerInfo) [][2]string {
	count := "without end"
	if i.RedeliveryCount != client.Endless {
		count = strconv.Itoa(i.RedeliveryCount)
	}
	lines := [][2]string{
		{"consumer", i.Name}, {"namespace", i.Namespace}, {"subjects", strings.Join(i.Subjects, " ")}, {"state", consumerState(i)},
		{"started at", i.Start}, {"created", i.CreatedAt.Format(time.RFC3339)},
		{"redelivery", i.Redelivery.String()}, {"redelivery count", count}, {"inflight", strconv.Itoa(i.Inflight)},
		{"connections", strconv.Itoa(i.Connections)}, {"delivered up to", fmt.Sprint(i.DeliveredIndex)}, {"all settled up to", fmt.Sprint(i.AckFloor)},
		{"unacknowledged", fmt.Sprint(i.Unacked)}, {"of those with nobody", fmt.Sprint(i.Waiting)}, {"behind", fmt.Sprint(i.Behind)},
		{"redelivered since start", fmt.Sprint(i.Redelivered)}, {"dead since start", fmt.Sprint(i.Dead)},
	}
	if len(i.Backoff) > 0 {
		lines = append(lines, [2]string{"backoff", strings.Trim(fmt.Sprint(i.Backoff), "[]")})
	}
	if i.IdleExpiry > 0 {
		lines = append(lines, [2]string{"idle expiry", i.IdleExpiry.String()})
	}
	if i.OldestUnacked > 0 {
		lines = append(lines, [2]string{"oldest unacknowledged", fmt.Sprintf("%d, of %s", i.OldestUnacked, i.OldestUnackedAt.Format(time.RFC3339))})
	}
	return lines
}

func consumerState(i *client.ConsumerInfo) string {
	switch {
	case i.Paused != nil && *i.Paused:
		return "paused"
	case i.Stalled:
		return "stalled"
	case i.Connections == 0:
		return "nobody connected"
	}
	return "working"
}

// printConsumers prints a table for people or objects for programs.
func printConsumers(c *cli.Context, all []client.ConsumerInfo) error {
	if c.Bool("json") {
		return printLines(c.App.Writer, all)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tCONSUMER\tSUBJECTS\tCONNECTIONS\tACK FLOOR\tUNACKED\tBEHIND\tDEAD\tSTATE")
	for _, i := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", oneLine(i.Namespace), oneLine(i.Name), oneLine(cmp.Or(strings.Join(i.Subjects, " "), "-")),
			i.Connections, i.AckFloor, i.Unacked, i.Behind, i.Dead, consumerState(&i))
	}
	return flushed(w)
}

// printLines prints JSON, a value a line.
func printLines[T any](w io.Writer, all []T) error {
	for _, one := range all {
		line, err := json.Marshal(one)
		if err != nil {
			return err
		}
		if err := writeOut(w, append(forTerminal(line, isTerminal(w)), '\n')); err != nil {
			return err
		}
	}
	return nil
}

func flushed(w *tabwriter.Writer) error {
	if err := w.Flush(); err != nil {
		return stdoutError{err}
	}
	return nil
}
