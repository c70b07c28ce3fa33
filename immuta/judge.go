package immuta

import "fmt"

// What a crash may leave at the end of a log, and what it may not. This file is
// the one judge of it: an unfinished last commit is torn and is cut; all else
// that is wrong is damage, is reported and never written to.

// judge decides what a bad frame means, and finds where to go on.
func (c *scan) judge(bad *flaw, frame []byte) (stop bool, err error) {
	data, err := c.dataEnd()
	if err != nil {
		return true, err
	}
	if data == c.at && c.commit == 0 {
		c.size = data
		return true, nil // the end: no frame starts with zeros
	}
	unwritten, err := c.isTorn(bad, frame, data)
	if err != nil {
		return true, err
	}
	if c.open = unwritten; unwritten {
		c.size = data
		if c.damage == nil { // behind damage nothing is cut: the file is not written to
			c.tear(bad.why)
		}
		return true, nil
	}
	h, at, found, err := c.nextSound(&c.win, c.at+alignment, c.expect, c.size)
	if err != nil {
		return true, err
	}
	if old, err := c.wasOld(); old || err != nil {
		return err != nil, err
	}
	w := wound{CorruptError: CorruptError{Path: c.path, Offset: c.at, Why: bad.why, From: c.expect}, latest: c.latest}
	if found {
		w.Next, w.end, w.time, w.lost = h.first, at, h.time, h.first-c.expect
	} else {
		w.lost, w.atMost = c.lostAtEnd(bad, data)
		c.size, w.end = data, data
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

// dataEnd is the end of the last sector that holds anything, from the place at
// hand on. Only zeros are behind it, up to the end of the file.
func (c *scan) dataEnd() (int64, error) {
	if err := c.measure(); err != nil {
		return 0, err
	}
	if c.last <= c.at {
		return c.at, nil
	}
	return min((c.last+sectorSize-1)/sectorSize*sectorSize, c.size), nil
}

// measure finds the last byte that is not zero. What lies in front of it stays
// there, so that it is looked for once, however many wounds there are.
func (c *scan) measure() (err error) {
	if c.last > c.at {
		return nil
	}
	if c.last, err = lastByte(c.file, c.at, c.size); err != nil {
		return fmt.Errorf("read %s from offset %d on: %w", c.path, c.at, err)
	}
	return nil
}

// lostAtEnd counts the records of damage with nothing good behind it. They may
// have been answered, and then their indexes are taken: what cannot be counted
// counts as many as its bytes could hold. In a sealed log no header without its
// box is believed: a smaller count in it would have indexes given twice.
func (c *scan) lostAtEnd(bad *flaw, data int64) (lost uint64, atMost bool) {
	// What follows may end in zeros, which records that are empty are.
	rest := min(c.size, data+maxCount) - c.at
	if c.sealer == nil && bad.trusted && !bad.order && bad.h.first == c.expect {
		lost, atMost = uint64(bad.h.count), bad.h.flags&flagAtMost != 0
		if rest -= bad.h.frame(); bad.h.last() && data <= c.at+bad.h.frame() {
			return lost, atMost // nothing follows
		}
	}
	if rest <= 0 {
		return lost, atMost
	}
	return max(lost+c.mostRecords(int64(padded(int(rest)))), 1), true
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
//   - a single word is not zero: a bit has turned in the space ahead of the end,
//     where no frame was;
//   - anything else: damage.
//
// With SyncAlways every commit says that what precedes it had been synced, so
// "a later commit" is any. With the other modes a run of commits may be in
// flight at once; each says whether that was so (flagSettled). Of such a run that
// was synced later only the index may tell: it has no entry of what was not.
func (c *scan) isTorn(bad *flaw, frame []byte, data int64) (bool, error) {
	switch {
	case bad.order || c.at < c.shown || bad.trusted && bad.h.isRemoved(): // a file with removed records was synced before it got its name
		return false, nil
	case bad.cut: // its length may be wrong: what is behind the header says whether
	case bad.trusted && !c.unwritten(&bad.h, frame):
		return false, nil
	case !bad.trusted:
		head, err := c.win.piece(c.at, blockHeader, c.size)
		lone := c.last <= c.at+blockHeader && zeroWords(head) == headerWords-1
		if err != nil || zeroPieces(head, c.at) == 0 && !lone {
			return false, err
		}
	}
	settled, err := c.settledAfter(data)
	return !settled, err
}

// unwritten says whether a frame with a good header and a bad body lacks
// sectors. A piece with a single bit set becomes zero when that bit rots; that
// is damage, and the sum tells it: it is off by exactly that bit.
func (c *scan) unwritten(h *block, frame []byte) bool {
	more := zeroPieces(frame, c.at) - int(h.zero)
	if more != 1 {
		return more > 0
	}
	body := frame[blockHeader:]
	at, ok := oneBitOff(checksum(body)^h.sum, len(body))
	return !ok || !allZero(pieceAt(frame, c.at, blockHeader+at))
}

// pieceAt is the piece of a frame that has its i-th byte.
func pieceAt(frame []byte, offset int64, i int) []byte {
	from := i - int((offset+int64(i))%sectorSize)
	return frame[max(from, 0):min(from+sectorSize, len(frame))]
}

// oneBitOff says whether a CRC32C that differs by syndrome is that of n bytes
// with one bit turned, and in which of them. The sum is linear: a turned bit adds
// what that bit alone gives, which is the register stepped once for each bit that
// follows.
func oneBitOff(syndrome uint32, n int) (at int, ok bool) {
	const polynomial = 0x82F63B78
	r := uint32(1)
	for i := range n * 8 {
		if r = r>>1 ^ polynomial&-(r&1); r == syndrome {
			return n - 1 - i/8, true
		}
	}
	return 0, false
}

// settledAfter says whether a good header behind a bad frame proves that the bad
// one's commit was once on stable storage. In a sealed log its box need not open:
// a forged one can only keep bytes from being cut.
func (c *scan) settledAfter(end int64) (bool, error) {
	commit := c.commit
	if commit == 0 {
		commit = c.expect
	}
	w := window{file: c.file, step: chunk}
	for at := c.at; ; {
		h, found, ok, err := c.nextGood(&w, at+alignment, c.expect, end)
		if err != nil || !ok {
			return false, err
		}
		if h.hollow() || h.commit != commit && h.settled() {
			return true, nil // all in front of a hollow one was synced by the repair or the rewrite
		}
		at = found
	}
}
