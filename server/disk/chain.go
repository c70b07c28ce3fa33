package disk

import (
	"slices"
	"strings"
)

// groupLimits say how a chain is cut into groups, and what is held of them.
type groupLimits struct {
	events uint64 // of a group
	bytes  int    // of the log, a group
	hashes int    // of a group; with more it says anything
	held   int    // hashes held in memory, over all groups
}

// defaultGroupLimits make a group cost a reader about a millisecond. What is held
// takes at most 16 MiB, and beside it 40 bytes a group.
func defaultGroupLimits() groupLimits {
	return groupLimits{events: 4096, bytes: 1 << 20, hashes: maxGroupHashes, held: 4 << 20}
}

// heldGroup is what is held of a group.
type heldGroup struct {
	next     uint64
	anything bool
	hashes   []uint32 // shared by neighbours that have the same; nil: only in the derived log
}

// chain is groups without a hole between them, and the one that still grows. It
// is guarded by its owner.
type chain struct {
	limits groupLimits
	words  words
	quiet  bool // nothing will be saved

	from    uint64 // of the first group
	dropped int    // groups that were before it
	groups  []heldGroup
	held    int            // hashes in groups
	partly  bool           // of some groups they are not held
	fresh   []subjectGroup // closed and not yet taken to be saved

	open  subjectGroup // its hashes are neither sorted nor once each
	spare []uint32     // room to sort in
	bytes int          // of the log, in open
	last  string       // subject that open was last told of
}

func newChain(from uint64, key hashKey, limits groupLimits, quiet bool) *chain {
	return &chain{limits: limits, words: words{key: key}, quiet: quiet, from: from, open: subjectGroup{span: span{from: from, next: from}}}
}

// add takes the events that follow at the indexes of a span, which took so many
// bytes of the log. subject returns the subject of the i-th, "" when it is not
// known. Events that were skipped may have any subject.
func (c *chain) add(at span, bytes int, subject func(i int) string) {
	if at.from > c.open.next {
		c.open.anything = true
	}
	all := at.next - at.from
	for from := at.from; from < at.next; {
		n := max(1, min(c.room(bytes/int(all)), at.next-from)) // one may be more than there is room for
		for i := range n {
			c.hear(subject(int(from - at.from + i)))
		}
		from += n
		c.open.next, c.open.at = from, at.at
		c.bytes += bytes / int(all) * int(n)
		if c.room(1) == 0 {
			c.cut()
		}
	}
}

// room returns how many events of a size the open group may still take.
func (c *chain) room(size int) uint64 {
	events := c.limits.events - min(c.limits.events, c.open.next-c.open.from)
	bytes := max(0, c.limits.bytes-c.bytes)
	return min(events, uint64(bytes/max(1, size)))
}

// gone takes a range of which nothing is known.
func (c *chain) gone(s span) {
	if s.next > c.open.next {
		c.open.next, c.open.at, c.open.anything = s.next, s.at, true
	}
}

// pass takes a range in which no event is left, and of which nobody is told.
func (c *chain) pass(s span) {
	if s.next > c.open.next {
		c.open.next, c.open.at = s.next, s.at
	}
	if c.room(1) == 0 {
		c.cut()
	}
}

// hear takes a subject of the open group.
func (c *chain) hear(subject string) {
	if subject == c.last && subject != "" || c.open.anything {
		return
	}
	if subject == "" {
		c.open.anything = true
		return
	}
	w, again := c.words.find(subject)
	c.last = w.text
	if again {
		return
	}
	c.open.hashes = append(c.open.hashes, w.hashes...)
	if len(c.open.hashes) > 2*c.limits.hashes {
		c.tidy()
	}
}

// tidy puts the hashes of the open group in order.
func (c *chain) tidy() {
	c.spare = sortHashes(c.open.hashes, c.spare)
	c.open.hashes = slices.Compact(c.open.hashes)
	if n := len(c.open.hashes); n == 0 || n > c.limits.hashes {
		c.open.anything = true
	}
	if c.open.anything {
		c.open.hashes = nil
	}
}

// sortHashes sorts by one byte after the other, from the lowest: an append waits
// for it, and of many subjects it would be most of what that pays. It takes and
// returns room to sort in.
func sortHashes(hashes, spare []uint32) []uint32 {
	if len(hashes) < 256 {
		slices.Sort(hashes)
		return spare
	}
	spare = slices.Grow(spare[:0], len(hashes))[:len(hashes)]
	from, to := hashes, spare
	for shift := 0; shift < 32; shift += 8 { // an even number of times: they end where they were
		var places [257]int // of the first with each byte
		for _, h := range from {
			places[int(byte(h>>shift))+1]++
		}
		for i := range 256 {
			places[i+1] += places[i]
		}
		for _, h := range from {
			at := &places[byte(h>>shift)]
			to[*at] = h
			*at++
		}
		from, to = to, from
	}
	return spare
}

// cut closes the open group and begins the next one.
func (c *chain) cut() {
	if c.open.next == c.open.from {
		return
	}
	c.tidy()
	g := c.open
	g.hashes = slices.Clone(g.hashes)
	c.hold(g)
	if !c.quiet {
		c.fresh = append(c.fresh, g)
	}
	c.open = subjectGroup{span: span{from: g.next, next: g.next, at: g.at}, hashes: c.open.hashes[:0]}
	c.bytes, c.last = 0, ""
	c.words.turn()
}

// hold keeps in memory what there is room for.
func (c *chain) hold(g subjectGroup) {
	h := heldGroup{next: g.next, anything: g.anything}
	switch n := len(c.groups); {
	case g.anything:
	case n > 0 && slices.Equal(c.groups[n-1].hashes, g.hashes):
		h.hashes = c.groups[n-1].hashes
	case c.held+len(g.hashes) <= c.limits.held:
		h.hashes = g.hashes
		c.held += len(g.hashes)
	default:
		c.partly = true
	}
	c.groups = append(c.groups, h)
}

// drop forgets the groups that are below an index.
func (c *chain) drop(first uint64) {
	n := 0
	for ; n < len(c.groups) && c.groups[n].next <= first; n++ {
		g := &c.groups[n]
		shared := n+1 < len(c.groups) && len(g.hashes) > 0 && len(c.groups[n+1].hashes) > 0 && &c.groups[n+1].hashes[0] == &g.hashes[0]
		if !shared {
			c.held -= len(g.hashes)
		}
		c.from = g.next
	}
	if n > 0 {
		c.groups = slices.Delete(c.groups, 0, n)
		c.dropped += n
	}
}

// load takes a closed group that was saved.
func (c *chain) load(g subjectGroup) {
	c.hold(g)
	c.open.span = span{from: g.next, next: g.next, at: g.at}
}

// join takes what another chain has, which begins where this one ends.
func (c *chain) join(o *chain) {
	if len(o.groups) > 0 {
		c.cut()
		c.groups = append(c.groups, o.groups...)
		c.held += o.held
		c.partly = c.partly || o.partly
		c.fresh = append(c.fresh, o.fresh...)
		c.open.from = o.open.from
	}
	if o.open.next > c.open.next {
		c.open.next, c.open.at = o.open.next, o.open.at
	}
	c.open.anything = c.open.anything || o.open.anything
	c.open.hashes = append(c.open.hashes, o.open.hashes...)
	c.bytes, c.last = c.bytes+o.bytes, ""
}

// words remembers the hashes of the subjects that were heard of last, so that
// one that comes again and again is hashed once. It takes at most wordsSize
// bytes, or one subject.
type words struct {
	key   hashKey
	group uint32
	known map[string]*word
	size  int
}

type word struct {
	text   string
	hashes []uint32
	group  uint32 // that it was last heard in
}

// wordsSize is enough for some 10,000 subjects.
const (
	wordsSize = 2 << 20
	wordFixed = 150
)

// find returns the word, and whether it was heard in this group before. The
// text may be cut from a request's body, which must not stay for it.
func (w *words) find(text string) (found *word, again bool) {
	found = w.known[text]
	if found == nil {
		found = &word{text: strings.Clone(text), hashes: w.key.hashSubject(text), group: w.group - 1}
		if w.size += wordFixed + len(text) + 4*len(found.hashes); w.known == nil || w.size > wordsSize {
			w.known, w.size = make(map[string]*word), 0
		}
		w.known[found.text] = found
	}
	again = found.group == w.group
	found.group = w.group
	return found, again
}

// turn begins a group.
func (w *words) turn() { w.group++ }
