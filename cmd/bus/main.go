// Command bus is the event bus and everything around it: the server, and the
// verbs that publish, read, acknowledge, keep, move and check events.
//
// Data goes to stdout, talk to stderr. A file a command; each reads its flags,
// calls the library that does the work, and prints.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

func main() {
	// Without this a reader that goes away (bus get | head -1) kills the process
	// with a signal; with it the write fails, and the command ends in order.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is main with everything handed in. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := interruptible(context.Background(), stderr)
	defer stop()
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	return report(stderr, app.RunContext(ctx, args))
}

// oneSignal is how long a second signal is taken for the first: timeout and
// others signal a process, and then the group that it is in.
const oneSignal = 200 * time.Millisecond

// interruptible ends the context at the first interrupt or termination signal,
// and the process at the second. The second is not left to the system: process
// 1 of a container would not die of it.
func interruptible(parent context.Context, stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for first := (time.Time{}); ; {
			select {
			case <-signals:
			case <-done:
				return
			}
			switch {
			case first.IsZero():
				first = time.Now()
				cancel()
			case time.Since(first) >= oneSignal:
				fmt.Fprintln(stderr, "bus: stopped at once by a second signal")
				os.Exit(exitFailed)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// description is what bus --help says first.
const description = `An event bus that needs nothing but HTTP: POST publishes, GET streams
Server-Sent Events, PUT acknowledges. Start one with

   bus server --namespaces orders

and in two other terminals

   bus get --subject "orders.>"
   bus put --subject orders.created --data '{"hello":"world"}'

Every flag of the server has a variable, shown with it; the flag wins.
Data goes to stdout, everything else to stderr.

` + exitCodes

// newApp wires the commands. Errors come back to run, which alone prints them.
func newApp() *cli.App {
	return &cli.App{
		Name:            "bus",
		Usage:           "a persistent event bus over HTTP",
		UsageText:       "bus command [flags]      bus help command",
		Description:     description,
		Version:         buildVersion().Version,
		HideHelpCommand: false,
		// A secret, an id or a JSON text may hold a comma.
		DisableSliceFlagSeparator: true,
		Commands:                  commands(),
		Before:                    knownHelp,
		Action:                    noCommand,
		OnUsageError:              onUsageError,
		ExitErrHandler:            func(*cli.Context, error) {}, // run reports, once
	}
}

// commands are in the order in which one meets them.
func commands() []*cli.Command {
	all := []*cli.Command{
		serverCommand(),
		putCommand(),
		getCommand(),
		ackCommand(),
		consumersCommand(),
		namespacesCommand(),
		deadCommand(),
		dumpCommand(),
		restoreCommand(),
		copyCommand(),
		debugCommand(),
		verifyCommand(),
		repairCommand(),
		benchCommand(),
		keygenCommand(),
		healthCommand(),
		versionCommand(),
	}
	return knownOnly(all)
}

// knownOnly has commands, and those below them, refuse what they do not know.
func knownOnly(all []*cli.Command) []*cli.Command {
	for _, c := range all {
		c.HideHelpCommand = true
		c.OnUsageError = onUsageError
		c.Action = withoutArguments(c.Action)
		if len(c.Subcommands) > 0 {
			c.Action = noVerb
			knownOnly(c.Subcommands)
		}
	}
	return all
}

// noVerb answers a command without its verb, or with one that does not exist.
func noVerb(c *cli.Context) error {
	verbs := commandNames(c.Command.Subcommands)
	return usageError("%q is no verb of bus %s, wanted one of %s, as in bus %s %s", c.Args().First(), c.Command.Name, strings.Join(verbs, ", "), c.Command.Name, verbs[0])
}

// withoutArguments refuses what stands beside the flags. Parsing stops there,
// so that a flag after it would otherwise be dropped in silence.
func withoutArguments(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return usageError("%q stands alone, wanted only flags; see %s --help", c.Args().First(), c.Command.HelpName)
		}
		return action(c)
	}
}

// knownHelp refuses bus help NAME for a command that does not exist, as noCommand
// does bus NAME: the library's own answer has neither our words nor our exit code.
func knownHelp(c *cli.Context) error {
	asked, name := c.Args().First(), c.Args().Get(1)
	if asked != "help" && asked != "h" || name == "" || c.App.Command(name) != nil {
		return nil
	}
	return unknownCommand(c, name)
}

// noCommand answers bus without a command, or with one that does not exist.
func noCommand(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		return usageError("a command is missing, as in bus server; see bus --help")
	}
	return unknownCommand(c, name)
}

func unknownCommand(c *cli.Context, name string) error {
	if near := nearest(name, commandNames(c.App.Commands), 2); near != "" {
		return usageError("there is no command %q; did you mean %q? see bus --help", name, near)
	}
	return usageError("there is no command %q; see bus --help", name)
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return names
}
