package immuta_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/bus/immuta"
	"pgregory.net/rapid"
)

// marker begins a record, and stands nowhere else.
func marker(serial int) string { return fmt.Sprintf("<record %d>", serial) }

// wantRemoved wants what a reader is told to have been removed.
func (m *model) wantRemoved(t *rapid.T, gone *immuta.RemovedError, due uint64) {
	if gone.From != due || gone.Next <= due || !gone.Time.Equal(m.times[gone.Next-2]) {
		t.Fatalf("at %d: got %+v", due, gone)
	}
	for i := gone.From; i < gone.Next; i++ {
		if m.removed[i] != gone.Reason {
			t.Fatalf("record %d is removed for %d, want %d", i, gone.Reason, m.removed[i])
		}
	}
}

// thin draws a segment that is closed, maybe just now, and what to remove of it.
func (m *model) thin(t *rapid.T) (first uint64, remove func(uint64, time.Time, []byte) uint8, gone map[uint64]uint8) {
	if rapid.Bool().Draw(t, "roll") || len(m.log.Segments()) == 1 {
		m.Roll(t)
	}
	all := m.log.Segments()
	first = all[rapid.IntRange(0, max(len(all)-2, 0)).Draw(t, "segment")].First
	pattern := rapid.Uint64().Draw(t, "pattern")
	reasons := rapid.Uint8Range(1, 2).Draw(t, "reasons")
	gone = map[uint64]uint8{}
	last := uint64(0)
	return first, func(i uint64, at time.Time, rec []byte) uint8 {
		if i <= last || m.removed[i] != 0 || string(rec) != m.records[i-1] || !at.Equal(m.times[i-1]) {
			t.Fatalf("asked for record %d behind %d: got %.40q of %s, removed before: %v", i, last, rec, at, m.removed[i] != 0)
		}
		last = i
		if pattern>>(i%64)&1 == 0 {
			return 0
		}
		gone[i] = 1 + uint8(i/3)%reasons
		return gone[i]
	}, gone
}

// Rewrite removes records of a closed segment, after which no file has them.
func (m *model) Rewrite(t *rapid.T) {
	first, remove, gone := m.thin(t)
	open := m.log.Segments()
	did, err := m.log.Rewrite(context.Background(), first, remove)
	if open[len(open)-1].First == first { // nothing was there to be closed
		return
	}
	if err != nil || int(did.Removed) != len(gone) {
		t.Fatalf("got %+v and %v, want %d removed", did, err, len(gone))
	}
	m.remove(t, gone)
}

// remove notes what is gone, and looks for it.
func (m *model) remove(t *rapid.T, gone map[uint64]uint8) {
	var all []byte
	for _, path := range m.fs.Names() {
		if b, _ := m.fs.ReadFile(path); !strings.Contains(path, ".torn-") {
			all = append(all, b...)
		}
	}
	for i, reason := range gone {
		m.removed[i] = reason
		end := strings.IndexByte(m.records[i-1], '>')
		if end > 0 && m.o.Sealing == nil && bytes.Contains(all, []byte(m.records[i-1][:end+1])) {
			t.Fatalf("record %d was removed, and a file has it still", i)
		}
	}
}

// CrashInARewrite cuts the power in the middle: all of it is done, or nothing.
func (m *model) CrashInARewrite(t *rapid.T) {
	first, remove, gone := m.thin(t)
	m.fs.CutAfter(m.fs.Calls() + rapid.IntRange(1, 16).Draw(t, "calls"))
	_, _ = m.log.Rewrite(context.Background(), first, remove)
	m.fs.CutAfter(0)
	m.crash(t)
	_, found, err := left(m.log)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	n := 0
	for i := range gone {
		if found[i] {
			n++
		}
	}
	switch {
	case n == 0:
	case n == len(gone):
		m.remove(t, gone)
	default:
		t.Fatalf("%d of %d records are removed, want all or none", n, len(gone))
	}
}
