package disk

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"example.com/bus"
)

// DefaultMaxDelayed is how many events of a namespace may wait for their delivery.
// One takes some 60 bytes of memory.
const DefaultMaxDelayed = 100_000

// A wait says that the event at index is to be delivered at due, and not before.
type wait struct {
	due   int64 // unix nanoseconds
	index uint64
}

func compareWaits(a, b wait) int {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.index, b.index))
}

// A release says that the event that waited at index stands once more at at, or that
// there is nothing to deliver; at is index then.
type release struct{ index, at uint64 }

// delays is which events of a log wait. An event is in due from its append on until
// it was appended once more; in line it is only while nobody is at that. It is
// guarded by its owner.
type delays struct {
	due  map[uint64]int64 // by index
	line waitLine         // in the order in which they go out; what is no longer in due is passed over

	// What a saved copy does not have, in the order of arrival. Nothing is kept here
	// when quiet.
	quiet         bool
	freshWaits    []wait
	freshReleases []release

	loaded delayDelta // read from a saved copy that does not say yet that it is whole
}

// waitLine is a heap.
type waitLine []wait

func (l waitLine) Len() int           { return len(l) }
func (l waitLine) Less(i, j int) bool { return compareWaits(l[i], l[j]) < 0 }
func (l waitLine) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *waitLine) Push(x any)        { *l = append(*l, x.(wait)) }
func (l *waitLine) Pop() any {
	last := len(*l) - 1
	w := (*l)[last]
	*l = (*l)[:last]
	return w
}

func newDelays() *delays { return &delays{due: make(map[uint64]int64)} }

// add takes an event that waits. One that is known already changes nothing.
func (d *delays) add(w wait) {
	if _, known := d.due[w.index]; known {
		return
	}
	d.due[w.index] = w.due
	heap.Push(&d.line, w)
	if !d.quiet {
		d.freshWaits = append(d.freshWaits, w)
	}
}

// finish takes out what has been delivered, or cannot be. One that is not there
// changes nothing: its event may be older than what is kept.
func (d *delays) finish(r release) {
	if _, known := d.due[r.index]; !known {
		return
	}
	delete(d.due, r.index)
	if !d.quiet {
		d.freshReleases = append(d.freshReleases, r)
	}
}

// note takes what the timing of a stored event says of it, or of another one.
func (d *delays) note(t *bus.Timing, index uint64) {
	switch {
	case t.Published != 0:
		d.finish(release{index: t.Published, at: index})
	case !t.DeliverAt.IsZero():
		d.add(wait{index: index, due: t.DeliverAt.UnixNano()})
	}
}

// first returns what goes out next of what nobody is at; false when there is none.
func (d *delays) first() (wait, bool) {
	for len(d.line) > 0 {
		w := d.line[0]
		if due, waits := d.due[w.index]; waits && due == w.due {
			return w, true
		}
		heap.Pop(&d.line)
	}
	return wait{}, false
}

// take takes out of the line what is due by now. Its taker finishes each of them, or
// puts it back.
func (d *delays) take(now int64, most int) (taken []wait) {
	for len(taken) < most {
		w, ok := d.first()
		if !ok || w.due > now {
			break
		}
		heap.Pop(&d.line)
		taken = append(taken, w)
	}
	return taken
}

// putBack puts into the line again what was taken and could not be delivered.
func (d *delays) putBack(taken []wait) {
	for _, w := range taken {
		heap.Push(&d.line, w)
	}
}

// forget drops what waits below an index, whose events are deleted, and returns how
// many that were.
func (d *delays) forget(first uint64) (dropped int) {
	for index := range d.due {
		if index < first {
			d.finish(release{index, index})
			dropped++
		}
	}
	return dropped
}

// indexes returns, sorted, those behind an index at which an event waits.
func (d *delays) indexes(after uint64, most int) []uint64 {
	var all []uint64
	for index := range d.due {
		if index > after {
			all = append(all, index)
		}
	}
	slices.Sort(all)
	return all[:min(most, len(all))]
}

// fresh returns how many entries have not been taken to be saved.
func (d *delays) fresh() int { return len(d.freshWaits) + len(d.freshReleases) }

// takeFresh removes and returns what is to be saved of the events below limit. What
// has come and gone since the last time is not worth a word.
func (d *delays) takeFresh(limit uint64) (waits []wait, releases []release) {
	waits, d.freshWaits = split(d.freshWaits, func(w wait) bool { return w.index < limit })
	releases, d.freshReleases = split(d.freshReleases, func(r release) bool { return r.at < limit })
	gone := make(map[uint64]bool, len(releases))
	for _, r := range releases {
		gone[r.index] = true
	}
	passed := make(map[uint64]bool)
	waits = slices.DeleteFunc(waits, func(w wait) bool {
		passed[w.index] = gone[w.index]
		return gone[w.index]
	})
	releases = slices.DeleteFunc(releases, func(r release) bool { return passed[r.index] })
	return waits, releases
}

// hush ends the keeping of what is to be saved.
func (d *delays) hush() { d.quiet, d.freshWaits, d.freshReleases = true, nil, nil }

// load takes a part of a saved copy. It counts only once the copy says that all of
// it was written: what was cut off may speak of deliveries that a power cut has
// taken back.
func (d *delays) load(part delayDelta) {
	if d.loaded.span != part.span {
		d.loaded = delayDelta{span: part.span}
	}
	d.loaded.waits = append(d.loaded.waits, part.waits...)
	d.loaded.gone = append(d.loaded.gone, part.gone...)
}

// covered says how far a saved copy is whole.
func (d *delays) covered(known span, first uint64) {
	if known == d.loaded.span {
		quiet := d.quiet
		d.quiet = true
		for _, w := range d.loaded.waits {
			if w.index >= first {
				d.add(w)
			}
		}
		for _, index := range d.loaded.gone {
			d.finish(release{index: index})
		}
		d.quiet = quiet
	}
	d.loaded = delayDelta{}
}

// dueTime is when an event is due, as it travels.
func (w wait) dueTime() time.Time { return time.Unix(0, w.due).UTC() }
