package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"example.com/bus"
	"github.com/urfave/cli/v2"
)

func dumpCommand() *cli.Command {
	return &cli.Command{
		Name:  "dump",
		Usage: "write events to a file, a line each",
		Description: `Writes NDJSON: a first line that says what it is, an event a line, and a
last line with counts and a checksum, so that a dump that was cut off is known
as such. It may run beside a server on the same directory. A dump is in the
clear, also when the log is sealed.

   bus dump --path ./data --output events.json
   bus dump --host http://localhost:2021 --namespaces orders | gzip > orders.json.gz

A gap that bus repair has left in a log is a line of the dump, and no damage.
What waits for its delivery is in it, with its deliver_at: of a server at the end
of its namespace. What was put off and is delivered stands, of a server, in the
order of delivery; of a directory where it was published. The bus's own logs, of named consumers and dead letters, are not.

Exit code 3: damage was found; without --skip-damaged there is no file.`,
		Flags: append(append([]cli.Flag{
			placeFlag(), hostFlag(),
			&cli.StringFlag{Name: "output", Usage: "`FILE` to write, which appears when it is whole; stdout when absent or -"},
		}, selectionFlags()...), flagsFor[secrets]("")...),
		Action: dump,
	}
}

// dump selects before it creates anything, so that a mistyped name leaves no
// file behind.
func dump(c *cli.Context) error {
	d := &damages{talk: c.App.ErrWriter, skip: c.Bool("skip-damaged")}
	place, ring, err := placeAndKeys(c)
	if err != nil {
		return err
	}
	src, err := openSource(place, ring, d)
	if err != nil {
		return err
	}
	defer src.close() // it was only read
	all, err := selection(c.Context, c, src)
	if err != nil {
		return err
	}
	path := c.String("output")
	if path == "" || path == "-" {
		if _, err := writeDump(c.Context, stdout{c.App.Writer}, src, all, d, nil); err != nil {
			return stopped(c.Context, err)
		}
		return d.verdict()
	}
	var count uint64
	write := func(w io.Writer) (err error) {
		count, err = writeDump(c.Context, w, src, all, d, newProgress(c.App.ErrWriter, "dumped"))
		return err
	}
	if err := writeWhole(path, write); err != nil {
		return stopped(c.Context, err)
	}
	fmt.Fprintf(c.App.ErrWriter, "dumped %s to %s\n", countOf(count, false), path)
	return d.verdict()
}

// stopped says that a signal has ended it, where the error only says so in the
// words of a library.
func stopped(ctx context.Context, err error) error {
	if interrupted(ctx, err) {
		return errors.New("interrupted before the end; run it again")
	}
	return err
}

// stdout marks errors of writing as those of stdout.
type stdout struct{ w io.Writer }

// Write keeps a full disk behind stdout apart from damage in the source.
func (s stdout) Write(data []byte) (int, error) {
	n, err := s.w.Write(data)
	if err != nil {
		err = stdoutError{err}
	}
	return n, err
}

// writeDump writes namespace after namespace. Without its last line, which it
// writes only when everything was read, what it wrote is no dump.
func writeDump(ctx context.Context, w io.Writer, src source, all []wanted, damage *damages, p *progress) (uint64, error) {
	defer p.clear()
	out := bufio.NewWriterSize(w, 256<<10)
	d, err := newDumpWriter(out, namesOf(all), time.Now())
	if err != nil {
		return 0, err
	}
	damage.lost = d.gap
	to, isStdout := w.(stdout)
	d.terminal = isStdout && isTerminal(to.w)
	for _, one := range all {
		err := src.read(ctx, one, func(events []bus.Event) error {
			p.show(d.end.Events)
			return d.add(events)
		})
		if err != nil {
			return 0, err
		}
	}
	return d.end.Events, errors.Join(d.finish(), out.Flush())
}

// writeWhole makes a file that is there whole or not at all: what is written
// stands under another name until it is on the disk.
func writeWhole(path string, write func(io.Writer) error) error {
	// A name that nobody can have taken before: behind a link, or in a file that
	// others may read, the clear text would be theirs.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.partial")
	if err != nil {
		return hint(err, "choose a file that can be written with --output")
	}
	partial := f.Name()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// syncDirectory makes a new name durable.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
