package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"example.com/bus"
)

// dumpError says in which line a dump is not what it should be.
type dumpError struct {
	line int
	err  error
}

func (e *dumpError) Error() string {
	return fmt.Sprintf("the dump is refused at line %d: %v", e.line, e.err)
}
func (e *dumpError) Unwrap() error { return e.err }

// dumpReader reads and checks a dump, a line at a time; what a line may cost
// is bounded before it is read. It is for one goroutine.
type dumpReader struct {
	lines  *bufio.Reader
	sum    hash.Hash
	header dumpHeader
	line   int
	found  dumpEnd                // what has been read so far
	gap    func(lostEvents) error // told of each gap; nil: nobody is
}

// newDumpReader reads and checks the first line.
func newDumpReader(r io.Reader) (*dumpReader, error) {
	d := &dumpReader{lines: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	line, err := d.next(dumpHeaderMax)
	if errors.Is(err, io.EOF) {
		return nil, d.fail("it is empty; is it a file of bus dump?")
	}
	if err != nil {
		return nil, err
	}
	d.sum.Write(line)
	if !bytes.HasPrefix(line, []byte(`{"bus_dump":`)) {
		return nil, d.fail(`wanted {"bus_dump":…}, found %.60q; is it a file of bus dump?`, line)
	}
	var version struct {
		Number int `json:"bus_dump"`
	}
	if err := json.Unmarshal(line, &version); err == nil && version.Number != dumpVersion {
		return nil, d.fail("it is a dump of version %d, wanted %d; restore it with the release that made it", version.Number, dumpVersion)
	}
	if err := strict(line, &d.header); err != nil {
		return nil, d.fail("%v", err)
	}
	return d, d.checkHeader()
}

// checkHeader guards the file system: each namespace becomes a file.
func (d *dumpReader) checkHeader() error {
	if len(d.header.Namespaces) > dumpNamespace {
		return d.fail("it has %d namespaces, at most %d are allowed", len(d.header.Namespaces), dumpNamespace)
	}
	d.found.Namespaces = make(map[string]uint64)
	for _, name := range d.header.Namespaces {
		if err := bus.CheckNamespace(name); err != nil {
			return d.fail("%w", err)
		}
		d.found.Namespaces[name] = 0
	}
	if len(d.found.Namespaces) != len(d.header.Namespaces) {
		return d.fail("a namespace stands twice")
	}
	return nil
}

// event returns the next event, which shares its memory with no other, or
// io.EOF when the last line has been read and everything agrees with it.
func (d *dumpReader) event() (bus.Event, error) {
	for {
		line, err := d.next(dumpLineMax)
		if errors.Is(err, io.EOF) {
			return bus.Event{}, d.fail("it is cut off: the last line, with counts and checksum, is missing; make the dump again")
		}
		if err != nil {
			return bus.Event{}, err
		}
		if bytes.HasPrefix(line, []byte(`{"end":`)) {
			return bus.Event{}, d.finish(line)
		}
		d.sum.Write(line)
		if bytes.HasPrefix(line, []byte(`{"gap":`)) {
			if err := d.pass(line); err != nil {
				return bus.Event{}, err
			}
			continue
		}
		e, err := bus.ParseEvent(line)
		if err != nil {
			return e, d.fail("%w", err)
		}
		if len(line) > 2*len(e.Payload)+1024 { // a thousand of them may wait to be written
			e.Payload = bytes.Clone(e.Payload)
		}
		return e, d.count(&e)
	}
}

// pass takes a line that says which events are lost. There is nothing to write
// of it: indexes are given anew.
func (d *dumpReader) pass(line []byte) error {
	var said struct {
		Gap lostEvents `json:"gap"`
	}
	if err := strict(line, &said); err != nil {
		return d.fail("%v", err)
	}
	g := said.Gap
	if _, declared := d.found.Namespaces[g.Namespace]; !declared || g.From == 0 || g.Next <= g.From {
		return d.fail("it says that the events %d to below %d of namespace %q are lost, which cannot be", g.From, g.Next, g.Namespace)
	}
	d.found.Gaps++
	if d.gap == nil {
		return nil
	}
	return d.gap(g)
}

// count takes an event into the counts that the last line must agree with.
func (d *dumpReader) count(e *bus.Event) error {
	name := bus.Namespace(e.Subject)
	if _, declared := d.found.Namespaces[name]; !declared {
		return d.fail("subject %q is of no namespace that the first line names (%v)", e.Subject, d.header.Namespaces)
	}
	if e.Id == "" {
		return d.fail("the event has no id, by which a second run knows it")
	}
	d.found.Events++
	d.found.Namespaces[name]++
	return nil
}

// finish holds the last line against what was read.
func (d *dumpReader) finish(line []byte) error {
	var last struct {
		End dumpEnd `json:"end"`
	}
	if err := strict(line, &last); err != nil {
		return d.fail("%v", err)
	}
	sum := hex.EncodeToString(d.sum.Sum(nil))
	switch {
	case last.End.Events != d.found.Events || !maps.Equal(last.End.Namespaces, d.found.Namespaces):
		return d.fail("the last line counts %d events %v, found %d %v; lines are missing or doubled", last.End.Events, last.End.Namespaces, d.found.Events, d.found.Namespaces)
	case last.End.Gaps != d.found.Gaps:
		return d.fail("the last line counts %d gaps, found %d; lines are missing or doubled", last.End.Gaps, d.found.Gaps)
	case last.End.SHA256 != sum:
		return d.fail("the checksum is %.64q, wanted %q; the dump was changed or damaged, make it again", last.End.SHA256, sum)
	}
	if _, err := d.lines.ReadByte(); err != io.EOF {
		d.line++
		return d.fail("something stands after the last line")
	}
	return io.EOF
}

// next returns the next line with its end, in memory of its own: an event
// shares it. io.EOF when there is none, also when it is only begun.
func (d *dumpReader) next(most int) ([]byte, error) {
	var line []byte
	for {
		part, err := d.lines.ReadSlice('\n')
		if len(line)+len(part) > most {
			d.line++
			return nil, d.fail("it has more than %d bytes", most)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			d.line++
			return slices.Clip(line), nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return nil, err
		}
	}
}

// fail refuses the dump at the line at hand.
func (d *dumpReader) fail(format string, args ...any) error {
	return damageError(&dumpError{max(d.line, 1), fmt.Errorf(format, args...)})
}

// strict decodes one JSON value and refuses fields that are not known.
func strict(line []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	if decoder.More() {
		return errors.New("it has more than one value")
	}
	return nil
}
