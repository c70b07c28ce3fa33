package immuta

import (
	"errors"
	"fmt"
	"io/fs"
)

// Report is what Verify found.
type Report struct {
	Path    string
	Checked string // CheckedSealed, CheckedPlain or CheckedOuter
	Files   int    // segments, with the one that is appended to
	Blocks  int    // good ones
	Records uint64 // in them
	Bytes   int64  // of the files, without zeros that end the last one
	First   uint64 // first index kept
	Next    uint64 // one past the last good record
	Damage  []Damage
	Removed uint64      // records that Rewrite has removed
	Gaps    []*GapError // damage of earlier days, which was repaired: the log is good there
	// Torn is an unfinished last commit: no damage; the next Open for writing cuts
	// it. Of a log whose commits are synced one by one it was never answered. Where
	// they are not, it is all since the last sync that is known of, and may have
	// been answered; with dir/name.idx more is known.
	Torn *Damage
}

// Damage is a place in a log where records cannot be read.
type Damage struct {
	Path       string // of the file
	Offset     int64
	Bytes      int64 // up to the next good block, or to the end of the file without its zeros
	Why        string
	From, Next uint64 // as in CorruptError
	Lost       uint64 // records; at the end of the log, when AtMost, what the bytes could have held
	AtMost     bool
}

// Lost sums up what is damaged: records, and the bytes that hold them. Records
// are at most so many when atMost.
func (r *Report) Lost() (records uint64, bytes int64, atMost bool) {
	for i := range r.Damage {
		d := &r.Damage[i]
		records, bytes, atMost = records+d.Lost, bytes+d.Bytes, atMost || d.AtMost
	}
	return records, bytes, atMost
}

// What Verify could check.
const (
	CheckedPlain  = "plain"      // every bit of a plain log
	CheckedSealed = "sealed"     // every seal, and what it holds
	CheckedOuter  = "outer only" // no key was given: the checksums over sealed bytes
)

// Verify reads all of dir/name.log, and of the closed segments in front of it, and checks every bit of it, without writing. Of
// dir/name.idx it takes what was synced, if it is there.
// It may run beside the process that appends. A sealed log without o.Sealing has
// its outer checksums checked. Damage to blocks is in the report; the error is
// for what cannot be read at all, such as a damaged file header (*CorruptError).
func Verify(dir, name string, o Options) (Report, error) {
	o.ReadOnly, o.outerOnly = true, o.Sealing == nil
	o, err := o.complete()
	if err != nil {
		return Report{}, err
	}
	if err := checkName(name); err != nil {
		return Report{}, err
	}
	c, err := openChain(dir, name, &o)
	if err != nil {
		return Report{}, err
	}
	defer c.close()
	return c.verify(dir, name, &o)
}

// verify reports on all segments. Those from the old end that are deleted
// meanwhile are no part of the log any more.
func (c *chain) verify(dir, name string, o *Options) (Report, error) {
	var all Report
	for _, p := range c.closed {
		r, err := p.verify(name, o)
		if errors.Is(err, fs.ErrNotExist) && p.deleted(dir, name, o) {
			all = Report{} // those before it were deleted first
			continue
		}
		if err != nil {
			return Report{}, err
		}
		all.add(&r)
	}
	last := c.open
	_, r, err := last.inspect(&index{seg: last, synced: last.syncedBefore(dir, name, o)}, true, nil)
	all.add(&r)
	all.Path, all.Checked, all.Torn = r.Path, r.Checked, r.Torn
	return all, err
}

// deleted says whether a segment that is not there has gone with all that were in
// front of it, as a trim does it, and not alone.
func (p *part) deleted(dir, name string, o *Options) bool {
	found, err := findFiles(o.FS, dir, name)
	return err == nil && (len(found.closed) == 0 || found.closed[0] > p.first)
}

// verify reports on a closed segment.
func (p *part) verify(name string, o *Options) (Report, error) {
	if p.bad != nil {
		return p.unreadable(), nil
	}
	s, err := p.reopen(name, o)
	if damage, ok := errors.AsType[*CorruptError](err); ok {
		p.bad = damage
		return p.unreadable(), nil
	}
	if err != nil {
		return Report{}, err
	}
	defer s.file.Close()
	_, r, err := s.inspect(&index{seg: s}, true, p)
	return r, err
}

// unreadable is the report on a segment whose header is damaged.
func (p *part) unreadable() Report {
	d := Damage{Path: p.path, Offset: p.bad.Offset, Bytes: p.end, Why: p.bad.Why, From: p.first, Next: p.next, Lost: p.next - p.first}
	return Report{Path: p.path, Files: 1, Bytes: p.end, First: p.first, Next: p.next, Damage: []Damage{d}}
}

// add takes what was found in the next segment.
func (r *Report) add(next *Report) {
	if r.Files == 0 {
		r.First = next.First
	}
	r.Files++
	r.Next = next.Next
	r.Blocks, r.Records, r.Bytes = r.Blocks+next.Blocks, r.Records+next.Records, r.Bytes+next.Bytes
	r.Removed += next.Removed
	r.Damage, r.Gaps = append(r.Damage, next.Damage...), append(r.Gaps, next.Gaps...)
}

// inspect scans the whole file and looks into every block. closed is nil when it
// is the segment that is appended to.
func (s *segment) inspect(x *index, beside bool, closed *part) (*scan, Report, error) {
	size, err := s.file.Size()
	if err != nil {
		return nil, Report{}, fmt.Errorf("verify %s: %w", s.path, err)
	}
	i := &inspection{outer: s.checked() == CheckedOuter}
	c := &scan{segment: s, size: size, index: x, shown: x.synced, inspect: i, beside: beside}
	err = c.run(entry{first: s.first, offset: s.data(), start: true})
	if closed != nil && err == nil {
		c.endsAt(closed)
	} else if c.open {
		i.leave()
	}
	r := Report{Path: s.path, Files: 1, Checked: s.checked(), Bytes: c.size, First: s.first, Blocks: i.blocks, Records: i.records, Removed: i.removed}
	r.fill(c)
	return c, r, err
}

func (s *segment) checked() string {
	switch {
	case !s.sealed:
		return CheckedPlain
	case s.sealer == nil:
		return CheckedOuter
	}
	return CheckedSealed
}

// inspection opens what is inside frames whose checksums are good, and counts it.
type inspection struct {
	outer   bool // there is no key
	opened  []byte
	blocks  int
	records uint64
	removed uint64
	held    [][]byte // the records of the last block
	saved   []byte   // body of the last hollow block

	openBlocks  int // of the commit at hand, which may turn out to be torn
	openRecords uint64
}

// opens says what is wrong inside a frame; "" when nothing is.
func (i *inspection) opens(s *segment, h *block, frame []byte, at int64) string {
	if i.outer {
		return ""
	}
	plain, why := s.plain(i.opened[:0], h, frame, at)
	if why != "" {
		return why
	}
	if s.sealer != nil {
		i.opened = plain
	}
	switch {
	case h.isGap():
		i.saved = plain
	case h.isRemoved():
		i.saved = plain
		_, why = reasonOf(plain)
	default:
		i.held, why = splitRecords(i.held[:0], plain, h.count)
	}
	return why
}

// look is opens for a frame at its place: a good one counts.
func (i *inspection) look(s *segment, h *block, frame []byte, at int64) string {
	i.saved, i.held = nil, i.held[:0]
	why := i.opens(s, h, frame, at)
	if why == "" {
		i.count(h)
	}
	return why
}

func (i *inspection) count(h *block) {
	if h.isStart() {
		i.keep()
	}
	if h.isRemoved() {
		i.removed += uint64(h.count)
	}
	if h.hollow() {
		return
	}
	i.blocks++
	i.records += uint64(h.count)
	i.openBlocks++
	i.openRecords += uint64(h.count)
	if h.last() {
		i.keep()
	}
}

// keep says that what was counted so far stays: its commit is whole, or is
// damaged, of which all that is good is kept.
func (i *inspection) keep() { i.openBlocks, i.openRecords = 0, 0 }

// leave takes back what was counted of a commit that was never finished: its good
// blocks are not in the log, a commit is whole or absent.
func (i *inspection) leave() {
	i.blocks -= i.openBlocks
	i.records -= i.openRecords
}

// gap notes what the gap block at hand says; several in a row are one gap.
func (i *inspection) gap(s *segment, gaps []*GapError, h *block, at int64, behind bool) []*GapError {
	g := s.gapError(h, i.saved, at, h.first)
	if n := len(gaps); behind && n > 0 && gaps[n-1].Next == g.From {
		gaps[n-1].Next, gaps[n-1].AtMost = g.Next, gaps[n-1].AtMost || g.AtMost
		return gaps
	}
	return append(gaps, g)
}

func (r *Report) fill(c *scan) {
	r.Next, r.Gaps = c.tail.next, c.gaps
	for i := range c.met {
		d := &c.met[i]
		r.Damage = append(r.Damage, Damage{
			Path: d.Path, Offset: d.Offset, Bytes: d.end - d.Offset, Why: d.Why, From: d.From, Next: d.Next, Lost: d.lost, AtMost: d.atMost,
		})
	}
	if t := c.torn; t != nil {
		r.Torn = &Damage{Offset: t.offset, Bytes: t.size, Why: t.why, From: c.tail.next}
	}
}
