package main

import (
	"cmp"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"example.com/bus"
	"example.com/bus/client"
	"github.com/urfave/cli/v2"
)

func deadCommand() *cli.Command {
	some := func(more ...cli.Flag) []cli.Flag {
		return append([]cli.Flag{hostFlag(), namespaceFlag("of the letters; required"),
			&cli.StringSliceFlag{Name: "id", Usage: "id of the letter; repeatable"},
			&cli.BoolFlag{Name: "all", Usage: "all that are open, instead of --id"},
			&cli.StringFlag{Name: "consumer", Usage: "with --all: only those of this consumer; _ for all without a name"}}, more...)
	}
	return &cli.Command{
		Name:  "dead",
		Usage: "list, show, retry and drop dead letters",
		Description: `An event that a consumer gave up, after its last attempt or with bus ack
--verdict term, is a dead letter. It is open until it is retried or dropped.

   bus dead ls --namespace orders
   bus dead show --namespace orders --id e_xxx
   bus dead retry --namespace orders --id e_xxx
   bus dead drop --namespace orders --all --consumer billing

retry has it delivered once more to its named consumer alone; where there is
none it is published again, with --publish=false it stays open instead. It stays
open as well when its time to live is over, or a newer event of its subject took
its place in a namespace that is compacted: drop it then. With --all the others
have their turn all the same, and the command fails at the end.`,
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list those that are open, the oldest first", Flags: []cli.Flag{hostFlag(), namespaceFlag("of the letters; required"),
				&cli.StringFlag{Name: "consumer", Usage: "only those of this consumer; _ for all without a name"},
				&cli.IntFlag{Name: "limit", Usage: "end after `N` letters"}, jsonFlag()}, Action: listDead},
			{Name: "show", Usage: "print one with its event, as JSON", Flags: []cli.Flag{hostFlag(), namespaceFlag("of the letter; required"),
				&cli.StringFlag{Name: "id", Usage: "its id; required"}}, Action: showDead},
			{Name: "retry", Usage: "have the event tried again", Flags: some(&cli.BoolFlag{Name: "publish", Value: true, Usage: "publish it again where it cannot be delivered to its consumer alone"}), Action: retryDead},
			{Name: "drop", Usage: "take it off the list", Flags: some(), Action: dropDead},
		},
	}
}

func deadNamespace(c *cli.Context) (string, error) {
	if c.String("namespace") == "" {
		return "", usageError("--namespace is missing, as in %s --namespace orders", c.Command.HelpName)
	}
	return c.String("namespace"), nil
}

func listDead(c *cli.Context) error {
	namespace, err := deadNamespace(c)
	if err != nil {
		return err
	}
	if c.IsSet("limit") && c.Int("limit") < 1 {
		return usageError("--limit is %d, wanted at least 1", c.Int("limit"))
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	if !c.Bool("json") {
		fmt.Fprintln(w, "ID\tCONSUMER\tSUBJECT\tINDEX\tATTEMPTS\tREASON\tAT")
	}
	n := 0
	for letter, err := range newClient(c).DeadLetters(c.Context, namespace, c.String("consumer")) {
		if err != nil {
			return serverError(c, err)
		}
		if c.Bool("json") {
			if err := printLines(c.App.Writer, []client.DeadLetter{letter}); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", oneLine(letter.ID), oneLine(letter.Consumer), oneLine(letter.Subject), letter.EventIndex,
				letter.Attempts, oneLine(letter.Reason), letter.At.Format(time.RFC3339))
		}
		if n++; n == c.Int("limit") {
			break
		}
	}
	return flushed(w)
}

func showDead(c *cli.Context) error {
	namespace, err := deadNamespace(c)
	if err != nil {
		return err
	}
	if c.String("id") == "" {
		return usageError("--id is missing; bus dead ls --namespace %s lists them", namespace)
	}
	letter, err := newClient(c).DeadLetter(c.Context, namespace, c.String("id"))
	if err != nil {
		return serverError(c, err)
	}
	return printLines(c.App.Writer, []client.DeadLetter{letter})
}

// retryDead says for each letter what was done.
func retryDead(c *cli.Context) error {
	server := newClient(c)
	return eachLetter(c, server, func(namespace, id string) error {
		did, err := server.RetryDeadLetter(c.Context, namespace, id, c.Bool("publish"))
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s delivered to %s\n", id, did.DeliveredTo)
		if did.Published != nil {
			line = fmt.Sprintf("%s published as %s %d\n", id, did.Published.ID, did.Published.Index)
		}
		return writeOut(c.App.Writer, []byte(line))
	})
}

func dropDead(c *cli.Context) error {
	server := newClient(c)
	return eachLetter(c, server, func(namespace, id string) error {
		return server.DropDeadLetter(c.Context, namespace, id)
	})
}

// eachLetter does something with the letters that are meant. It stops at the
// first that fails, and can be run again; of all, one that somebody else has done
// with meanwhile is none that fails, and one whose event is not given to anybody again
// keeps no other from its turn: the first of those is returned at the end.
func eachLetter(c *cli.Context, server *client.Client, do func(namespace, id string) error) error {
	namespace, err := deadNamespace(c)
	if err != nil {
		return err
	}
	ids, all := c.StringSlice("id"), c.Bool("all")
	switch {
	case all == (len(ids) > 0):
		return usageError("--id or --all is needed, one of them; bus dead ls --namespace %s lists them", namespace)
	case c.String("consumer") != "" && !all:
		return usageError("--consumer goes with --all; a letter's --id says whose it is")
	}
	if all {
		for letter, err := range server.DeadLetters(c.Context, namespace, c.String("consumer")) {
			if err != nil {
				return serverError(c, err)
			}
			ids = append(ids, letter.ID)
		}
	}
	var kept error
	done := 0
	for _, id := range ids {
		err := do(namespace, id)
		switch {
		case all && errors.Is(err, bus.ErrEventRemoved):
			kept = cmp.Or(kept, err)
			continue
		case all && errors.Is(err, bus.ErrLetterResolved), err == nil:
			done++
			continue
		case len(ids) > 1:
			err = fmt.Errorf("%w (of %d letters %d are done with)", err, len(ids), done)
		}
		return serverError(c, err)
	}
	if kept != nil && len(ids) > 1 {
		kept = fmt.Errorf("%w (of %d letters %d are done with; bus dead ls lists the others)", kept, len(ids), done)
	}
	if kept != nil {
		return serverError(c, kept)
	}
	return nil
}
