package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/bus/crypto"
	"example.com/bus/server/disk"
	"github.com/urfave/cli/v2"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "read every byte of the logs and check it",
		Description: `Checks every block of every log, and every event in it, and says what is good
and what is lost, with file, offset and numbers. It only reads, and may run
beside a server. Of a sealed log without its key only the outer checksums are
checked, and the answer says so.

The bus's own logs are among them: _consumers_, where named consumers are, and
_dead_, their dead letters.

What else is in the directory is not looked at: indexes (.idx, derived/) are
checked against the log before they are used, and made anew. A gap that bus
repair has left is listed, and is no damage. Nor are events that were deleted,
compacted or have expired: they are counted.

Exit code 0: all is good. 3: damage was found.`,
		Flags: append([]cli.Flag{
			directoryFlag(),
			&cli.StringSliceFlag{Name: "namespaces", Usage: "only these; repeatable, or with commas; all when absent"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, a namespace a line"},
		}, flagsFor[secrets]("")...),
		Action: verify,
	}
}

// verdict is what verify says of a namespace.
type verdict struct {
	Namespace  string     `json:"namespace"`
	File       string     `json:"file"`
	Good       bool       `json:"good"`
	Checked    string     `json:"checked"` // plain, sealed, or outer only: without the key
	Events     uint64     `json:"events"`  // good ones
	Blocks     int        `json:"blocks"`
	Bytes      int64      `json:"bytes"` // of the file
	GoodBytes  int64      `json:"good_bytes"`
	LostEvents uint64     `json:"lost_events"` // in what is damaged now
	LostBytes  int64      `json:"lost_bytes"`
	Removed    uint64     `json:"removed,omitempty"` // events that were removed on purpose
	AtMost     bool       `json:"at_most,omitempty"` // lost_events is the most that there can have been
	Torn       string     `json:"torn,omitempty"`    // an unfinished last commit, which is no damage
	Damage     []wound    `json:"damage,omitempty"`
	Gaps       []repaired `json:"gaps,omitempty"` // damage of before, which was repaired

	strange bool // it holds records that are no events
}

// wound is a place that cannot be read.
type wound struct {
	File   string `json:"file,omitempty"` // when it is not the one of the verdict
	Offset int64  `json:"offset,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	From   uint64 `json:"from,omitempty"`
	Next   uint64 `json:"next,omitempty"` // 0: nothing good is known after it
	Lost   uint64 `json:"lost,omitempty"`
	AtMost bool   `json:"at_most,omitempty"`
	Why    string `json:"why"`
}

// repaired is a gap that the log itself speaks of.
type repaired struct {
	Offset     int64     `json:"offset"`
	From       uint64    `json:"from"`
	Next       uint64    `json:"next"`
	AtMost     bool      `json:"at_most,omitempty"`
	RepairedAt time.Time `json:"repaired_at"`
	Saved      string    `json:"saved,omitempty"` // file of the damaged bytes, as far as that is known
}

// namespacesAsked returns those of the directory that --namespaces names, all
// when it names none, the bus's own too.
func namespacesAsked(c *cli.Context, dir string) ([]string, error) {
	var asked names
	_ = asked.UnmarshalText([]byte(strings.Join(c.StringSlice("namespaces"), ","))) // takes any text
	return logsIn(dir, asked)
}

// verify goes on after damage, so that one run tells all of it.
func verify(c *cli.Context) error {
	dir, ring, err := directoryAndKeys(c)
	if err != nil {
		return err
	}
	list, err := namespacesAsked(c, dir)
	if err != nil {
		return err
	}
	damaged, strange := 0, 0
	for _, name := range list {
		v, err := verifyOne(dir, name, ring)
		if err != nil {
			return err
		}
		switch {
		case v.strange && !v.damaged():
			strange++
		case !v.Good:
			damaged++
		}
		if err := printVerdict(c.App.Writer, v, c.Bool("json")); err != nil {
			return err
		}
		if err := c.Context.Err(); err != nil {
			return errors.New("interrupted before the end; run it again")
		}
	}
	switch {
	case damaged > 0:
		return damageError(fmt.Errorf("damage was found in %d of %d namespaces; bring it back from a backup, or see with bus repair what would be kept", damaged, len(list)))
	case strange > 0:
		return damageError(fmt.Errorf("%d of %d namespaces hold records that are whole and no events: another program or a newer release has written them, so use that one", strange, len(list)))
	}
	return nil
}

// verifyOne puts a log whose header is damaged, and cannot be read at all, into
// the same words as a damaged block.
func verifyOne(dir, name string, ring *crypto.Keyring) (verdict, error) {
	var r disk.Report
	var err error
	if ring != nil {
		r, err = disk.Verify(dir, name, ring)
	} else {
		r, err = disk.Verify(dir, name, nil)
	}
	v := newVerdict(dir, name, &r.Report)
	v.Good = err == nil && r.Good()
	if broken, ok := errors.AsType[*disk.CorruptError](err); ok {
		v.Damage = append(v.Damage, wound{File: other(broken.Path, v.File), Offset: broken.Offset, From: broken.From, Next: broken.Next, Why: broken.Why})
		err = nil
	}
	v.strange = r.Strange > 0
	for _, d := range r.Unreadable {
		v.Damage = append(v.Damage, wound{From: d.From, Next: d.Next, Lost: 1, Why: d.Err.Error()})
	}
	return v, err
}

// newVerdict says what a log was found to be, block by block.
func newVerdict(dir, name string, r *disk.LogReport) verdict {
	v := verdict{Namespace: name, File: filepath.Join(dir, name+".log"), Checked: r.Checked, Events: r.Records, Blocks: r.Blocks, Bytes: r.Bytes, Removed: r.Removed}
	v.LostEvents, v.LostBytes, v.AtMost = r.Lost()
	v.GoodBytes = v.Bytes - v.LostBytes
	for _, d := range r.Damage {
		v.Damage = append(v.Damage, wound{File: other(d.Path, v.File), Offset: d.Offset, Bytes: d.Bytes, From: d.From, Next: d.Next, Lost: d.Lost, AtMost: d.AtMost, Why: d.Why})
	}
	for _, g := range r.Gaps {
		v.Gaps = append(v.Gaps, newRepaired(g))
	}
	if r.Torn != nil {
		v.Torn = fmt.Sprintf("offset %d: %s", r.Torn.Offset, r.Torn.Why)
	}
	return v
}

// other is a path, or nothing when it is the one that is known.
func other(path, known string) string {
	if path == known {
		return ""
	}
	return path
}

func newRepaired(g *disk.Gap) repaired {
	return repaired{Offset: g.Offset, From: g.From, Next: g.Next, AtMost: g.AtMost, RepairedAt: g.Repaired.UTC(), Saved: g.Saved}
}

// printVerdict writes text for people, or a line for programs.
func printVerdict(w io.Writer, v verdict, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return writeOut(w, append(line, '\n'))
	}
	var b strings.Builder
	word := "good"
	if !v.Good {
		word = "DAMAGED"
	}
	fmt.Fprintf(&b, "%s: %s, %s in %d blocks, %d bytes, checked: %s\n", v.Namespace, word, countOf(v.Events, false), v.Blocks, v.Bytes, v.checked())
	if v.LostBytes > 0 {
		fmt.Fprintf(&b, "  good: %s and %d bytes; lost: %s and %d bytes\n", countOf(v.Events, false), v.GoodBytes, countOf(v.LostEvents, v.AtMost), v.LostBytes)
	}
	if v.Removed > 0 {
		fmt.Fprintf(&b, "  removed on purpose, and their indexes kept: %s\n", countOf(v.Removed, false))
	}
	for _, d := range v.Damage {
		fmt.Fprintf(&b, "  at offset %d of %s: %s: %s\n", d.Offset, oneLine(cmp.Or(d.File, v.File)), lost(d), oneLine(d.Why))
	}
	for _, g := range v.Gaps {
		fmt.Fprintf(&b, "  a gap, repaired %s: %s lost; %s\n", stamp(g.RepairedAt), lost(wound{From: g.From, Next: g.Next, AtMost: g.AtMost}), g.where())
	}
	if v.Torn != "" {
		fmt.Fprintf(&b, "  an unfinished end, not known to have been synced, will be cut at the next start: %s\n", oneLine(v.Torn))
	}
	return writeOut(w, []byte(b.String()))
}

// where says what became of the damaged bytes.
func (g *repaired) where() string {
	if g.Saved == "" {
		return fmt.Sprintf("its bytes, at offset %d, were put aside", g.Offset)
	}
	return "its bytes are in " + oneLine(g.Saved)
}

// countOf is a number of events.
func countOf(n uint64, atMost bool) string {
	text := fmt.Sprintf("%d events", n)
	if n == 1 {
		text = "1 event"
	}
	if atMost {
		text = "at most " + text
	}
	return text
}

// damaged reports whether there is a place that cannot be read, beside records
// that are no events.
func (v *verdict) damaged() bool {
	return slices.ContainsFunc(v.Damage, func(d wound) bool { return d.Offset > 0 })
}

// checked says how much the verdict is worth.
func (v *verdict) checked() string {
	switch v.Checked {
	case "":
		return "nothing, the file cannot be opened"
	case "outer only":
		return "the outer checksums only, because the log is sealed and no key was given"
	}
	return "everything (" + v.Checked + ")"
}

// lost says which events a wound has taken.
func lost(d wound) string {
	switch {
	case d.From == 0:
		return "the whole log"
	case d.Next == 0:
		return fmt.Sprintf("events from %d on", d.From) + most(d)
	case d.Next <= d.From:
		return "no event"
	case d.Next == d.From+1:
		return fmt.Sprintf("event %d", d.From)
	}
	return fmt.Sprintf("events %d to %d", d.From, d.Next-1) + most(d)
}

// most says that a number is no more than a bound.
func most(d wound) string {
	switch {
	case !d.AtMost:
		return ""
	case d.Next > 0:
		return ", or fewer"
	}
	return fmt.Sprintf(", at most %d", d.Lost)
}
