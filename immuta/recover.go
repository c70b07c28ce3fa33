package immuta

import "fmt"

// This file walks the end of a log when it is opened. What is wrong there is for
// judge.go to say.

// tail is what the end of the open segment was found to be.
type tail struct {
	next   uint64        // one past the last record that is there
	end    int64         // where its block ends
	time   int64         // of the last whole commit
	start  entry         // where the last whole commit starts
	proven int64         // all before is on stable storage: the commits from here may not be
	torn   *torn         // an unfinished commit after end, to be cut
	space  int64         // zeros behind all there is, up to the end of the file
	damage *CorruptError // the first damage met; the log takes no appends
	lost   *CorruptError // the last thing there is, when that is damage
}

// torn is an unfinished last commit.
type torn struct {
	offset int64
	size   int64 // without zeros that end the file
	why    string
}

// scan walks the blocks from a checkpoint to the end of the file.
type scan struct {
	*segment
	tail
	win     window
	size    int64 // of the file, without the zeros that end it once they are known
	at      int64
	expect  uint64  // first index of the block at at
	commit  uint64  // the commit that is open; 0: none
	begin   int64   // where its first block is
	noted   []entry // of the open commit
	index   *index
	shown   int64       // the index shows that all in front of this was synced
	inspect *inspection // looks inside good frames; nil: nobody does, as when a plain log is opened
	met     []wound     // all damage
	gaps    []*GapError // all that was repaired
	entered bool        // the open commit was entered behind damage, its start is lost
	behind  bool        // the block before was a hollow one, or damage
	latest  int64       // time of the last good block
	open    bool        // the last commit was never finished, and stands there still
	last    int64       // offset behind the last byte of the file that is not zero, as far as it was measured
	beside  bool        // another process may be writing
	waits   int         // for it

	visit func(h *block, inside *inspection) error // is shown each good frame, and may end the scan; nil: nobody is
}

// wound is a damaged place: what lies between two good blocks.
type wound struct {
	CorruptError
	end    int64 // of the damaged bytes
	lost   uint64
	atMost bool  // their number could not be read
	time   int64 // of the block behind it; 0: there is none
	latest int64 // of the block before it; 0: there is none
	last   bool  // nothing is behind it in this file
}

// scanTail reads from a checkpoint (a commit's first block) to size. beside says
// that another process may be writing.
func (s *segment) scanTail(x *index, from entry, size int64, beside bool) (tail, error) {
	c := scan{segment: s, size: size, index: x, shown: x.synced, beside: beside}
	if s.sealer != nil { // a frame with good sums may be forged, and lead past good ones
		c.inspect = &inspection{}
	}
	err := c.run(from)
	c.tail.space = size - c.size
	return c.tail, err
}

func (c *scan) run(from entry) error {
	c.at, c.expect = from.offset, from.first
	c.win = window{file: c.file, step: chunk}
	c.tail.next, c.tail.end, c.tail.time, c.tail.proven = from.first, from.offset, from.time, from.offset
	for c.at < c.size {
		h, frame, bad, err := c.look(&c.win)
		if bad != nil && c.beside && err == nil {
			h, frame, bad, err = c.again()
		}
		if err != nil {
			return err
		}
		if c.at >= c.size {
			break
		}
		if bad == nil && c.visit != nil {
			if err := c.visit(&h, c.inspect); err != nil {
				return err
			}
		}
		if bad == nil && h.hollow() {
			c.acceptHollow(&h)
			continue
		}
		if bad == nil {
			c.accept(&h)
			continue
		}
		stop, err := c.judge(bad, frame)
		if err != nil {
			return err
		}
		if stop {
			c.reach()
			return nil
		}
	}
	if c.open = c.commit != 0; c.open && c.damage == nil {
		c.tear("the file ends inside a commit")
	}
	c.reach()
	return nil
}

// look reads the frame at hand, and says what is wrong with it.
func (c *scan) look(w *window) (h block, frame []byte, bad *flaw, err error) {
	h, frame, bad, err = c.frameAt(w, c.at, c.size)
	if bad == nil && err == nil {
		bad = c.misplaced(&h)
	}
	if bad == nil && err == nil && c.inspect != nil {
		bad = c.inside(&h, frame)
	}
	return h, frame, bad, err
}

// reach brings the end up to the last damage when no whole commit follows it:
// else readers would stop before it as if nothing had ever been there. That
// commit was answered, so its good blocks are still to be read.
func (c *scan) reach() {
	if len(c.met) == 0 || c.lost != nil || c.met[len(c.met)-1].From < c.tail.next {
		return
	}
	last := c.met[len(c.met)-1].CorruptError
	last.Next = 0 // what follows was never finished
	c.lost = &last
	c.tail.next, c.tail.end = last.From, last.Offset
}

// misplaced tells a good block that does not belong where it is.
func (c *scan) misplaced(h *block) *flaw {
	if bad := outOfOrder(h, c.expect); bad != nil {
		return bad
	}
	why := ""
	switch {
	case h.hollow() || c.behind: // it ends the commit before it, and may have taken the start of the next
	case c.commit == 0 && !h.isStart():
		why = fmt.Sprintf("a commit should start with record %d, found a block of commit %d", h.first, h.commit)
	case c.commit != 0 && h.commit != c.commit:
		why = fmt.Sprintf("commit %d is not finished, found a block of commit %d", c.commit, h.commit)
	}
	if why == "" {
		return nil
	}
	return &flaw{why: why, trusted: true, order: true, h: *h}
}

// accept takes a good block. What it belongs to counts once its last block is met.
func (c *scan) accept(h *block) {
	if c.commit == 0 {
		c.commit, c.begin, c.entered = h.commit, c.at, c.entered || !h.isStart()
		if h.settled() {
			c.proven = c.at
		}
	}
	c.noted = append(c.noted, entry{first: h.first, time: h.time, offset: c.at, start: h.isStart()})
	c.at += h.frame()
	c.expect, c.latest, c.behind = h.next(), h.time, false
	if h.last() {
		c.finish()
	}
}

// acceptHollow takes what a repair or a rewrite has left. It ends the commit before
// it, whose last blocks it may stand for: the good ones of it stay.
func (c *scan) acceptHollow(h *block) {
	start := entry{first: h.first, time: h.time, offset: c.at, start: true}
	if c.inspect != nil && h.isGap() {
		c.gaps = c.inspect.gap(c.segment, c.gaps, h, c.at, c.behind)
	}
	c.noted = append(c.noted, start)
	c.at += h.frame()
	c.expect, c.latest = h.next(), h.time
	c.finish()
	c.tail.start, c.tail.proven, c.behind = start, c.at, true
}

// finish makes what was accepted count: its commit is whole.
func (c *scan) finish() {
	for _, e := range c.noted {
		c.index.note(e)
	}
	c.tail.next, c.tail.end, c.tail.time = c.expect, c.at, c.latest
	if !c.entered {
		c.tail.start = c.noted[0]
	}
	c.noted, c.commit, c.entered = c.noted[:0], 0, false
}
