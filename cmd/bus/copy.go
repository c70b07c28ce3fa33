package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"example.com/bus"
	"github.com/urfave/cli/v2"
)

func copyCommand() *cli.Command {
	return &cli.Command{
		Name:  "copy",
		Usage: "copy events between directories and servers, and re-seal them",
		Description: `Copies what is not there yet: an event whose id is there is skipped, so that
it can be run again. Ids, times, keys and trace ids are kept. The copy is sealed
with the --to secret, and plain without one.

   bus copy --from ./data --to ./backup
   bus copy --from ./data --to ./sealed --to-secret-key-file bus.key
   bus copy --from http://localhost:2021 --to ./backup --follow

A gap that bus repair has left in the source is told, and is no damage.

Exit code 3: damage was found in the source.`,
		Flags: append(append(append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`DIRECTORY` of logs, or URL of a server; required"},
			&cli.StringFlag{Name: "to", Usage: "`DIRECTORY` of logs, or URL of a server; required"},
			&cli.BoolFlag{Name: "follow", Usage: "go on with new events until interrupted; needs a URL in --from"},
		}, selectionFlags()...), flagsFor[secrets]("from")...), flagsFor[secrets]("to")...),
		Action: copyEvents,
	}
}

// copyEvents checks both ends and their keys before the first event is read,
// and opens the target last: a mistake leaves nothing behind.
func copyEvents(c *cli.Context) error {
	from, to := c.String("from"), c.String("to")
	if err := checkEnds(from, to, c.Bool("follow")); err != nil {
		return err
	}
	fromRing, err := keysOf(c, "from")
	if err != nil {
		return err
	}
	toRing, err := keysOf(c, "to")
	if err != nil {
		return err
	}
	d := &damages{talk: c.App.ErrWriter, skip: c.Bool("skip-damaged")}
	src, err := openSource(from, fromRing, d)
	if err != nil {
		return err
	}
	defer src.close() // it was only read
	all, err := selection(c.Context, c, src)
	if err != nil {
		return err
	}
	out, err := openSink(c.Context, to, namesOf(all), toRing, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	t := &transfer{sink: out, progress: newProgress(c.App.ErrWriter, "copied")}
	err = runCopy(c, src, all, t)
	t.progress.clear()
	if err = errors.Join(err, out.close()); err != nil {
		return fmt.Errorf("%w (copied %d, skipped %d; what is stored stays, run it again to go on)", err, t.stored, t.skipped)
	}
	fmt.Fprintf(c.App.ErrWriter, "copied %d events, skipped %d that were there\n", t.stored, t.skipped)
	return errors.Join(t.verdict(), d.verdict())
}

// checkEnds refuses what cannot be meant. A directory copied into itself would
// find all of its events there.
func checkEnds(from, to string, follow bool) error {
	switch {
	case from == "" || to == "":
		return usageError("--from and --to are both needed, as in bus copy --from ./data --to ./backup")
	case from == to || !isURL(from) && !isURL(to) && sameDirectory(from, to):
		return usageError("--from and --to are the same place, %s; copy to another", from)
	case follow && !isURL(from):
		return usageError("--follow needs the URL of a server in --from: only a server tells of new events")
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

// runCopy copies namespace after namespace, or follows all at once. To be
// interrupted is how following ends.
func runCopy(c *cli.Context, src source, all []wanted, t *transfer) error {
	if c.Bool("follow") {
		err := follow(c.Context, src, all, t)
		if interrupted(c.Context, err) {
			return nil
		}
		return err
	}
	for _, one := range all {
		err := src.read(c.Context, one, false, func(events []bus.Event) error { return t.add(c.Context, events) })
		if err == nil {
			err = t.flush(c.Context)
		}
		if err != nil {
			return stopped(c.Context, err)
		}
	}
	return nil
}

// followAhead is how many events may be read ahead of what is being written:
// what has come together during one write is the next commit.
const followAhead = 256

// follow reads every namespace in a goroutine of its own and writes what has
// come, at once. It returns when ctx ends or anything fails, after all
// goroutines have ended.
func follow(parent context.Context, src source, all []wanted, t *transfer) error {
	ctx, cancel := context.WithCancelCause(parent)
	arrived := make(chan []bus.Event, followAhead)
	var readers sync.WaitGroup
	for _, one := range all {
		readers.Go(func() {
			cancel(src.read(ctx, one, true, func(events []bus.Event) error {
				select {
				case arrived <- events:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}))
		})
	}
	cancel(writeArrived(ctx, arrived, t))
	readers.Wait()
	return context.Cause(ctx)
}

// writeArrived waits for events, and commits all that are there.
func writeArrived(ctx context.Context, arrived <-chan []bus.Event, t *transfer) error {
	for {
		select {
		case events := <-arrived:
			if err := t.add(ctx, events); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if len(arrived) > 0 {
			continue
		}
		if err := t.flush(ctx); err != nil {
			return err
		}
	}
}
