package delivery

import "slices"

// picks are the few events that a stream carries below an index, as the newest of
// each subject: those before its seam, and then everything. What is read between
// them is passed over.
type picks struct {
	seam    uint64   // 0: there is nothing to pick
	only    []uint64 // sorted; let go behind the seam when it is long
	passed  int      // of only, those below the position
	coarse  bool     // only was let go
	release func()   // nil once it was called, or when there is none
}

// keptPicks is how many picks a live stream keeps, to know which events it carried.
const keptPicks = 512

// open reports whether events below the seam are still to come, from index at on.
func (p *picks) open(at uint64) bool { return at < p.seam }

// has reports whether the stream carries the event at an index, as far as it is known
// still. It forgets nothing: an event may be considered again.
func (p *picks) has(index uint64) bool {
	if index >= p.seam || p.coarse {
		return true
	}
	_, found := slices.BinarySearch(p.only, index)
	return found
}

// next returns where, at or behind an index, the next event stands that is carried:
// the seam when there is none before it.
func (p *picks) next(at uint64) uint64 {
	if at >= p.seam {
		return at
	}
	for p.passed < len(p.only) && p.only[p.passed] < at {
		p.passed++
	}
	if p.passed < len(p.only) {
		return min(p.only[p.passed], p.seam)
	}
	return p.seam
}

// over lets a long list go, once the position is behind the seam.
func (p *picks) over() {
	if len(p.only) > keptPicks {
		p.only, p.passed, p.coarse = nil, 0, true
	}
	p.end()
}

// end says, once, that the list is not needed any more.
func (p *picks) end() {
	if p.release != nil {
		p.release()
		p.release = nil
	}
}
