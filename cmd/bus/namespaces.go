package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/bus"
	"github.com/urfave/cli/v2"
)

func namespacesCommand() *cli.Command {
	return &cli.Command{
		Name:  "namespaces",
		Usage: "list, declare, change, purge and delete namespaces of a running server, list what waits in them, and delete single events",
		Description: `All but ls, show and delayed need a server that was started with --admin, or its
--admin-addr as --host.

   bus namespaces ls
   bus namespaces delayed --namespace invoices
   bus namespaces declare --namespace invoices --retention 7d,10GiB
   bus namespaces retain --namespace invoices --retention 1000000events
   bus namespaces retain --namespace prices --retention compact
   bus namespaces purge --namespace invoices --before 5000
   bus namespaces delete-event --namespace invoices --event 4711
   bus namespaces delete --namespace invoices --confirm invoices

Prints a table, or with --json an object a line.

With compact in a retention the newest event of each subject is kept for good,
and older ones are removed when that pays.

delete-event deletes what is in one event, for whom the law or a person asks for
it: from the log, durably, from memory, and from the dead letters. Its index stays.
Backups, mirrors, dumps, files that recovery or bus repair has set aside, and what
subscribers have, are not touched; nor are the free blocks of the disk, which of a
sealed log hold ciphertext. Events that it is said to be already deleted are no error.`,
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list them", Flags: []cli.Flag{hostFlag(), jsonFlag()}, Action: listNamespaces},
			{Name: "show", Usage: "show one; with --json all there is to say", Flags: oneNamespace(), Action: showNamespace},
			{Name: "delayed", Usage: "list the events that wait for their delivery, by index; with --json whole", Flags: oneNamespace(
				&cli.IntFlag{Name: "limit", Usage: "end after `N` events"}), Action: listDelayed},
			{Name: "declare", Usage: "declare one, for good", Flags: oneNamespace(
				&cli.StringFlag{Name: "retention", Usage: "how much is kept, as in 7d,10GiB,1000000events,discard=new, or compact", DefaultText: "everything"}), Action: declareNamespace},
			{Name: "retain", Usage: "change how much is kept", Flags: oneNamespace(
				&cli.StringFlag{Name: "retention", Usage: "as in 7d,10GiB,1000000events,discard=new, or compact; all for everything; required"}), Action: retainNamespace},
			{Name: "purge", Usage: "delete the events in front of an index, whole closed files of them: of a log in one file all or none", Flags: oneNamespace(
				&cli.Uint64Flag{Name: "before", Usage: "the index; required"}), Action: purgeNamespace},
			{Name: "delete-event", Usage: "delete one event with all that was in it; nothing brings it back", Flags: oneNamespace(
				&cli.StringFlag{Name: "event", Usage: "its id, or its index; id:42 for a publisher's id that is a number; required"}), Action: deleteEvent},
			{Name: "delete", Usage: "delete one with all its events; nothing brings them back", Flags: oneNamespace(
				&cli.StringFlag{Name: "confirm", Usage: "its name once more; required"}), Action: deleteNamespace},
		},
	}
}

func oneNamespace(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{hostFlag(), namespaceFlag("its name; required"), jsonFlag()}, more...)
}

// namespaceOf is the one that is meant.
func namespaceOf(c *cli.Context) (string, error) {
	name := c.String("namespace")
	if err := bus.CheckNamespace(name); err != nil {
		return "", usageError("--namespace is %q, wanted the name of a namespace, 1 to 64 of A-Z a-z 0-9 _ - and no underscore in front, as in %s --namespace invoices", name, c.Command.HelpName)
	}
	return name, nil
}

func listNamespaces(c *cli.Context) error {
	all, err := newClient(c).Namespaces(c.Context)
	if err != nil {
		return serverError(c, err)
	}
	return printNamespaces(c, all)
}

func showNamespace(c *cli.Context) error {
	name, err := namespaceOf(c)
	if err != nil {
		return err
	}
	return printNamespace(c)(newClient(c).Namespace(c.Context, name))
}

func declareNamespace(c *cli.Context) error {
	name, err := namespaceOf(c)
	if err != nil {
		return err
	}
	var kept *bus.RetentionInfo
	if text := c.String("retention"); text != "" {
		if kept, err = parseRetention(text); err != nil {
			return err
		}
	}
	return printNamespace(c)(newClient(c).DeclareNamespace(c.Context, name, kept))
}

func retainNamespace(c *cli.Context) error {
	name, err := namespaceOf(c)
	if err != nil {
		return err
	}
	if c.String("retention") == "" {
		return usageError("--retention is missing, wanted how much is to be kept, as in --retention 7d,10GiB, or all")
	}
	kept, err := parseRetention(c.String("retention"))
	if err != nil {
		return err
	}
	server := newClient(c)
	if _, err := server.Namespace(c.Context, name); err != nil { // which a typo must not declare
		return serverError(c, err)
	}
	return printNamespace(c)(server.DeclareNamespace(c.Context, name, kept))
}

func purgeNamespace(c *cli.Context) error {
	name, err := namespaceOf(c)
	if err != nil {
		return err
	}
	if c.Uint64("before") == 0 {
		return usageError("--before is missing, wanted the index in front of which events are deleted")
	}
	return printNamespace(c)(newClient(c).PurgeNamespace(c.Context, name, c.Uint64("before")))
}

func deleteNamespace(c *cli.Context) error {
	name, err := namespaceOf(c)
	if err != nil {
		return err
	}
	if c.String("confirm") != name {
		return usageError("--confirm is %q, wanted %s, to say that all its events may go", c.String("confirm"), name)
	}
	return wrapServer(c, newClient(c).DeleteNamespace(c.Context, name))
}

// deleteEvent says what was deleted, by the index that stays.
func deleteEvent(c *cli.Context) error {
	name, err := namespaceOf(c)
	if err != nil {
		return err
	}
	if c.String("event") == "" {
		return usageError("--event is missing, wanted the id or the index of the event to delete")
	}
	did, err := newClient(c).DeleteEvent(c.Context, name, c.String("event"))
	if err != nil {
		return serverError(c, err)
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(did)
	}
	word := "deleted"
	if did.Already {
		word = "was deleted already"
	}
	return writeOut(c.App.Writer, fmt.Appendf(nil, "%s %d %s %s\n", oneLine(did.Namespace), did.Index, oneLine(did.ID), word))
}

// parseRetention reads a policy as --retention of bus server has it, without the
// namespace in front. "all" keeps everything.
func parseRetention(text string) (*bus.RetentionInfo, error) {
	if text == "all" {
		return &bus.RetentionInfo{}, nil
	}
	var p policy
	for word := range strings.SplitSeq(text, ",") {
		if err := p.add(strings.TrimSpace(word)); err != nil {
			return nil, usageError("--retention has %q: %v; without the name of the namespace", word, err)
		}
	}
	if err := p.Check(); err != nil {
		return nil, usageError("--retention: %v", err)
	}
	info := &bus.RetentionInfo{MaxBytes: p.MaxBytes, MaxEvents: p.MaxEvents, Discard: "old", Compact: p.Compact}
	if p.MaxAge > 0 {
		info.MaxAge = p.MaxAge.String()
	}
	if p.DiscardNew {
		info.Discard = "new"
	}
	return info, nil
}

func printNamespace(c *cli.Context) func(bus.NamespaceInfo, error) error {
	return func(info bus.NamespaceInfo, err error) error {
		if err != nil {
			return serverError(c, err)
		}
		return printNamespaces(c, []bus.NamespaceInfo{info})
	}
}

func printNamespaces(c *cli.Context, all []bus.NamespaceInfo) error {
	if c.Bool("json") {
		e := json.NewEncoder(c.App.Writer)
		for i := range all {
			if err := e.Encode(&all[i]); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tFIRST\tLAST\tBYTES\tLAST AT\tRATE\tCONSUMERS\tDELAYED\tRETENTION\tPROBLEM")
	for i := range all {
		n := &all[i]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%.1f/s\t%d\t%d\t%s\t%s\n",
			oneLine(n.Name), n.First, n.Last, n.Bytes, whenOf(n.LastAt), n.Rate, n.Consumers, n.Delayed, keptText(n.Retention), oneLine(n.Problem))
	}
	return flushed(w)
}

func whenOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
