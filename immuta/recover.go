package immuta

import "fmt"

// What a crash may leave at the end of a log, and what it may not. This file is
// the one judge of it: an unfinished last commit is torn and is cut; all else
// that is wrong is damage, is reported and never written to.

// tail is what the end of the open segment was found to be.
type tail struct {
	next   uint64        // one past the last record that is there
	end    int64         // where its block ends
	time   int64         // of the last whole commit
	start  entry         // where the last whole commit starts
	proven int64         // all before is on stable storage: the commits from here may not be
	torn   *torn         // an unfinished commit after end, to be cut
	damage *CorruptError // the first damage met; the log takes no appends
	lost   *CorruptError // the last thing there is, when that is damage
}

// torn is an unfinished last commit.
type torn struct {
	offset int64
	size   int64
	why    string
}

// scan walks the blocks from a checkpoint to the end of the file.
type scan struct {
	*segment
	tail
	win     window
	size    int64
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
	behind  bool        // the block before was a gap
	latest  int64       // time of the last good block
	open    bool        // the last commit was never finished, and stands there still
}

// wound is a damaged place: what lies between two good blocks.
type wound struct {
	CorruptError
	end    int64 // of the damaged bytes
	lost   uint64
	atMost bool  // their number could not be read
	time   int64 // of the block behind it; 0: there is none
	latest int64 // of the block before it; 0: there is none
}

// scanTail reads from a checkpoint (a commit's first block) to size.
func (s *segment) scanTail(x *index, from entry, size int64) (tail, error) {
	c := scan{segment: s, size: size, index: x, shown: x.synced}
	if s.sealer != nil { // a frame with good sums may be forged, and lead past good ones
		c.inspect = &inspection{}
	}
	err := c.run(from)
	return c.tail, err
}

func (c *scan) run(from entry) error {
	c.at, c.expect = from.offset, from.first
	c.win = window{file: c.file, step: chunk}
	c.tail.next, c.tail.end, c.tail.time, c.tail.proven = from.first, from.offset, from.time, from.offset
	for c.at < c.size {
		h, frame, bad, err := c.frameAt(&c.win, c.at, c.size)
		if err != nil {
			return err
		}
		if bad == nil {
			bad = c.misplaced(&h)
		}
		if bad == nil && c.inspect != nil {
			bad = c.inside(&h, frame)
		}
		if bad == nil && h.isGap() {
			c.acceptGap(&h)
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
	case h.isGap() || c.behind: // it ends the commit before it, and may have taken the start of the next
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

// acceptGap takes what a repair has left. It ends the commit before it, whose
// last blocks it may stand for: the good ones of it stay.
func (c *scan) acceptGap(h *block) {
	start := entry{first: h.first, time: h.time, offset: c.at, start: true}
	if c.inspect != nil {
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

// judge decides what a bad frame means, and finds where to go on.
func (c *scan) judge(bad *flaw, frame []byte) (stop bool, err error) {
	unwritten, err := c.isTorn(bad, frame)
	if err != nil {
		return true, err
	}
	if c.open = unwritten; unwritten {
		if c.damage == nil { // behind damage nothing is cut: the file is not written to
			c.tear(bad.why)
		}
		return true, nil
	}
	h, at, found, err := c.nextSound(&c.win, c.at+alignment, c.expect, c.size)
	if err != nil {
		return true, err
	}
	w := wound{CorruptError: CorruptError{Path: c.path, Offset: c.at, Why: bad.why, From: c.expect}, end: c.size, latest: c.latest}
	if found {
		w.Next, w.end, w.time, w.lost = h.first, at, h.time, h.first-c.expect
	} else {
		w.lost, w.atMost = c.lostAtEnd(bad)
	}
	c.met = append(c.met, w)
	if c.inspect != nil {
		c.inspect.keep() // the commit was answered: its good blocks are read
	}
	if c.damage == nil {
		c.damage = &w.CorruptError
	}
	if !found {
		// The commit was answered, so its good blocks are still to be read.
		c.lost = &w.CorruptError
		c.tail.next, c.tail.end = c.expect, c.at
		return true, nil
	}
	c.at, c.expect, c.noted, c.commit, c.entered = at, h.first, c.noted[:0], 0, false
	c.behind = true
	return false, nil
}

// lostAtEnd counts the records of damage with nothing good behind it. They may
// have been answered, and then their indexes are taken: what cannot be counted
// counts as many as its bytes could hold. In a sealed log no header without its
// box is believed: a smaller count in it would have indexes given twice.
func (c *scan) lostAtEnd(bad *flaw) (lost uint64, atMost bool) {
	rest := c.size - c.at
	if c.sealer == nil && bad.trusted && !bad.order && bad.h.first == c.expect {
		lost, atMost = uint64(bad.h.count), bad.h.flags&flagAtMost != 0
		rest -= bad.h.frame()
	}
	if rest <= 0 {
		return lost, atMost
	}
	return lost + c.mostRecords(int64(padded(int(rest)))), true
}

// inside looks into a frame whose checksums are good.
func (c *scan) inside(h *block, frame []byte) *flaw {
	why := c.inspect.look(c.segment, h, frame, c.at)
	if why == "" {
		return nil
	}
	// Of a box that does not open, its header is not to be believed either.
	return &flaw{why: why, trusted: c.sealer == nil, order: true, h: *h}
}

// tear marks the commit that is open, or would start here, as never finished.
func (c *scan) tear(why string) {
	offset := c.at
	if c.commit != 0 {
		offset = c.begin
	}
	c.torn = &torn{offset: offset, size: c.size - offset, why: why}
}

// isTorn is the rule. A power cut leaves the end of what was being written
// missing, or any of its 512-byte sectors unwritten, which then read as zeros
// since the space was new. So:
//
//   - the file ends inside the frame (by its length, which has its own sum, or
//     since less than a header is there), or a sector's piece of the frame is zero
//     that was not written so: torn, unless a later commit shows that this one had
//     reached the disk;
//   - anything else: damage.
//
// With SyncAlways every commit says that what precedes it had been synced, so
// "a later commit" is any. With the other modes a run of commits may be in
// flight at once; each says whether that was so (flagSettled). Of such a run that
// was synced later only the index may tell: it has no entry of what was not.
func (c *scan) isTorn(bad *flaw, frame []byte) (bool, error) {
	switch {
	case bad.order || c.at < c.shown:
		return false, nil
	case bad.cut: // its length may be wrong: what is behind the header says whether
	case bad.trusted && !c.unwritten(&bad.h, frame):
		return false, nil
	case !bad.trusted:
		head, err := c.win.piece(c.at, blockHeader, c.size)
		if err != nil || zeroPieces(head, c.at) == 0 {
			return false, err
		}
	}
	settled, err := c.settledAfter()
	return !settled, err
}

// unwritten says whether a frame with a good header and a bad body lacks
// sectors. A piece with a single bit set becomes zero when that bit rots; that
// is damage, and the sum tells it: it is off by exactly one bit.
func (c *scan) unwritten(h *block, frame []byte) bool {
	if zeroPieces(frame, c.at) <= int(h.zero) {
		return false
	}
	body := frame[blockHeader:]
	return !oneBitOff(checksum(body)^h.sum, len(body))
}

// oneBitOff says whether a CRC32C that differs by syndrome is that of n bytes
// with one bit turned. The sum is linear: a turned bit adds what that bit alone
// gives, which is the register stepped once for each bit that follows.
func oneBitOff(syndrome uint32, n int) bool {
	const polynomial = 0x82F63B78
	r := uint32(1)
	for range n * 8 {
		if r = r>>1 ^ polynomial&-(r&1); r == syndrome {
			return true
		}
	}
	return false
}

// settledAfter says whether a good header behind a bad frame proves that the bad
// one's commit was once on stable storage. In a sealed log its box need not open:
// a forged one can only keep bytes from being cut.
func (c *scan) settledAfter() (bool, error) {
	commit := c.commit
	if commit == 0 {
		commit = c.expect
	}
	w := window{file: c.file, step: chunk}
	for at := c.at; ; {
		h, found, ok, err := c.nextGood(&w, at+alignment, c.expect, c.size)
		if err != nil || !ok {
			return false, err
		}
		if h.isGap() || h.commit != commit && h.settled() {
			return true, nil // all in front of a gap was synced by the repair
		}
		at = found
	}
}
