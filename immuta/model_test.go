package immuta_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
	"pgregory.net/rapid"
)

// model is what a log should be: a list with times.
type model struct {
	t       *rapid.T
	fs      *faultfs.FS
	o       immuta.Options
	log     *immuta.Log
	records []string
	times   []time.Time
	now     time.Time
	settled int              // records that no power cut may take
	first   int              // records that were deleted from the old end
	removed map[uint64]uint8 // why
	serial  int              // of what is appended: no two long records are alike
}

func (m *model) open() {
	m.o.FS = m.fs
	log, err := immuta.Open(dir, name, m.o)
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	if log.Err() != nil {
		m.t.Fatalf("opened with %v", log.Err())
	}
	m.log = log
}

// Append appends a batch of any shape.
func (m *model) Append(t *rapid.T) {
	size := rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(0, 3000))
	batch := rapid.SliceOfN(size, 1, 12).Draw(t, "sizes")
	records := make([][]byte, len(batch))
	for i, n := range batch {
		records[i] = make([]byte, n)
		m.serial++
		copy(records[i], marker(m.serial))
	}
	got, err := m.log.Append(context.Background(), records)
	if want := uint64(len(m.records) + 1); err != nil || got.First != want {
		t.Fatalf("got index %d and %v, want %d", got.First, err, want)
	}
	if n := len(m.times); n > 0 && got.Time.Before(m.times[n-1]) {
		t.Fatalf("got time %s, before %s", got.Time, m.times[n-1])
	}
	for _, r := range records {
		m.records, m.times = append(m.records, string(r)), append(m.times, got.Time)
	}
	if m.o.Sync == immuta.SyncAlways {
		m.settled = len(m.records)
	}
}

// Clock moves the clock, back as well.
func (m *model) Clock(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.Int64Range(-5e9, 20e9).Draw(t, "by")))
}

// Reopen closes the log and opens it again, maybe without its index.
func (m *model) Reopen(t *rapid.T) {
	if err := m.log.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	m.settled = len(m.records)
	if rapid.IntRange(0, 3).Draw(t, "index") == 0 {
		m.fs.WriteFile(idxFile, []byte("no index"))
	}
	m.open()
}

// Crash cuts the power and looks at what is left.
func (m *model) Crash(t *rapid.T) {
	m.fs.CutAfter(0)
	m.crash(t)
}

// crash is for a power that is cut.
func (m *model) crash(t *rapid.T) {
	keep := faultfs.Keep(rapid.IntRange(0, 2).Draw(t, "keep"))
	after := m.fs.After(keep, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
	m.log.Close()
	m.fs = after
	m.open()
	_, next := m.log.Bounds()
	if first, _ := m.log.Bounds(); int(first-1) != m.first {
		t.Fatalf("got the first record %d after a crash, want %d", first, m.first+1)
	}
	if n := int(next - 1); n < m.settled || n > len(m.records) {
		t.Fatalf("got %d records after a crash, want %d to %d", n, m.settled, len(m.records))
	}
	m.records, m.times = m.records[:next-1], m.times[:next-1]
	m.settled = len(m.records)
}

// Roll closes the segment, and what was not synced is.
func (m *model) Roll(t *rapid.T) {
	if err := m.log.Roll(context.Background()); err != nil {
		t.Fatalf("roll: %v", err)
	}
}

// Trim deletes segments below any index, and closes one first, maybe.
func (m *model) Trim(t *rapid.T) {
	if rapid.Bool().Draw(t, "roll") {
		m.Roll(t)
	}
	was, next := m.log.Bounds()
	before := rapid.Uint64Range(1, next).Draw(t, "before")
	got, err := m.log.Trim(before)
	first, end := m.log.Bounds()
	if err != nil || first > max(before, was) || first < was || got.Records != first-was || end < next {
		t.Fatalf("before %d: got %+v and %v, and the first record %d, which was %d", before, got, err, first, was)
	}
	if m.first = int(first - 1); first > was {
		m.settled = max(m.settled, m.first)
	}
}

// Read reads from any index to the end, by one reader that also jumps.
func (m *model) Read(t *rapid.T) {
	_, end := m.log.Bounds()
	if m.o.Sync != immuta.SyncInterval && int(end-1) != len(m.records) {
		t.Fatalf("got %d visible records, want %d", end-1, len(m.records))
	}
	r := m.log.Reader(1)
	defer r.Close()
	for range rapid.IntRange(1, 4).Draw(t, "jumps") {
		next := rapid.Uint64Range(uint64(m.first)+1, end).Draw(t, "from")
		r.Seek(next)
		for range rapid.IntRange(1, 100).Draw(t, "blocks") {
			b, err := r.Next()
			if err == io.EOF && next >= end { // a roll may have shown more by now
				break
			}
			if gone, is := errors.AsType[*immuta.RemovedError](err); is {
				m.wantRemoved(t, gone, next)
				next = gone.Next
				r.Seek(next)
				continue
			}
			if err != nil || b.First != next {
				t.Fatalf("got a block at %d and %v, want it at %d", b.First, err, next)
			}
			for _, rec := range b.Records {
				if m.removed[next] != 0 || string(rec) != m.records[next-1] || !b.Time.Equal(m.times[next-1]) {
					t.Fatalf("record %d: got %.40q of %s, want %.40q of %s", next, rec, b.Time, m.records[next-1], m.times[next-1])
				}
				next++
			}
		}
	}
}

// IndexAt asks for a time near those that there are.
func (m *model) IndexAt(t *rapid.T) {
	_, next := m.log.Bounds()
	at := m.now.Add(time.Duration(rapid.Int64Range(-60e9, 5e9).Draw(t, "age")))
	visible := m.times[m.first : next-1]
	want := uint64(m.first+sort.Search(len(visible), func(i int) bool { return !visible[i].Before(at) })) + 1
	got, err := m.log.IndexAt(at)
	if _, now := m.log.Bounds(); now != next { // a roll has shown more meanwhile
		return
	}
	for got < want && err == nil && m.removed[got] != 0 { // their own times are gone
		got++
	}
	if got != want || err != nil {
		t.Fatalf("at %s: got %d and %v, want %d", at, got, err, want)
	}
}

// Verify wants no damage, beside the open log.
func (m *model) Verify(t *rapid.T) {
	got, err := immuta.Verify(dir, name, m.o)
	removed := 0
	for i := range m.removed {
		if int(i) > m.first {
			removed++
		}
	}
	if err != nil || len(got.Damage) > 0 || got.Torn != nil || int(got.Removed) != removed || int(got.Records) != len(m.records)-m.first-removed {
		t.Fatalf("got %+v and %v, want %d records, and %d removed", got, err, len(m.records)-m.first-removed, removed)
	}
}

func TestALogIsAListWhateverIsDoneToIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, fs: faultfs.New(), now: time.Unix(1e9, 0), removed: map[uint64]uint8{}}
		m.o = immuta.Options{
			BlockSize: rapid.SampledFrom([]int{1, 100, 4096, 70_000}).Draw(t, "block"),
			Sync:      immuta.SyncMode(rapid.IntRange(0, 2).Draw(t, "sync")),
			SyncEvery: time.Hour, SegmentBytes: rapid.SampledFrom([]int64{0, 500, 5000}).Draw(t, "segment"),
			Now: func() time.Time { return m.now },
		}
		if rapid.Bool().Draw(t, "sealed") {
			m.o.Sealing = immuta.FakeSealing(1)
		}
		m.open()
		defer func() { m.log.Close() }()
		t.Repeat(rapid.StateMachineActions(m))
	})
}

// Check is run between all steps.
func (m *model) Check(t *rapid.T) {
	if err := m.log.Err(); err != nil {
		t.Fatalf("the log failed: %v", err)
	}
}
