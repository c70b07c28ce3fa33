package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/crypto"
	"example.com/bus/server/disk"
	"github.com/urfave/cli/v2"
)

func debugCommand() *cli.Command {
	return &cli.Command{
		Name:  "debug",
		Usage: "show what is in a directory of logs",
		Description: `Shows each namespace: files, indexes, times, key, problems. It only reads,
and may run beside a server. Its number of events has those that were lost in
it; bus verify counts those that are there. With --namespace it prints events:
one that was put off as it was published, with its deliver_at, and again where it
was delivered, with its delivered_index.

   bus debug --path ./data
   bus debug --path ./data --namespace orders --from 100 --limit 3`,
		Flags: append([]cli.Flag{
			directoryFlag(),
			&cli.BoolFlag{Name: "json", Usage: "print JSON, a namespace a line"},
			&cli.StringFlag{Name: "namespace", Usage: "print events of this namespace"},
			&cli.Uint64Flag{Name: "from", Value: 1, Usage: "index of the first event to print"},
			&cli.IntFlag{Name: "limit", Value: 20, Usage: "events to print"},
		}, flagsFor[secrets]("")...),
		Action: debugLogs,
	}
}

// inspected is what debug says of a namespace.
type inspected struct {
	bus.NamespaceInfo
	Files []logFile `json:"files"`
}

// logFile is a file of a namespace: its log, index, bytes that were cut, or what
// is derived from the log.
type logFile struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// debugLogs looks at one namespace after the other.
func debugLogs(c *cli.Context) error {
	dir, ring, err := directoryAndKeys(c)
	if err != nil {
		return err
	}
	if name := c.String("namespace"); name != "" {
		if _, err := namespacesIn(dir, []string{name}); err != nil {
			return err
		}
		return debugEvents(c, dir, name, ring)
	}
	found, err := namespacesIn(dir, nil)
	if err != nil {
		return err
	}
	for _, name := range found {
		info, err := inspect(c.Context, dir, name, ring)
		if err != nil {
			return err
		}
		if err := printInspected(c.App.Writer, info, c.Bool("json")); err != nil {
			return err
		}
	}
	return nil
}

// directoryAndKeys is placeAndKeys for commands that look at files.
func directoryAndKeys(c *cli.Context) (string, *crypto.Keyring, error) {
	place, ring, err := placeAndKeys(c)
	if err == nil && isURL(place) {
		err = usageError("--path is the URL %s, wanted a directory; bus %s looks at files", place, c.Command.Name)
	}
	if err == nil {
		err = checkDirectory(place)
	}
	return place, ring, err
}

// namespacesIn returns the asked ones, or all that are there.
func namespacesIn(dir string, asked []string) ([]string, error) {
	found, err := disk.Discover(dir)
	if err != nil {
		return nil, err
	}
	return among(dir, found, asked)
}

// logsIn is namespacesIn with the logs of the bus's own.
func logsIn(dir string, asked []string) ([]string, error) {
	found, err := disk.Discover(dir)
	if err != nil {
		return nil, err
	}
	own, err := disk.DiscoverOwn(dir)
	if err != nil {
		return nil, err
	}
	return among(dir, append(found, own...), asked)
}

func among(dir string, found, asked []string) ([]string, error) {
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no logs; is it the data directory?", dir)
	}
	for _, name := range asked {
		if !slices.Contains(found, name) {
			return nil, usageError("%s holds no log of namespace %q; there is %s", dir, name, strings.Join(found, ", "))
		}
	}
	if len(asked) > 0 {
		return asked, nil
	}
	return found, nil
}

// inspect opens one namespace by itself, so that one that cannot be opened
// does not hide the others: why it cannot is its problem.
func inspect(ctx context.Context, dir, name string, ring *crypto.Keyring) (inspected, error) {
	files, err := filesOf(dir, name)
	if err != nil {
		return inspected{}, err
	}
	engine, err := openEngine(dir, disk.Options{Namespaces: []string{name}, ReadOnly: true, MaxEvent: disk.MaxEventLimit}, ring)
	if err != nil {
		return inspected{bus.NamespaceInfo{Name: name, Problem: err.Error(), Sealed: errors.Is(err, disk.ErrSealed)}, files}, nil
	}
	_, _ = engine.Delayed(ctx, name, 0, 0) // what waits is found out when it is asked for; why it is not, the problem says
	info := engine.Inspect(name)
	info.MaxDelayed = 0 // is the server's to say
	return inspected{info, files}, engine.Close()
}

// filesOf lists what belongs to a namespace, by the part before the first dot.
// Nothing need be derived yet, and a link or a pipe in the place of the directory
// is not followed: the server refuses it, too.
func filesOf(dir, namespace string) ([]logFile, error) {
	files, err := filesIn(dir, "", namespace)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(filepath.Join(dir, "derived")); err != nil || !info.IsDir() {
		return files, nil
	}
	derived, err := filesIn(dir, "derived", namespace)
	return append(files, derived...), err
}

func filesIn(dir, below, namespace string) ([]logFile, error) {
	entries, err := os.ReadDir(filepath.Join(dir, below))
	if err != nil {
		return nil, err
	}
	var files []logFile
	for _, entry := range entries {
		if name, _, _ := strings.Cut(entry.Name(), "."); name != namespace || !entry.Type().IsRegular() {
			continue
		}
		if info, err := entry.Info(); err == nil {
			files = append(files, logFile{filepath.Join(below, entry.Name()), info.Size()})
		}
	}
	return files, nil
}

// printInspected writes text for people, or a line for programs.
func printInspected(w io.Writer, info inspected, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(info)
		if err != nil {
			return err
		}
		return writeOut(w, append(line, '\n'))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", info.Name)
	for _, f := range info.Files {
		fmt.Fprintf(&b, "  file         %s, %d bytes\n", oneLine(f.Name), f.Bytes)
	}
	if info.Incarnation != "" {
		sealed := "no"
		if info.Sealed {
			sealed = "with key " + info.KeyID
		}
		b.WriteString(eventsText(&info))
		fmt.Fprintf(&b, "  sealed       %s\n  ids begin    %s\n", sealed, info.Incarnation)
	}
	if info.Delayed > 0 {
		fmt.Fprintf(&b, "  waiting      %s for their delivery, the next at %s\n", countOf(uint64(info.Delayed), false), stamp(info.NextDelivery))
	}
	if info.Problem != "" {
		fmt.Fprintf(&b, "  problem      %s\n", oneLine(info.Problem))
	}
	return writeOut(w, []byte(b.String()))
}

// eventsText says what is in a log. One that was emptied has an index to go on at.
func eventsText(info *inspected) string {
	if info.Events == 0 && info.LastAt.IsZero() {
		return fmt.Sprintf("  events       none, the next has index %d\n", info.Last+1)
	}
	return fmt.Sprintf("  events       %d, indexes %d to %d\n  committed    %s to %s\n", info.Events, info.First, info.Last, stamp(info.FirstAt), stamp(info.LastAt))
}

// stamp is a time, or that there is none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// debugEvents prints events as a stream would carry them. Damage ends it, with
// the indexes that are lost; a gap that was repaired is told.
func debugEvents(c *cli.Context, dir, name string, ring *crypto.Keyring) error {
	engine, err := openEngine(dir, disk.Options{Namespaces: []string{name}, ReadOnly: true, MaxEvent: disk.MaxEventLimit}, ring)
	if err != nil {
		return err
	}
	defer engine.Close() // it was only read
	reader := engine.Reader(name, max(c.Uint64("from"), 1))
	defer reader.Close()
	if last := engine.Inspect(name).Last; c.Uint64("from") > last {
		fmt.Fprintf(c.App.ErrWriter, "bus: no event to print: %s ends at index %d\n", name, last)
	}
	for left := c.Int("limit"); left > 0; {
		events, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if damage, ok := errors.AsType[*bus.DamageError](err); ok && !damage.Repaired.IsZero() {
			_ = (&damages{talk: c.App.ErrWriter}).gone(newLost(damage))
			reader.Seek(damage.Next)
			continue
		}
		if removed, ok := bus.AsRemoved(err); ok {
			(&damages{talk: c.App.ErrWriter}).passed(err, removed.Reason == bus.RemovedDeleted)
			reader.Seek(removed.Next)
			continue
		}
		if err != nil {
			return err
		}
		var out []byte
		for i := range events[:min(left, len(events))] {
			out = append(events[i].AppendJSON(out), '\n')
		}
		left -= len(events)
		if err := writeOut(c.App.Writer, forTerminal(out, isTerminal(c.App.Writer))); err != nil {
			return err
		}
	}
	return nil
}
