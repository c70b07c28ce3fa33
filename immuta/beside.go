package immuta

import "time"

// This file reads a log beside the process that writes it. That one writes into
// the space ahead, which is in the file already: what is read there may be of any
// moment, the first half of a frame, or nothing where the next look finds two
// commits. So what is bad is looked at again until it is good, or is known to be
// written, or moves no more.

const (
	stillFor   = 10 * time.Millisecond // between two looks
	stillLooks = 3                     // after which what has not moved is not being written
	mostWaits  = 100                   // in one scan: a hostile file is not to hold anybody for long
)

// again looks at a bad frame once more, and where there is space several times,
// while it is being written. Where nothing has been written yet the file is taken
// to end.
func (c *scan) again() (h block, frame []byte, bad *flaw, err error) {
	w := window{file: c.file, step: headRead}
	c.win.buf = c.win.buf[:0] // what follows may be as old
	for still := 0; ; still++ {
		if err := c.measure(); err != nil {
			return block{}, nil, nil, err
		}
		if c.last <= c.at {
			c.size = c.at
		}
		w.buf = w.buf[:0]
		h, frame, bad, err = c.look(&w)
		if bad == nil || err != nil || c.written(bad) || c.last == c.size || still == stillLooks || c.waits == mostWaits {
			return h, frame, bad, err
		}
		before := c.last
		c.last = 0
		c.waits++
		time.Sleep(stillFor)
		if err := c.measure(); err != nil {
			return block{}, nil, nil, err
		}
		if c.last != before {
			still = 0
		}
	}
}

// written says whether all of a bad frame was in the file before it was looked
// at: something stands behind it, or the file ends there.
func (c *scan) written(bad *flaw) bool {
	end := c.at + blockHeader + alignment
	if bad.trusted {
		end = c.at + bad.h.frame()
	}
	return bad.order || bad.cut || int64(padded(int(c.last))) >= end
}

// wasOld says whether a frame that was found damaged is good now: what proved it
// was written after the frame had been looked at.
func (c *scan) wasOld() (bool, error) {
	if !c.beside {
		return false, nil
	}
	c.win.buf = c.win.buf[:0]
	w := window{file: c.file, step: headRead}
	h, frame, bad, err := c.frameAt(&w, c.at, c.size)
	if bad != nil || err != nil || c.misplaced(&h) != nil {
		return false, err
	}
	return c.inspect == nil || c.inspect.opens(c.segment, &h, frame, c.at) == "", nil
}
