package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"time"

	"example.com/bus"
)

// A dump is NDJSON. The first line says what it is, then comes an event a line
// in its wire form, namespace after namespace in index order, and the last line
// has counts and the SHA-256 of every byte before it:
//
//	{"bus_dump":1,"namespaces":["orders"],"created_at":"…"}
//	{"id":"e_…","subject":"orders.created","index":1,…}
//	{"end":{"events":1,"namespaces":{"orders":1},"sha256":"…"}}
//
// Where a log has a gap that a repair has left, a line says so, which is counted
// in "gaps" of the last line and not among the events:
//
//	{"gap":{"namespace":"orders","from":4,"next":6,"reason":"damage","repaired_at":"…"}}
//
// A dump without its last line has been cut off, and is refused as a whole.

// What a reader holds a dump to, before it asks for memory.
const (
	dumpVersion   = 1
	dumpNamespace = 1024     // namespaces in a dump: each becomes a file
	dumpHeaderMax = 1 << 20  // bytes of the first and the last line
	dumpLineMax   = 48 << 20 // bytes of an event: the largest a log takes, as base64, and its small fields
)

// dumpHeader is the first line. It names the namespaces, so that a restore can
// open all of them before the first event.
type dumpHeader struct {
	Version    int       `json:"bus_dump"`
	Namespaces []string  `json:"namespaces"`
	CreatedAt  time.Time `json:"created_at,omitzero"`
}

// dumpEnd is what the last line says. Counts are there beside the checksum to
// tell a person what is missing.
type dumpEnd struct {
	Events     uint64            `json:"events"`
	Namespaces map[string]uint64 `json:"namespaces"`
	Gaps       uint64            `json:"gaps,omitempty"`
	SHA256     string            `json:"sha256"`
}

// dumpWriter writes one dump. It is for one goroutine.
type dumpWriter struct {
	w        io.Writer
	terminal bool // w is one: it is to show, not to obey
	sum      hash.Hash
	end      dumpEnd
	buf      []byte // reused
}

// newDumpWriter writes the first line.
func newDumpWriter(w io.Writer, namespaces []string, now time.Time) (*dumpWriter, error) {
	d := &dumpWriter{w: w, sum: sha256.New(), end: dumpEnd{Namespaces: make(map[string]uint64)}}
	for _, name := range namespaces {
		d.end.Namespaces[name] = 0
	}
	line, err := json.Marshal(dumpHeader{Version: dumpVersion, Namespaces: namespaces, CreatedAt: now.UTC()})
	if err != nil {
		return nil, err
	}
	return d, d.write(append(line, '\n'))
}

// write writes whole lines and counts them into the checksum.
func (d *dumpWriter) write(lines []byte) error {
	d.sum.Write(lines)
	_, err := d.w.Write(forTerminal(lines, d.terminal))
	return err
}

// add writes events.
func (d *dumpWriter) add(events []bus.Event) error {
	d.buf = d.buf[:0]
	for i := range events {
		e := &events[i]
		d.buf = append(e.AppendJSON(d.buf), '\n')
		d.end.Events++
		d.end.Namespaces[bus.Namespace(e.Subject)]++
	}
	return d.write(d.buf)
}

// gap writes that events are lost.
func (d *dumpWriter) gap(l lostEvents) error {
	line, err := json.Marshal(map[string]lostEvents{"gap": l})
	if err != nil {
		return err
	}
	d.end.Gaps++
	return d.write(append(line, '\n'))
}

// finish writes the last line, without which the dump is none.
func (d *dumpWriter) finish() error {
	d.end.SHA256 = hex.EncodeToString(d.sum.Sum(nil))
	line, err := json.Marshal(map[string]dumpEnd{"end": d.end})
	if err != nil {
		return err
	}
	_, err = d.w.Write(append(line, '\n'))
	return err
}
