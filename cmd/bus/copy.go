package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"example.com/bus"
	"example.com/bus/crypto"
	"github.com/urfave/cli/v2"
)

func copyCommand() *cli.Command {
	return &cli.Command{
		Name:  "copy",
		Usage: "copy events between directories and servers, re-seal them, and mirror a server",
		Description: `Copies what is not there yet: an event whose id is there is skipped, so that
it can be run again. Ids, times, keys and trace ids are kept. The copy is sealed
with the --to secret, and plain without one. Where --to keeps only the newest of
each subject (compact), or did so once, an event that is older than what is there
of its subject is left out and counted: it may have been there.

   bus copy --from ./data --to ./backup
   bus copy --from ./data --to ./sealed --to-secret-key-file bus.key

With --follow it goes on with new events, until it is interrupted: --to is a
mirror. Every namespace keeps its order, each event is there once, and after a
crash of either end or of the copy it goes on where the mirror ends, which it
finds out from the mirror itself. An end that is away or full is waited for.
Nobody else should write to a mirror; what stands there is told and stays.

   bus copy --from http://localhost:2021 --to http://backup:2021 --follow
   bus copy --from ./data --to ./backup --follow --status-addr 127.0.0.1:2022

What waits for its delivery is copied, and waits at the target; with --follow it
comes when it is due. What was put off and is delivered is copied in the order of
delivery, but from a directory without --follow where it was published. A gap that bus repair has left in the source is told, and is
no damage.
The bus's own logs, of named consumers and dead letters, are not copied: they
are about the indexes of the source.

Exit code 3: damage was found in the source. 1, and all others are copied: an
event may not wait for its delivery at the target (--max-delayed, or an age in
--retention there: allow more and run it again). With --follow, 0 after a signal,
and 1 when the mirror cannot go on: it has events of another log, or lacks some
before those that it has, or one of the ends refuses what it is asked.`,
		Flags: append(append(append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`DIRECTORY` of logs, or URL of a server; required"},
			&cli.StringFlag{Name: "to", Usage: "`DIRECTORY` of logs, or URL of a server; required"},
			&cli.BoolFlag{Name: "follow", Usage: "go on with new events until interrupted"},
			&cli.StringFlag{Name: "status-addr", Usage: "with --follow: serve /livez, /readyz and /metrics at this `HOST:PORT`"},
			&cli.DurationFlag{Name: "max-lag", Value: defaultMaxLag, Usage: "with --follow: a mirror that is further behind says so, and is not ready"},
		}, selectionFlags()...), flagsFor[secrets]("from")...), flagsFor[secrets]("to")...),
		Action: copyEvents,
	}
}

// ends are the two places of a copy, and the keys for them.
type ends struct {
	from, to         string
	fromRing, toRing *crypto.Keyring
}

// copyEvents checks both ends and their keys before the first event is read,
// and opens the target last: a mistake leaves nothing behind.
func copyEvents(c *cli.Context) (err error) {
	e := ends{from: c.String("from"), to: c.String("to")}
	if err := checkEnds(c, e); err != nil {
		return err
	}
	if e.fromRing, err = keysOf(c, "from"); err != nil {
		return err
	}
	if e.toRing, err = keysOf(c, "to"); err != nil {
		return err
	}
	if c.Bool("follow") {
		return mirrorEvents(c, e)
	}
	d := &damages{talk: c.App.ErrWriter, skip: c.Bool("skip-damaged")}
	src, err := openSource(e.from, e.fromRing, d)
	if err != nil {
		return err
	}
	defer src.close() // it was only read
	all, err := selection(c.Context, c, src)
	if err != nil {
		return err
	}
	out, err := openSink(c.Context, e.to, namesOf(all), e.toRing, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	t := &transfer{sink: out, progress: newProgress(c.App.ErrWriter, "copied")}
	err = copyAll(c.Context, src, all, t)
	t.progress.clear()
	return ended(c, errors.Join(err, out.close()), d, t)
}

// ended says what was copied, and what a person has to know of it.
func ended(c *cli.Context, err error, d *damages, t *transfer) error {
	if err != nil {
		return fmt.Errorf("%w (copied %d, skipped %d; what is stored stays; run it again to go on, once that is put right)", err, t.stored, t.skipped+t.older)
	}
	fmt.Fprintf(c.App.ErrWriter, "copied %s, %s\n", countOf(t.stored, false), t.leftOut())
	return errors.Join(t.verdict(), d.verdict())
}

// checkEnds refuses what cannot be meant. A directory copied into itself would
// find all of its events there.
func checkEnds(c *cli.Context, e ends) error {
	switch {
	case e.from == "" || e.to == "":
		return usageError("--from and --to are both needed, as in bus copy --from ./data --to ./backup")
	case e.from == e.to || !isURL(e.from) && !isURL(e.to) && sameDirectory(e.from, e.to):
		return usageError("--from and --to are the same place, %s; copy to another", e.from)
	case !c.Bool("follow") && (c.IsSet("status-addr") || c.IsSet("max-lag")):
		return usageError("--status-addr and --max-lag are about a copy that goes on; give --follow as well")
	case c.Duration("max-lag") <= 0:
		return usageError("--max-lag is %s, wanted a duration such as 30s", c.Duration("max-lag"))
	}
	return nil
}

// sameDirectory compares names only: two names of one directory meet at its
// lock, or at the ids, and nothing is written twice.
func sameDirectory(a, b string) bool {
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	return errA == nil && errB == nil && absA == absB
}

// copyAll copies namespace after namespace.
func copyAll(ctx context.Context, src source, all []wanted, t *transfer) error {
	for _, one := range all {
		err := t.newestOf(ctx, src, one)
		if err == nil {
			err = src.read(ctx, one, func(events []bus.Event) error { return t.add(ctx, events) })
		}
		if err == nil {
			err = t.flush(ctx)
		}
		if err != nil {
			return stopped(ctx, err)
		}
	}
	return nil
}

// newestOf looks, before a namespace is copied, which of its events the target has no
// use for.
func (t *transfer) newestOf(ctx context.Context, src source, w wanted) error {
	t.there = subjects{}
	if err := t.there.addFrom(ctx, t.sink, w); err != nil {
		return err
	}
	return t.there.seen(func(note func(*bus.Event)) error {
		return src.delivering().read(ctx, w, func(events []bus.Event) error {
			for i := range events {
				note(&events[i])
			}
			return nil
		})
	})
}
