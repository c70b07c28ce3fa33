package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"example.com/bus"
	"github.com/urfave/cli/v2"
)

// Exit codes. They are part of the interface: scripts decide by them.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitDamage  = 3
	exitTimeout = 4
)

// exitCodes is a part of bus --help.
const exitCodes = `Exit codes:
   0  done
   1  it failed; stderr says why and what to do
   2  the command line or a variable is wrong; nothing was done
   3  damage was found in a log or in a dump; bus repair: and it is still there
   4  put: the event is stored, but the confirmations or the reply did not come in time`

// exitError is an error that ends the process with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is for what a person has typed: nothing has been done yet.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// damageError is for a log or dump that is not as it was written.
func damageError(err error) error { return &exitError{exitDamage, err} }

// hint says what to do about an error, after it.
func hint(err error, format string, args ...any) error {
	return fmt.Errorf("%w; %s", err, fmt.Sprintf(format, args...))
}

// report prints an error on one line and returns the exit code for it.
func report(stderr io.Writer, err error) int {
	if err == nil || readerGone(err) {
		return exitOK
	}
	fmt.Fprintln(stderr, "bus:", oneLine(err.Error()))
	return exitCode(err)
}

// exitCode is the code for an error that was not made with one.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*bus.DamageError](err); ok {
		return exitDamage
	}
	return exitFailed
}

// stdoutError is a failed write to stdout.
type stdoutError struct{ err error }

func (e stdoutError) Error() string { return "writing to stdout: " + e.err.Error() }
func (e stdoutError) Unwrap() error { return e.err }

// readerGone tells whether whoever reads our stdout has had enough, as head
// has: no error of ours, and nobody left to tell.
func readerGone(err error) bool {
	out, ok := errors.AsType[stdoutError](err)
	return ok && errors.Is(out.err, syscall.EPIPE)
}

// interrupted tells whether an error is only the end that a signal asked for.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled))
}

// oneLine makes text from elsewhere safe to print: an answer of a server must
// not move the cursor, colour the screen or forge a second line.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString("; ")
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// forTerminal escapes what a terminal would obey, or show as something else: the
// control characters above ASCII, and those that turn the direction of text. JSON
// stays the same JSON, because they can only stand in its strings.
func forTerminal(json []byte, terminal bool) []byte {
	if !terminal {
		return json
	}
	var out []byte
	for _, r := range string(json) {
		if r < utf8.RuneSelf && r != 0x7f || unicode.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, half := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, "\\u%04x", half)
		}
	}
	return out
}

// onUsageError replaces the whole help, under which the mistake would be lost.
func onUsageError(c *cli.Context, err error, _ bool) error {
	see := "bus --help"
	if c.Command != nil && c.Command.Name != "bus" {
		see = c.Command.HelpName + " --help"
	}
	text := oneLine(err.Error())
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		text = "there is no flag --" + strings.TrimPrefix(name, "-")
		if near := nearest(strings.TrimPrefix(name, "-"), flagNames(c), 2); near != "" {
			return usageError("%s; did you mean --%s? see %s", text, near, see)
		}
	}
	if part := badValue.FindStringSubmatch(text); part != nil {
		return usageError("--%s is %s, wanted %s; see %s", part[2], part[1], wantedValue(c, part[2]), see)
	}
	return usageError("%s; see %s", text, see)
}

// badValue finds value and flag in what the library says of a value that it
// cannot read. It does not say what was wanted: wantedValue does.
var badValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z-]+): `)

// wantedValue is what a flag takes, by its type.
func wantedValue(c *cli.Context, name string) string {
	for _, f := range c.Command.Flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		switch f.(type) {
		case *cli.DurationFlag:
			return "a duration such as 500ms, 5s or 2m"
		case *cli.BoolFlag:
			return "nothing, true or false"
		}
	}
	return "a whole number"
}

// flagNames returns those of the command that was meant, aliases included.
func flagNames(c *cli.Context) []string {
	var names []string
	if c.Command != nil {
		for _, f := range c.Command.Flags {
			names = append(names, f.Names()...)
		}
	}
	return names
}

// nearest returns the candidate that name is most likely a misspelling of, ""
// when none is within that many edits.
func nearest(name string, candidates []string, edits int) string {
	best := ""
	for _, c := range candidates {
		if d := distance(name, c); d <= edits && d < len(c) {
			best, edits = c, d-1
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
