package immuta

import "fmt"

// Report is what Verify found.
type Report struct {
	Path    string
	Checked string // CheckedSealed, CheckedPlain or CheckedOuter
	Blocks  int
	Records uint64
	Bytes   int64  // of the file
	First   uint64 // first index kept
	Next    uint64 // one past the last good record
	Damage  []Damage
	Torn    *Damage // an unfinished last commit: no damage; the next Open for writing cuts it

	openBlocks  int // of the commit at hand, which may turn out to be torn
	openRecords uint64
}

// Damage is a place in a log where records cannot be read.
type Damage struct {
	Offset     int64
	Why        string
	From, Next uint64 // as in CorruptError
}

// What Verify could check.
const (
	CheckedPlain  = "plain"      // every bit of a plain log
	CheckedSealed = "sealed"     // every seal, and what it holds
	CheckedOuter  = "outer only" // no key was given: the checksums over sealed bytes
)

// Verify reads all of dir/name.log and checks every bit of it, without writing.
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
	s, err := openSegment(dir, name, &o)
	if err != nil {
		return Report{}, err
	}
	defer s.file.Close()
	size, err := s.file.Size()
	if err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", s.path, err)
	}
	r := Report{Path: s.path, Checked: s.checked(), Bytes: size, First: s.first}
	c := scan{segment: s, size: size, index: &index{seg: s}}
	c.inspect = r.inspect(s)
	if err := c.run(entry{first: s.first, offset: s.data(), start: true}); err != nil {
		return r, err
	}
	r.fill(&c)
	return r, nil
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

// inspect opens what is inside a frame whose checksums are good, and counts it.
func (r *Report) inspect(s *segment) func(*block, []byte, int64) string {
	var opened []byte
	return func(h *block, frame []byte, at int64) string {
		if r.Checked != CheckedOuter {
			plain, why := s.plain(opened[:0], h, frame, at)
			if why != "" {
				return why
			}
			if _, why := splitRecords(nil, plain, h.count); why != "" {
				return why
			}
			if s.sealer != nil {
				opened = plain
			}
		}
		r.count(h)
		return ""
	}
}

func (r *Report) count(h *block) {
	if h.isStart() {
		r.openBlocks, r.openRecords = 0, 0
	}
	r.Blocks++
	r.Records += uint64(h.count)
	r.openBlocks++
	r.openRecords += uint64(h.count)
	if h.last() {
		r.openBlocks, r.openRecords = 0, 0
	}
}

// fill ends the report. The good blocks of a torn commit are not in the log: a
// commit is whole or absent.
func (r *Report) fill(c *scan) {
	if c.torn != nil {
		r.Blocks -= r.openBlocks
		r.Records -= r.openRecords
	}
	r.Next = c.next
	for _, d := range c.met {
		r.Damage = append(r.Damage, Damage{Offset: d.Offset, Why: d.Why, From: d.From, Next: d.Next})
	}
	if t := c.torn; t != nil {
		r.Torn = &Damage{Offset: t.offset, Why: t.why, From: c.next}
	}
}
