package main

import (
	"fmt"
	"text/tabwriter"

	"example.com/bus"
	"github.com/urfave/cli/v2"
)

// listDelayed prints the events of a namespace that wait for their delivery.
func listDelayed(c *cli.Context) error {
	name, err := namespaceOf(c)
	if err != nil {
		return err
	}
	if c.IsSet("limit") && c.Int("limit") < 1 {
		return usageError("--limit is %d, wanted at least 1", c.Int("limit"))
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	if !c.Bool("json") {
		fmt.Fprintln(w, "INDEX\tDUE\tSUBJECT\tID")
	}
	n := 0
	for e, err := range newClient(c).Delayed(c.Context, name) {
		if err != nil {
			return serverError(c, err)
		}
		if c.Bool("json") {
			if err := writeOut(c.App.Writer, append(forTerminal(e.AppendJSON(nil), isTerminal(c.App.Writer)), '\n')); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", e.Index, dueOf(&e), oneLine(e.Subject), oneLine(e.Id))
		}
		if n++; n == c.Int("limit") {
			break
		}
	}
	return flushed(w)
}

// dueOf is when an event is to be delivered, as far as the server says so.
func dueOf(e *bus.Event) string {
	if e.Timing == nil {
		return "-"
	}
	return whenOf(e.Timing.DeliverAt)
}
