package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"example.com/bus/crypto"
	"example.com/bus/server/disk"
	"github.com/urfave/cli/v2"
)

func repairCommand() *cli.Command {
	return &cli.Command{
		Name:  "repair",
		Usage: "set damaged blocks of a log aside, and keep all good ones",
		Description: `Shows what is damaged and what would be kept, and writes nothing. With --write
it is done. Stop the server first:

   bus repair --path ./data
   bus repair --path ./data --write

A damaged block is gone; a repair cannot bring it back, a backup can. Look for
one first. What a repair does is this: the damaged bytes go into a file beside
the log (NAME.damaged-OFFSET), every good block stays as it is and where it is,
and the log itself says from then on which indexes are lost. Readers get
"event: gap" there, the namespace takes events again, and no index is given
twice. Damage at the very end, whose events cannot be counted, takes as many
indexes as its bytes can have held.

The log is written anew beside the old one, read back, and renamed: the disk
needs room for it once more, and a power cut leaves the old one or the new one.
A second run finds nothing to do. An unfinished last commit is no damage: the
next start of the server cuts it. A sealed log is repaired with its key only. A
log whose file header is damaged cannot be repaired.

The bus's own logs are repaired as well. What a damaged block of _consumers_ said
is lost: some events are delivered again, and a consumer whose making stood in it
is gone, which the server says when it starts.

Indexes (.idx, derived/) are made anew from the log by themselves.

Exit code 0: nothing was damaged, or all of it is repaired. 3: damage was found,
and is still there.`,
		Flags: append([]cli.Flag{
			directoryFlag(),
			&cli.StringSliceFlag{Name: "namespaces", Usage: "only these; repeatable, or with commas; all when absent"},
			&cli.BoolFlag{Name: "write", Usage: "do it; without this nothing is written"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, a namespace a line"},
		}, flagsFor[secrets]("")...),
		Action: repair,
	}
}

// mended is what repair says of a namespace.
type mended struct {
	verdict
	SetAside []repaired `json:"new_gaps,omitempty"`     // the gaps that are made of the damage
	Room     int64      `json:"bytes_needed,omitempty"` // bytes that it takes beside the log
	Done     bool       `json:"done"`
	Problem  string     `json:"problem,omitempty"` // why it cannot be repaired
}

// repair goes on after a log that cannot be repaired, so that one run does all
// it can.
func repair(c *cli.Context) error {
	dir, ring, err := directoryAndKeys(c)
	if err != nil {
		return err
	}
	list, err := namespacesAsked(c, dir)
	if err != nil {
		return err
	}
	bad, hopeless := 0, 0
	for _, name := range list {
		m, err := repairOne(dir, name, ring, c.Bool("write"))
		if err != nil {
			return err
		}
		if !m.Good && !m.Done {
			bad++
		}
		if m.Problem != "" {
			hopeless++
		}
		if err := printMended(c.App.Writer, m, c.Bool("json")); err != nil {
			return err
		}
		if err := c.Context.Err(); err != nil {
			return errors.New("interrupted before the end; run it again")
		}
	}
	switch {
	case bad == 0:
		return nil
	case hopeless == bad:
		return damageError(fmt.Errorf("%d of %d namespaces cannot be repaired; bring them back from a backup", bad, len(list)))
	}
	return damageError(fmt.Errorf("damage was found in %d of %d namespaces and nothing was written; look for a backup, or stop the server and run bus repair again with --write", bad, len(list)))
}

// headerProblem is why a log without its file header stays as it is, and what
// there is to do.
const headerProblem = "the file header is damaged, and every block is checked with what stands there, so that nothing of this file can be told from chance; " +
	"bring the file back from a backup, a copy or a dump (the header never changes: in an older copy of this very file it is whole)"

// missingProblem is the same for a log whose last file is not there.
const missingProblem = "nobody can tell what stood in a file that is missing, and which indexes were given: bring it back from a backup"

func repairOne(dir, name string, ring *crypto.Keyring, write bool) (mended, error) {
	o := disk.Options{}
	if ring != nil {
		o.Sealing = ring
	}
	r, err := disk.Repair(dir, name, o, write)
	m := mended{verdict: newVerdict(dir, name, &r.Report), Room: r.Room, Done: r.Done}
	if broken, ok := errors.AsType[*disk.CorruptError](err); ok {
		m.Damage = append(m.Damage, wound{File: other(broken.Path, m.File), Offset: broken.Offset, From: broken.From, Next: broken.Next, Why: broken.Why})
		if m.Problem, err = headerProblem, nil; broken.Missing {
			m.Problem = missingProblem
		}
	}
	m.Good = err == nil && len(m.Damage) == 0
	for _, g := range r.Repaired.Gaps {
		m.SetAside = append(m.SetAside, newRepaired(g))
	}
	if errors.Is(err, disk.ErrSealed) {
		err = hint(err, "nobody without the key may say that events of it are lost")
	}
	return m, err
}

// printMended writes text for people, or a line for programs.
func printMended(w io.Writer, m mended, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(m)
		if err != nil {
			return err
		}
		return writeOut(w, append(line, '\n'))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", m.Namespace, m.outcome())
	for _, d := range m.Damage {
		fmt.Fprintf(&b, "  at offset %d of %s: %s: %s\n", d.Offset, oneLine(cmp.Or(d.File, m.File)), lost(d), oneLine(d.Why))
	}
	for _, g := range m.SetAside {
		fmt.Fprintf(&b, "  %s\n", m.gap(g))
	}
	if m.Problem != "" {
		fmt.Fprintf(&b, "  %s\n", m.Problem)
	}
	if m.Torn != "" {
		fmt.Fprintf(&b, "  an unfinished end, not known to have been synced, is no damage and will be cut at the next start: %s\n", oneLine(m.Torn))
	}
	return writeOut(w, []byte(b.String()))
}

// outcome is the first line.
func (m *mended) outcome() string {
	kept := fmt.Sprintf("%s in %d blocks, %d bytes", countOf(m.Events, false), m.Blocks, m.GoodBytes)
	lost := fmt.Sprintf("%s, %d bytes", countOf(m.LostEvents, m.AtMost), m.LostBytes)
	switch {
	case m.Good:
		return fmt.Sprintf("nothing to repair; good: %s", kept)
	case m.Problem != "":
		return "CANNOT BE REPAIRED, and was left as it is"
	case m.Done:
		return fmt.Sprintf("repaired; kept %s; lost %s", kept, lost)
	}
	return fmt.Sprintf("DAMAGED; a repair would keep %s; lost are %s; it needs %d bytes of room", kept, lost, m.Room)
}

// gap says what readers are told from now on, or would be.
func (m *mended) gap(g repaired) string {
	events := lost(wound{From: g.From, Next: g.Next, AtMost: g.AtMost})
	if m.Done {
		return fmt.Sprintf("the log now says that it has lost %s; the bytes are in %s", events, oneLine(g.Saved))
	}
	return fmt.Sprintf("the log would say that it has lost %s; the bytes at offset %d would be put aside", events, g.Offset)
}
