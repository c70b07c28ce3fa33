package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"example.com/bus"
	"github.com/urfave/cli/v2"
)

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name:  "restore",
		Usage: "write a dump into a directory or a server",
		Description: `Checks the whole dump before the first write, then writes what is not there:
an event whose id is there is skipped, so that it can be run again. Ids, times,
keys and trace ids are kept; indexes are given anew. Where only the newest of each
subject is kept (compact), or was once, an event that is older than what is there
of its subject is left out and counted: it may have been there. What waits for its
delivery waits on, unless that is due by now. Gaps that the dump speaks of are
told on stderr.

   bus restore --path ./data --input events.json
   gunzip < orders.json.gz | bus restore --host http://localhost:2021 --input -

Exit code 3: the dump is cut off or damaged, and nothing was written; or it was
written but for events that this very log has lost to damage. 1, and all others are
written: an event may not wait for its delivery there (--max-delayed, or an age in
--retention: allow more and run it again).`,
		Flags: append([]cli.Flag{
			placeFlag(), hostFlag(),
			&cli.StringFlag{Name: "input", Usage: "`FILE` of bus dump; - reads stdin; required"},
		}, flagsFor[secrets]("")...),
		Action: restore,
	}
}

// restore reads the dump twice: to check it, and to write it. A dump that fails
// in its last line has not been written by half.
func restore(c *cli.Context) error {
	place, ring, err := placeAndKeys(c)
	if err != nil {
		return err
	}
	f, err := openDump(c)
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	header, err := checkDump(c.Context, f)
	if err != nil {
		return stopped(c.Context, err)
	}
	if len(header.Namespaces) == 0 {
		fmt.Fprintln(c.App.ErrWriter, "restored 0 events, skipped 0: the dump has no namespaces")
		return nil
	}
	to, err := openSink(c.Context, place, header.Namespaces, ring, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	t := &transfer{sink: to, progress: newProgress(c.App.ErrWriter, "restored")}
	d := &damages{talk: c.App.ErrWriter}
	if err = t.newestOfDump(c.Context, f, header); err == nil {
		err = restoreDump(c.Context, f, header, t, d)
	}
	t.progress.clear()
	if err = errors.Join(stopped(c.Context, err), to.close()); err != nil {
		return fmt.Errorf("%w (restored %d, skipped %d; what is stored stays; run it again to go on, once that is put right)", err, t.stored, t.skipped+t.older)
	}
	fmt.Fprintf(c.App.ErrWriter, "restored %s, %s\n", countOf(t.stored, false), t.leftOut())
	return t.verdict()
}

// openDump returns the file to read twice. What comes through a pipe is put
// into a file of our own first.
func openDump(c *cli.Context) (*os.File, error) {
	path := c.String("input")
	switch path {
	case "":
		return nil, usageError("--input is missing, as in --input events.json, or - for stdin")
	case "-":
		return spool(c.App.Reader)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, hint(err, "name a file of bus dump with --input")
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(usageError("--input %s is no regular file; feed a pipe with --input -", path), err, f.Close())
	}
	return f, nil
}

// spool copies to a temporary file that has no name any more when it returns,
// so that it goes away with the process, however it ends.
func spool(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "bus-restore-*") // mode 0600: it holds everything in the clear
	if err != nil {
		return nil, hint(err, "set TMPDIR to a directory with room for the dump")
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, hint(errors.Join(err, f.Close()), "nothing was written; is there room in TMPDIR?")
	}
	return f, nil
}

// checkDump makes sure that all of a dump can be read.
func checkDump(ctx context.Context, f *os.File) (dumpHeader, error) {
	return eachOfDump(ctx, f, func(*bus.Event) {})
}

// newestOfDump looks which events of a dump the target has no use for.
func (t *transfer) newestOfDump(ctx context.Context, f *os.File, header dumpHeader) error {
	t.there.lines = true
	for _, name := range header.Namespaces {
		if err := t.there.addFrom(ctx, t.sink, wanted{namespace: name}); err != nil {
			return err
		}
	}
	return t.there.seen(func(note func(*bus.Event)) error {
		_, err := eachOfDump(ctx, f, note)
		return err
	})
}

// eachOfDump reads all of a dump and goes back to its beginning.
func eachOfDump(ctx context.Context, f *os.File, take func(*bus.Event)) (dumpHeader, error) {
	d, err := newDumpReader(f)
	if err != nil {
		return dumpHeader{}, err
	}
	for ctx.Err() == nil {
		e, failed := d.event()
		if err = failed; err != nil {
			break
		}
		e.Index = uint64(d.line) // a dump has no other order than that of its lines
		take(&e)
	}
	if ctx.Err() != nil {
		return dumpHeader{}, context.Cause(ctx)
	}
	if !errors.Is(err, io.EOF) {
		return dumpHeader{}, hint(err, "nothing was written")
	}
	_, err = f.Seek(0, io.SeekStart)
	return d.header, err
}

// restoreDump writes a dump that has been checked. The file is checked again
// on the way, because it may have changed since.
func restoreDump(ctx context.Context, f *os.File, header dumpHeader, t *transfer, told *damages) error {
	d, err := newDumpReader(f)
	if err != nil {
		return err
	}
	d.gap = func(l lostEvents) error {
		// What comes behind the gap is not stored without what stands before it.
		if err := atDumpLine(d.line-1, t, t.flush(ctx)); err != nil {
			return err
		}
		return told.gone(l)
	}
	if !slices.Equal(d.header.Namespaces, header.Namespaces) {
		return errors.New("the dump was changed while it was read; keep it still and run it again")
	}
	for {
		e, err := d.event()
		if errors.Is(err, io.EOF) {
			return atDumpLine(d.line-1, t, t.flush(ctx))
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.Index = uint64(d.line)
		if err := t.add(ctx, []bus.Event{e}); err != nil {
			return atDumpLine(d.line-1, t, err) // the event at hand is not in what failed
		}
	}
}

// atDumpLine says which lines an error of writing is about, when last is that
// of the last event that was read.
func atDumpLine(last int, t *transfer, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	e, ok := bus.AsError(err)
	switch n := len(t.pending); {
	case n == 0:
		return fmt.Errorf("stopped at line %d: %w", last+1, err) // the event at hand
	case ok && e.Line > 0 && e.Line <= n:
		return fmt.Errorf("stopped at line %d: %w", t.pending[e.Line-1].Index, err)
	default:
		return fmt.Errorf("stopped in lines %d to %d: %w", t.pending[0].Index, t.pending[n-1].Index, err)
	}
}
