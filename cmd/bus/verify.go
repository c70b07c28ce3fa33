package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"example.com/bus/crypto"
	"example.com/bus/server/disk"
	"github.com/urfave/cli/v2"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "read every byte of the logs and check it",
		Description: `Checks every block of every log, and every event in it. It only reads, and may
run beside a server. Of a sealed log without its key only the outer checksums
are checked, and the answer says so.

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
	Namespace string  `json:"namespace"`
	Good      bool    `json:"good"`
	Checked   string  `json:"checked"` // plain, sealed, or outer only: without the key
	Events    uint64  `json:"events"`
	Blocks    int     `json:"blocks"`
	Bytes     int64   `json:"bytes"`
	Torn      string  `json:"torn,omitempty"` // an unfinished last commit, which is no damage
	Damage    []wound `json:"damage,omitempty"`
}

// wound is a place that cannot be read.
type wound struct {
	Offset int64  `json:"offset,omitempty"`
	From   uint64 `json:"from,omitempty"`
	Next   uint64 `json:"next,omitempty"` // 0: nothing good is known after it
	Why    string `json:"why"`
}

// verify goes on after damage, so that one run tells all of it.
func verify(c *cli.Context) error {
	dir, ring, err := directoryAndKeys(c)
	if err != nil {
		return err
	}
	var asked names
	_ = asked.UnmarshalText([]byte(strings.Join(c.StringSlice("namespaces"), ","))) // takes any text
	list, err := namespacesIn(dir, asked)
	if err != nil {
		return err
	}
	bad := 0
	for _, name := range list {
		v, err := verifyOne(dir, name, ring)
		if err != nil {
			return err
		}
		if !v.Good {
			bad++
		}
		if err := printVerdict(c.App.Writer, v, c.Bool("json")); err != nil {
			return err
		}
		if err := c.Context.Err(); err != nil {
			return errors.New("interrupted before the end; run it again")
		}
	}
	if bad > 0 {
		return damageError(fmt.Errorf("damage was found in %d of %d namespaces; bring it back from a backup, or save what is good with bus copy --skip-damaged", bad, len(list)))
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
	v := verdict{Namespace: name, Good: err == nil && r.Good(), Checked: r.Checked, Events: r.Records, Blocks: r.Blocks, Bytes: r.Bytes}
	if broken, ok := errors.AsType[*disk.CorruptError](err); ok {
		v.Damage = append(v.Damage, wound{Offset: broken.Offset, From: broken.From, Next: broken.Next, Why: broken.Why})
		err = nil
	}
	for _, d := range r.Damage {
		v.Damage = append(v.Damage, wound{Offset: d.Offset, From: d.From, Next: d.Next, Why: d.Why})
	}
	for _, d := range r.Unreadable {
		v.Damage = append(v.Damage, wound{From: d.From, Next: d.Next, Why: d.Err.Error()})
	}
	if r.Torn != nil {
		v.Torn = fmt.Sprintf("offset %d: %s", r.Torn.Offset, r.Torn.Why)
	}
	return v, err
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
	fmt.Fprintf(&b, "%s: %s, %d events in %d blocks, %d bytes, checked: %s\n", v.Namespace, word, v.Events, v.Blocks, v.Bytes, v.checked())
	for _, d := range v.Damage {
		fmt.Fprintf(&b, "  at offset %d: %s: %s\n", d.Offset, lost(d), oneLine(d.Why))
	}
	if v.Torn != "" {
		fmt.Fprintf(&b, "  an unfinished last commit, never answered, will be cut at the next start: %s\n", oneLine(v.Torn))
	}
	return writeOut(w, []byte(b.String()))
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
		return fmt.Sprintf("events from %d on", d.From)
	case d.Next == d.From+1:
		return fmt.Sprintf("event %d", d.From)
	}
	return fmt.Sprintf("events %d to %d", d.From, d.Next-1)
}
